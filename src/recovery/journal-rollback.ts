/**
 * What puts back the pages that an unfinished transaction has overwritten: SQLite's journal, and the undo file with those
 * that the journal leaves out (store/undo-file.ts).
 */
import type { PageChecksums } from "../capture/page-checksums.ts"
import { pageSum } from "../ltx/checksum.ts"
import type { Pos } from "../ltx/pos.ts"
import { readJournal, readJournalHeader } from "../sqlite/journal.ts"
import type { BackedFile } from "../store/backed-file.ts"
import type { DataDir } from "../store/data-dir.ts"
import { FileSource } from "../store/ltx/file-source.ts"
import { readUndo, type SavedPage } from "../store/undo-file.ts"
import { discardFile, unlinkFile } from "../sys/file.ts"

/** The files that have the pages as they were before a transaction. */
export interface SavedIn {
  readonly journal: string
  readonly undo: string
  /** Where the database was before; undefined when no log tells, and the undo file does not count. */
  readonly pos: Pos | undefined
}

export function savedIn(dataDir: DataDir, name: string, pos: Pos | undefined): SavedIn {
  return { journal: dataDir.path(name, "journal"), undo: dataDir.undoPath(name), pos }
}

/** The pages to put back, in order: nothing when the journal is not hot. */
export function* savedPages({ journal, undo, pos }: SavedIn): Generator<SavedPage, void, void> {
  using source = FileSource.open(journal)
  if (source === undefined || readJournalHeader(source) === undefined) return
  yield* readJournal(source)
  if (pos === undefined) return
  using more = FileSource.open(undo)
  if (more !== undefined) yield* readUndo(more, pos)
}

/** Whether there is a journal that SQLite would roll back. */
export function isHot(journalPath: string, database: BackedFile): boolean {
  using source = FileSource.open(journalPath)
  return source !== undefined && readJournalHeader(source) !== undefined && database.size() > 0
}

/**
 * Puts back the pages that an unfinished transaction has overwritten, and removes its journal, which is hot.
 *
 * It does not look for a super-journal: a transaction whose journal still exists was not captured. For us it has not
 * happened, whatever became of it in other databases. A transaction that was captured just before the crash is replayed
 * from its LTX file afterwards.
 */
export function rollBack(saved: SavedIn, database: BackedFile): void {
  if (!playBack(saved, database)) return
  database.sync()
  unlinkFile("journal:unlink", saved.journal)
  discardFile("undo:unlink", saved.undo) // what stays is true at its position, and counts only there
}

/** Writes the saved pages back. False when there is no journal. */
export function playBack(saved: SavedIn, database: BackedFile): boolean {
  using source = FileSource.open(saved.journal)
  const header = source && readJournalHeader(source)
  if (source === undefined || header === undefined) return false
  for (const { pgno, page } of savedPages(saved)) {
    database.writeBytes(page, (pgno - 1) * header.pageSize)
  }
  database.truncate(header.initialPageCount * header.pageSize)
  return true
}

/** Turns the sums of a database into those after writing the saved pages back. */
export function setUndone(sums: PageChecksums, saved: SavedIn): void {
  for (const { pgno, page } of savedPages(saved)) {
    if (pgno <= sums.pageCount) sums.setPage(pgno, page)
  }
}

/**
 * Whether playing the journal back would change pages, but not the checksum of all. The checksum then does not tell
 * which of the two states is whole. It is the one after playing back, because SQLite has saved the pages as they were
 * before. In a torn or finished journal the saved pages would have to cancel out exactly.
 */
export function undoesUnnoticed(
  saved: SavedIn,
  pageSize: number,
  sums: PageChecksums,
  isKnown: (pgno: number) => boolean,
): boolean {
  using source = FileSource.open(saved.journal)
  if (source === undefined || readJournalHeader(source)?.pageSize !== pageSize) return false
  let [hi, lo, count] = [0, 0, 0]
  const seen = new Set<number>()
  for (const { pgno, page } of savedPages(saved)) {
    if (pgno > sums.pageCount || isKnown(pgno) || seen.has(pgno)) continue
    const sum = pageSum(pgno, page)
    seen.add(pgno)
    if (sums.has(pgno, sum)) continue
    hi ^= sum[0] ^ sums.hi(pgno)
    lo ^= sum[1] ^ sums.lo(pgno)
    count += 1
  }
  return count > 0 && hi === 0 && lo === 0
}
