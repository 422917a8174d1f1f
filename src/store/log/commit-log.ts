/**
 * The commit log: where a transaction becomes durable.
 *
 * Replicas, people and the original want an LTX file per transaction, but making a file durable costs several times a
 * write to space that is already there (measured here: 1100 µs for a new file of 400 bytes with fsync, 85 µs for the
 * same bytes into a preallocated file with fdatasync). A commit is therefore one write to this log, which is
 * acknowledged, and its LTX file follows at once without a sync of its own.
 *
 *   begin() ─▶ append()… ─▶ commit(): durable, the client is answered ─▶ materialize(): the LTX file is there
 *
 * Two segments, `<data>/commit-log.0` and `.1`, take turns. A full one is free again when everything on its file system
 * has been synced (`release`), because its LTX files are then durable by themselves. Another thread prepares a missing
 * one (log-segment.ts). While no segment is free, each LTX file is made durable by itself. A record, at any multiple of
 * 8 bytes from the start of a segment, without a gap to the next:
 *
 *      0  u32 magic "LFCL"
 *      4  u32 size              of the record, these bytes included, before padding
 *      8  u64 sequence          goes up by one with every record of a node, over both segments
 *     16  u64 CRC-64            of the bytes from 24 to the end
 *     24  u64 TXID
 *     32  u32 size of the name
 *     36  u32 run               a random number that all records of one run of a node have
 *     40  name of the database, UTF-8, padded to 8 bytes, and the LTX file
 *
 * A record that failed to become durable is erased, durably, before anything else becomes durable. Otherwise the next
 * transaction, which gets its TXID and may bypass the log, would lose its place to the record in a recovery. Until the
 * erasure succeeds the log takes nothing. If the node ends before, a recovery may find the record: it is then the last
 * transaction of its database, whole, its client was told of an I/O error, and no transaction follows it.
 *
 * Numbers are little endian. Sequence, run and CRC tell a record from older bytes behind it. A transaction that exceeds
 * the size of a record goes to its LTX file directly, with a sync.
 */

import { assert } from "../../lib/assert.ts"
import { Crc64 } from "../../lib/codecs/crc64.ts"
import { LitefsError } from "../../lib/errors.ts"
import { randomBytes } from "../../lib/random-bytes.ts"
import type { Txid } from "../../ltx/pos.ts"
import {
  closeFile,
  discardFile,
  type Fd,
  syncData,
  syncFileSystem,
  writeAt,
} from "../../sys/file.ts"
import { allocate, type Region } from "../../sys/memory.ts"
import { LtxFileWriter } from "../ltx/ltx-directory.ts"
import type { SpareFiles } from "../spare-files.ts"
import { openSegment, SEGMENT_COUNT, SEGMENT_SIZE } from "./log-segment.ts"

export const RECORD_MAGIC = 0x4c43464c // "LFCL"
export const RECORD_HEADER_SIZE = 40
export const CRC_START = 24
export const RUN_OFFSET = 36
const CRC_OFFSET = 16

/** Larger transactions bypass the log. */
const RECORD_SIZE_MAX = 1024 * 1024

/** Writes one transaction. */
export interface TransactionWriter {
  readonly append: (bytes: Uint8Array) => void
  /** Durable when this returns. */
  commit(): void
  /** Leaves nothing of it. Does not throw. */
  discard(): void
}

/** Takes transactions. */
export interface TransactionLog {
  /**
   * When this returns, others can read the LTX file of the last transaction, and nothing is left of a refused one. Call
   * it before a transaction is made durable without the log.
   */
  materialize(): void
  /** Recovery needs nothing of the past any more; see CommitLog.clear(). */
  clear(): void
  /** `path` is where the LTX file belongs. One transaction at a time. */
  begin(database: string, txid: Txid, path: string): TransactionWriter
}

export interface CommitLogOptions {
  readonly root: string // the data directory
  /** Follows on the highest that recovery found. */
  readonly nextSequence: bigint
  /** Whether a segment exists and its LTX files are durable, so that it may be overwritten. */
  readonly isFree: (segment: number) => boolean
  /** A segment is full, and takes no more records until isFree() allows it. */
  readonly onFull: (segment: number) => void
  /** A segment is missing and must be prepared. Without this function the log prepares it by itself. */
  readonly onMissing?: (segment: number) => void
  /** The files that become LTX files, if there are any. */
  readonly spares?: SpareFiles
  /**
   * Whether a transaction may still be answered, once it is durable. Otherwise it is refused as if the sync had failed:
   * the sync may have taken longer than the lease.
   */
  readonly mayCommit?: () => boolean
}

/** Two, because the bytes of the last transaction are needed until its LTX file is made. */
const records = [allocate(RECORD_SIZE_MAX + 4096), allocate(RECORD_SIZE_MAX + 4096)] as const
const crc = new Crc64()
const emptyHeader = allocate(RECORD_HEADER_SIZE)

/** An LTX file to make: `size` bytes at `start` of a record. */
interface PendingFile {
  readonly record: Region
  readonly path: string
  readonly start: number
  readonly size: number
}
const encoder = new TextEncoder()

export class CommitLog implements TransactionLog {
  readonly #options: CommitLogOptions
  readonly #segments: (Fd | undefined)[] = []
  #segment = 0
  #offset = 0
  readonly #run = randomBytes(4).readUInt32LE()
  #sequence: bigint
  #pending: PendingFile | undefined
  #isRefusedThere = false // the end of the log may hold the record of a refused transaction

  constructor(options: CommitLogOptions) {
    this.#options = options
    this.#sequence = options.nextSequence
    try {
      for (let index = 0; index < SEGMENT_COUNT; index++) {
        this.#segments.push(openSegment(options.root, index, options.onMissing === undefined))
      }
    } catch (error) {
      this.close()
      throw error
    }
    for (const [index, fd] of this.#segments.entries()) {
      if (fd === undefined) options.onMissing?.(index)
    }
  }

  begin(database: string, txid: Txid, path: string): TransactionWriter {
    const record = this.#pending?.record === records[0] ? records[1] : records[0]
    const nameSize = encoder.encodeInto(database, record.bytes.subarray(RECORD_HEADER_SIZE)).written
    const start = RECORD_HEADER_SIZE + roundUp(nameSize)
    record.bytes.fill(0, RECORD_HEADER_SIZE + nameSize, start)
    let size = start
    let large: LtxFileWriter | undefined

    const append = (bytes: Uint8Array) => {
      if (large === undefined && size + bytes.length > RECORD_SIZE_MAX) {
        large = new LtxFileWriter(path)
        large.append(record.bytes.subarray(start, size))
      }
      if (large !== undefined) return large.append(bytes)
      record.bytes.set(bytes, size)
      size += bytes.length
    }
    const commit = () => {
      // Not earlier: a rollback writes nothing, and must not fail for want of space.
      this.materialize()
      if (large === undefined && this.#hasRoom(size)) {
        this.#write(record, txid, nameSize, size)
        this.#pending = { record, path, start, size: size - start }
        return
      }
      if (large === undefined) {
        large = new LtxFileWriter(path)
        large.append(record.bytes.subarray(start, size))
      }
      large.commit()
      try {
        this.#checkMayCommit()
      } catch (error) {
        discardFile("ltx:discard", path)
        throw error
      }
    }
    return { append, commit, discard: () => large?.discard() }
  }

  /** The bytes of the last LTX file until the file is made: valid until the next transaction but one begins. */
  get pendingFile(): Uint8Array | undefined {
    const pending = this.#pending
    if (pending === undefined) return undefined
    return pending.record.bytes.subarray(pending.start, pending.start + pending.size)
  }

  /**
   * Makes the LTX file of the last transaction, after its client was answered. When that fails the transaction is safe
   * in the log. The next transaction tries again first, and is refused if that fails.
   */
  materialize(): void {
    if (this.#isRefusedThere) this.#eraseRefused()
    const pending = this.#pending
    if (pending === undefined) return
    const { spares } = this.#options
    try {
      makeFile(pending, spares)
    } catch (error) {
      if (spares === undefined) throw error
      spares.failed(error)
      makeFile(pending)
    }
    this.#pending = undefined
  }

  /**
   * Makes every LTX file durable by itself and leaves nothing in the log: at a clean stop, and before a history is
   * replaced by another, whose TXIDs may be the same.
   */
  clear(): void {
    this.materialize()
    syncFileSystem("log:syncfs", this.#options.root)
    for (const fd of this.#segments) {
      if (fd === undefined) continue // others prepare it, and it starts empty
      writeAt("log:clear", fd, emptyHeader.address, RECORD_HEADER_SIZE, 0)
      syncData("log:clear-fsync", fd)
    }
    this.#offset = 0
  }

  close(): void {
    for (const fd of this.#segments) if (fd !== undefined) closeFile(fd)
  }

  /** Whether a record fits, in this segment or, when this one is full, in the other. */
  #hasRoom(size: number): boolean {
    const isThere = this.#isThere(this.#segment)
    if (isThere && this.#offset + size <= SEGMENT_SIZE) return true
    const next = (this.#segment + 1) % SEGMENT_COUNT
    if (!this.#options.isFree(next) || !this.#isThere(next)) return false
    if (isThere) this.#options.onFull(this.#segment)
    this.#segment = next
    this.#offset = 0
    return true
  }

  /** Opens a segment that has been prepared since. */
  #isThere(segment: number): boolean {
    const { root, isFree, onMissing } = this.#options
    if (this.#segments[segment] !== undefined) return true
    if (!isFree(segment)) return false
    this.#segments[segment] = openSegment(root, segment, false)
    if (this.#segments[segment] === undefined) onMissing?.(segment)
    return this.#segments[segment] !== undefined
  }

  #write(record: Region, txid: Txid, nameSize: number, size: number): void {
    const view = new DataView(record.bytes.buffer, record.bytes.byteOffset, RECORD_HEADER_SIZE)
    view.setUint32(0, RECORD_MAGIC, true)
    view.setUint32(4, size, true)
    view.setBigUint64(8, this.#sequence, true)
    view.setBigUint64(24, txid, true)
    view.setUint32(32, nameSize, true)
    view.setUint32(RUN_OFFSET, this.#run, true)
    view.setBigUint64(CRC_OFFSET, crc.reset().update(record.bytes, CRC_START, size).digest(), true)
    const fd = this.#segments[this.#segment] as Fd
    try {
      writeAt("log:write", fd, record.address, size, this.#offset)
      syncData("log:fsync", fd)
      this.#checkMayCommit()
    } catch (error) {
      this.#isRefusedThere = true
      try {
        this.#eraseRefused()
      } catch {
        // The disk takes neither. A later call tries again.
      }
      throw error
    }
    this.#offset += roundUp(size)
    this.#sequence += 1n
  }

  #checkMayCommit(): void {
    if (this.#options.mayCommit?.() !== false) return
    throw new LitefsError("no-primary", "Cannot commit: the lease has run out meanwhile")
  }

  #eraseRefused(): void {
    const fd = this.#segments[this.#segment] as Fd
    writeAt("log:erase", fd, emptyHeader.address, RECORD_HEADER_SIZE, this.#offset)
    syncData("log:erase-fsync", fd)
    this.#isRefusedThere = false
  }
}

function makeFile({ record, path, start, size }: PendingFile, spares?: SpareFiles): void {
  const file = new LtxFileWriter(path, spares)
  try {
    file.append(record.bytes.subarray(start, start + size))
    file.finish()
  } catch (error) {
    file.discard()
    throw error
  }
}

export function roundUp(size: number): number {
  return Math.ceil(size / 8) * 8
}

/** Writes every transaction straight to its LTX file, with a sync: the log of a node without a commit log. */
export const directLog: TransactionLog = {
  materialize() {},
  clear() {},
  begin(_database, _txid, path) {
    const file = new LtxFileWriter(path)
    return file
  },
}

assert(RECORD_SIZE_MAX <= SEGMENT_SIZE, "a record fits a segment")
