/**
 * Appends transactions to the WAL of a replica, as a writing SQLite client would (SQLite: sqlite3WalFrames).
 *
 * It writes only the file. Nobody looks beyond the frames that the wal-index counts, so appended frames, and the
 * remains of a failed attempt, do not matter until the returned header is in the index.
 */

import { must } from "../../lib/assert.ts"
import {
  decodeWalHeader,
  encodeWalFrame,
  encodeWalHeader,
  REPLICA_WAL_SEQUENCE,
  WAL_HEADER_SIZE,
  WalChecksum,
  type WalHeader,
  walFrameOffset,
  walFrameSize,
} from "../../sqlite/wal.ts"
import type { WalIndexHeader } from "../../sqlite/wal-index.ts"
import { allocate } from "../../sys/memory.ts"

export interface WalTransaction {
  readonly pageSize: number
  /** Size of the database after it, pages. */
  readonly commit: number
  /** At least one, ascending. */
  readonly pgnos: readonly number[]
  /** Passes the pages on, in the order of `pgnos`. */
  readPages(take: (pgno: number, data: Uint8Array) => void): void
}

/** The file. */
export interface WalTarget {
  write(address: number, size: number, offset: number): void
}

const buffer = allocate(1 << 20)

/** Appends after the frames that `before` counts. Returns the header that counts the new ones. */
export function appendToWal(
  wal: WalTarget,
  before: WalIndexHeader,
  transaction: WalTransaction,
): WalIndexHeader {
  const { pageSize, commit, pgnos } = transaction
  const isFirst = before.frameCount === 0
  const header = headerOf(before, pageSize)
  const checksum = isFirst
    ? new WalChecksum().set(header.checksum1, header.checksum2)
    : new WalChecksum().set(before.frameChecksum1, before.frameChecksum2)
  const out = new Buffered(wal, isFirst ? 0 : walFrameOffset(before.frameCount, pageSize))
  if (isFirst) out.reserve(WAL_HEADER_SIZE).set(headerBytes(before, pageSize))

  let count = 0
  transaction.readPages((pgno, data) => {
    count += 1
    const frame = { pgno, commit: count === pgnos.length ? commit : 0 }
    encodeWalFrame(out.reserve(walFrameSize(pageSize)), 0, header, checksum, frame, data)
  })
  if (count !== pgnos.length) throw new RangeError(`There are ${count} of ${pgnos.length} pages`)
  out.flush()
  return {
    ...before,
    change: (before.change + 1) >>> 0,
    bigEndianChecksum: header.bigEndianChecksum,
    pageSize,
    frameCount: before.frameCount + count,
    pageCount: commit,
    frameChecksum1: checksum.s0,
    frameChecksum2: checksum.s1,
  }
}

/** Writes only the header of a log that begins: clients then see a WAL, though it holds nothing. */
export function beginWal(wal: WalTarget, before: WalIndexHeader, pageSize: number): void {
  const out = new Buffered(wal, 0)
  out.reserve(WAL_HEADER_SIZE).set(headerBytes(before, pageSize))
  out.flush()
}

function headerBytes(before: WalIndexHeader, pageSize: number): Uint8Array {
  return encodeWalHeader({
    bigEndianChecksum: before.frameCount > 0 && before.bigEndianChecksum,
    pageSize,
    checkpointSequence: REPLICA_WAL_SEQUENCE,
    salt1: before.salt1,
    salt2: before.salt2,
  })
}

function headerOf(before: WalIndexHeader, pageSize: number): WalHeader {
  return must(decodeWalHeader(headerBytes(before, pageSize)), "WAL header")
}

/** Turns writes of any size into a few large ones. */
class Buffered {
  readonly #file: WalTarget
  #start: number // in the file, of the buffer's content
  #size = 0

  constructor(file: WalTarget, offset: number) {
    this.#file = file
    this.#start = offset
  }

  /** Bytes to fill before the next call. */
  reserve(size: number): Uint8Array {
    if (this.#size + size > buffer.bytes.length) this.flush()
    const bytes = buffer.bytes.subarray(this.#size, this.#size + size)
    this.#size += size
    return bytes
  }

  flush(): void {
    if (this.#size > 0) this.#file.write(buffer.address, this.#size, this.#start)
    this.#start += this.#size
    this.#size = 0
  }
}
