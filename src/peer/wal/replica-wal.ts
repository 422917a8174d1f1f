/** The content of a replica's WAL: which page each frame has, and which pages the database file lacks. */

import type { WalHandover } from "../../capture/handover.ts"
import { UnwrittenPages } from "../../capture/unwritten-pages.ts"
import { WalFrames } from "../../capture/wal-frames.ts"
import { assert, must } from "../../lib/assert.ts"
import type { Txid } from "../../ltx/pos.ts"
import { disguiseHeader } from "../../sqlite/header-disguise.ts"
import {
  decodeWalHeader,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  walFrameOffset,
} from "../../sqlite/wal.ts"
import type { WalIndexHeader } from "../../sqlite/wal-index.ts"
import type { BackedFile } from "../../store/backed-file.ts"
import { readBytesAt } from "../../sys/file.ts"
import type { Region } from "../../sys/memory.ts"

export class ReplicaWal {
  readonly file: BackedFile
  readonly disguise: number
  readonly frames = new WalFrames()
  readonly #unwritten = new UnwrittenPages()
  /** A client may have spilled frames after these, and may still hold WRITE: see WalHandover. */
  hasSpilled = false
  readonly #ends: number[] = [] // frames at the end of each transaction

  /** `disguise` is in the header of page 1 as clients see it: see sqlite/header-disguise.ts. */
  constructor(file: BackedFile, disguise: number) {
    this.file = file
    this.disguise = disguise
  }

  /** The pages of a transaction were appended, and count. */
  add(pgnos: readonly number[], commit: number, txid: Txid): void {
    for (const pgno of pgnos) {
      this.frames.add(pgno)
      this.#unwritten.add(pgno, txid)
    }
    this.#unwritten.truncate(commit)
    this.#ends.push(this.frames.count)
  }

  /** Continues with frames that clients of a primary have written. */
  adopt({ pgnos, ends, unwritten, hasSpilled }: WalHandover): void {
    this.hasSpilled = hasSpilled
    for (const pgno of pgnos) this.frames.add(pgno)
    for (const [pgno, since] of unwritten) this.#unwritten.add(pgno, since)
    this.#ends.push(...ends)
  }

  /** Undefined when no frame counts. `last` is the header of the wal-index. */
  handOver(last: WalIndexHeader | undefined, published: number): WalHandover | undefined {
    const { frames } = this
    if (last === undefined || frames.count === 0) return undefined
    const bytes = new Uint8Array(WAL_HEADER_SIZE)
    readBytesAt("wal:read", this.file.fd, bytes, 0)
    const header = must(decodeWalHeader(bytes), "WAL header")
    assert(
      header.salt1 === last.salt1 && header.salt2 === last.salt2,
      "the WAL is the one of the index",
    )
    return {
      header,
      pgnos: Uint32Array.from({ length: frames.count }, (_, frame) => frames.pgno(frame)),
      published,
      ends: [...this.#ends],
      unwritten: [...this.#unwritten.entries()],
      hasSpilled: this.hasSpilled,
      pageCount: last.pageCount,
      checksum1: last.frameChecksum1,
      checksum2: last.frameChecksum2,
    }
  }

  /** Pages whose newest frame is one of the first `frameCount` and not in the database file, ascending. */
  unwritten(frameCount: number): number[] {
    const pgnos = [...this.#unwritten.pgnos()]
    return pgnos.filter((pgno) => this.#newest(pgno) < frameCount).sort((a, b) => a - b)
  }

  /** Whether the database file has all of it. */
  get isWritten(): boolean {
    return this.#unwritten.count === 0
  }

  has(pgno: number): boolean {
    return this.#unwritten.has(pgno)
  }

  /** The newest content of a page in the log, as the primary made it. */
  readPage(pgno: number, pageSize: number, into: Region): void {
    const offset = walFrameOffset(this.#newest(pgno), pageSize) + WAL_FRAME_HEADER_SIZE
    const n = this.file.read(into.address, pageSize, offset)
    if (n < pageSize) throw new RangeError(`Cannot read page ${pgno}: the WAL ends before it`)
    if (pgno === 1) disguiseHeader(into.bytes, 0, -this.disguise)
  }

  /** The database file has the page. */
  written(pgno: number): void {
    this.#unwritten.delete(pgno)
  }

  /** The log starts over. */
  clear(): void {
    this.frames.clear()
    this.#ends.length = 0
    this.#unwritten.clear()
  }

  /** The last transaction that is completely in the database file, when `current` is the newest. */
  writtenTxid(current: Txid): Txid {
    return this.#unwritten.writtenTxid(current)
  }

  /** Counts from 0. */
  #newest(pgno: number): number {
    return must(this.frames.newest(pgno), "frame of a page")
  }
}
