/**
 * A rollback-journal transaction, followed through the writes to the database file and to its journal.
 *
 *            header with the magic number: journalWritten()
 *     idle ──────────────────────────────────────────────────▶ active
 *      ▲                                                          │ writes to the database: databaseWritten()
 *      └──────────────────────────────────────────────────────────┘
 *            unlink, truncation or zeroed header: ended()
 *
 * SQLite leaves the magic number zero until the journal is synced, and writes it before it first touches the database
 * file (pager.c: writeJournalHdr, syncJournal). A write to the database without an active journal therefore cannot be
 * rolled back.
 *
 * It makes no difference here whether the end is a commit or a rollback: after a rollback every page is as before, and
 * History finds nothing to add.
 */
import { isZero, readU32BE } from "../lib/bytes.ts"
import { JOURNAL_HEADER_SIZE, JOURNAL_MAGIC } from "../sqlite/journal.ts"
import { isPageSize, MIN_PAGE_SIZE } from "../sqlite/page-size.ts"

const MAGIC = [...JOURNAL_MAGIC]
const PAGE_SIZE_OFFSET = 24

/** zeroJournalHdr() writes exactly this many zero bytes; every other write at offset 0 is a sector or 12 bytes. */
const ZEROED_HEADER_SIZE = JOURNAL_HEADER_SIZE

export class JournalTracker {
  #isActive = false
  #pageSize = 0
  readonly #dirty = new Set<number>()
  #firstCut = Number.POSITIVE_INFINITY // everything from this page on was cut off, once
  #unit = MIN_PAGE_SIZE // size of the pages in #dirty, bytes

  get isActive(): boolean {
    return this.#isActive
  }

  /** Page size of the database by the journal; 0 when it is not one of SQLite's. */
  get pageSize(): number {
    return this.#pageSize
  }

  /** Whether the open transaction has written to the database file. */
  get isDirty(): boolean {
    return this.#dirty.size > 0 || this.#firstCut !== Number.POSITIVE_INFINITY
  }

  /** Pages that the open transaction has written or cut off, of a database of so many; ascending. */
  *dirtyPages(pageCount: number): Iterable<number> {
    for (const pgno of [...this.#dirty].sort((a, b) => a - b)) {
      if (pgno < this.#firstCut) yield pgno
    }
    for (let pgno = this.#firstCut; pgno <= pageCount; pgno++) yield pgno
  }

  /** Whether a write to the journal is the one that ends the transaction (journal_mode=PERSIST). */
  isEnd(offset: number, size: number, bytes: Uint8Array): boolean {
    return offset === 0 && size === ZEROED_HEADER_SIZE && isZero(bytes.subarray(0, size))
  }

  journalWritten(offset: number, size: number, bytes: Uint8Array): void {
    if (offset !== 0) return
    if (size >= MAGIC.length) this.#isActive = hasMagic(bytes)
    if (size < JOURNAL_HEADER_SIZE) return
    const pageSize = readU32BE(bytes, PAGE_SIZE_OFFSET)
    this.#pageSize = isPageSize(pageSize) ? pageSize : 0
  }

  databaseWritten(offset: number, size: number, pageSize: number): void {
    // In a database without pages every page is new, and new pages are always part of the transaction.
    const unit = pageSize === 0 ? MIN_PAGE_SIZE : pageSize
    this.#unit = unit
    const last = Math.floor((offset + size - 1) / unit) + 1
    for (let pgno = Math.floor(offset / unit) + 1; pgno <= last; pgno++) this.#dirty.add(pgno)
  }

  /** The open transaction cut the file to a size. Pages that come back are zero until they are written. */
  databaseCut(size: number, { pageSize, commit }: { pageSize: number; commit: number }): void {
    if (size >= commit * pageSize) return
    this.#firstCut = Math.min(this.#firstCut, Math.floor(size / pageSize) + 1)
  }

  /** How much of the database the open transaction has written from `offset` on, in whole pages, bytes. */
  writtenSize(offset: number): number {
    let count = 0
    for (const pgno of this.#dirty) if (pgno * this.#unit > offset) count += 1
    return count * this.#unit
  }

  ended(): void {
    this.#isActive = false
    this.#dirty.clear()
    this.#firstCut = Number.POSITIVE_INFINITY
  }
}

function hasMagic(bytes: Uint8Array): boolean {
  return MAGIC.every((byte, index) => bytes[index] === byte)
}
