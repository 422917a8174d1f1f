/**
 * Where the newest content of each page of a database is, while clients have a WAL: in one of its frames, in the
 * database file, or in both. A checkpoint, a client's or ours, must copy pages that are only in the WAL into the file.
 *
 * wal-tracker.ts knows which frames count.
 */
import { writePageChecksum } from "../ltx/checksum.ts"
import type { Txid } from "../ltx/pos.ts"
import { WAL_FRAME_HEADER_SIZE, walFrameOffset } from "../sqlite/wal.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { allocate, type Region } from "../sys/memory.ts"
import type { History } from "./history.ts"
import { UnwrittenPages } from "./unwritten-pages.ts"
import { WalFrames } from "./wal-frames.ts"

const content = allocate(WAL_FRAME_HEADER_SIZE + 65536)
const page = allocate(65536)
const sum = new Uint32Array(2)

export class WalPages {
  readonly frames = new WalFrames() // of captured transactions
  readonly unwritten = new UnwrittenPages()
  readonly #history: History
  readonly #wal: BackedFile
  readonly #database: BackedFile

  constructor(history: History, wal: BackedFile, database: BackedFile) {
    this.#history = history
    this.#wal = wal
    this.#database = database
  }

  hasUnwritten(pgno: number): boolean {
    return this.unwritten.has(pgno)
  }

  /** The last transaction that is completely in the database file. */
  get writtenTxid(): Txid {
    return this.unwritten.writtenTxid(this.#history.pos.txid)
  }

  /** As of the last captured transaction. */
  readPage(pgno: number, into: Region): void {
    this.read(pgno, this.#history.pageSize, into)
  }

  /** The same before the history has the page size. */
  read(pgno: number, pageSize: number, into: Region): void {
    this.readStart(pgno, pageSize, pageSize, into)
  }

  /** Its first `size` bytes. */
  readStart(pgno: number, pageSize: number, size: number, into: Region): void {
    const newest = this.frames.newest(pgno)
    if (newest === undefined) this.#database.readPadded(into, size, (pgno - 1) * pageSize)
    else this.#wal.read(into.address, size, contentOffset(newest, pageSize))
  }

  /**
   * Undefined unless bytes that a client writes to the database file are what a checkpoint copies there: for each page
   * its newest content, or, for a reader's sake, that of an older frame. A page whose newest content is already in the
   * file is not set back: no checkpoint copies less than the one before. The kernel may have split a write within a
   * page. Returns the pages that are written whole, as they are newest.
   */
  copied(offset: number, size: number, bytes: Uint8Array): readonly number[] | undefined {
    const { pageSize, commit } = this.#history
    if (commit === 0) return undefined
    const newest: number[] = []
    for (const { pgno, start, end } of pageParts(offset, size, pageSize)) {
      if (pgno <= commit && end - start === pageSize && this.#isNewest(pgno, bytes, start)) {
        newest.push(pgno)
        continue
      }
      const within = (offset + start) % pageSize
      if (!this.#isKnown(pgno, within, bytes.subarray(start, end))) return undefined
    }
    return newest
  }

  /** Whether a page has these bytes from `start` on, in the file or, if the newest is not there, in any frame. */
  #isKnown(pgno: number, start: number, bytes: Uint8Array): boolean {
    const { pageSize } = this.#history
    // A client that does not know of a cut may still copy a page that has been cut off.
    if (this.unwritten.has(pgno) || pgno > this.#history.commit) {
      for (const index of this.frames.of(pgno)) {
        if (this.holds(contentOffset(index, pageSize) + start, bytes)) return true
      }
    }
    this.#database.readPadded(page, bytes.length, (pgno - 1) * pageSize + start)
    return Buffer.compare(page.bytes.subarray(0, bytes.length), bytes) === 0
  }

  /**
   * A client has copied pages into the database file. It may have copied an older version, for a reader's sake. `newest`
   * are those that copied() knows.
   */
  checkpointed(
    offset: number,
    size: number,
    bytes: Uint8Array,
    newest: readonly number[] = [],
  ): void {
    const { pageSize } = this.#history
    if (pageSize === 0) return
    for (const { pgno, start, end } of pageParts(offset, size, pageSize)) {
      if (!this.unwritten.has(pgno)) continue
      if (newest.includes(pgno)) this.unwritten.delete(pgno)
      else if (end - start < pageSize) this.lookWhere(pgno)
      else if (this.#isNewest(pgno, bytes, start)) this.unwritten.delete(pgno)
    }
  }

  /** Whether the newest content of all pages that the file has from `size` bytes on is in the WAL. */
  holdsFrom(size: number): boolean {
    const { pageSize, commit } = this.#history
    if (pageSize === 0) return false
    const last = Math.min(commit, Math.ceil(this.#database.size() / pageSize))
    for (let pgno = Math.floor(size / pageSize) + 1; pgno <= last; pgno++) {
      if (this.frames.newest(pgno) === undefined) return false
    }
    return true
  }

  /** Whether the database file has for a page what the frame holds. */
  isInFile(pgno: number, index: number): boolean {
    const { pageSize } = this.#history
    this.#database.readPadded(page, pageSize, (pgno - 1) * pageSize)
    this.#wal.read(content.address, pageSize, contentOffset(index, pageSize))
    const [inFile, inFrame] = [page, content].map(({ bytes }) => bytes.subarray(0, pageSize))
    return Buffer.compare(inFile as Uint8Array, inFrame as Uint8Array) === 0
  }

  /** Whether the bytes of the WAL at `offset` are these. */
  holds(offset: number, bytes: Uint8Array): boolean {
    if (bytes.length > content.bytes.length) return false
    const n = this.#wal.read(content.address, bytes.length, offset)
    return n === bytes.length && Buffer.compare(content.bytes.subarray(0, n), bytes) === 0
  }

  /** Copies pages that are only in the WAL into the database file. True when there were any. */
  checkpoint(): boolean {
    const { pageSize } = this.#history
    let hasWritten = false
    for (const pgno of [...this.unwritten.pgnos()]) {
      const offset = (pgno - 1) * pageSize
      this.#database.readPadded(page, pageSize, offset)
      if (!this.#isNewest(pgno, page.bytes, 0)) {
        this.readPage(pgno, page)
        this.#database.write(page.address, pageSize, offset)
        hasWritten = true
      }
      this.unwritten.delete(pgno)
    }
    return hasWritten
  }

  /** Whether a page whose content was taken back has to be copied into the database file, or is there. */
  lookWhere(pgno: number): void {
    const { pageSize, pos } = this.#history
    this.#database.readPadded(page, pageSize, (pgno - 1) * pageSize)
    if (this.#isNewest(pgno, page.bytes, 0)) this.unwritten.delete(pgno)
    else this.unwritten.add(pgno, pos.txid)
  }

  #isNewest(pgno: number, bytes: Uint8Array, start: number): boolean {
    const { sums, pageSize } = this.#history
    writePageChecksum(sum, pgno, bytes, start, start + pageSize)
    return sums.hi(pgno) === sum[0] && sums.lo(pgno) === sum[1]
  }
}

/** Offset of the page in a frame of the WAL. */
function contentOffset(index: number, pageSize: number): number {
  return walFrameOffset(index, pageSize) + WAL_FRAME_HEADER_SIZE
}

/** The pages that a write of `size` bytes at `offset` touches, each with its part of the bytes. */
function* pageParts(offset: number, size: number, pageSize: number) {
  for (let start = 0; start < size; ) {
    const pgno = Math.floor((offset + start) / pageSize) + 1
    const end = Math.min(size, pgno * pageSize - offset)
    yield { pgno, start, end }
    start = end
  }
}
