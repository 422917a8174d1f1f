import type { PageChecksums } from "../capture/page-checksums.ts"
import { pageSum } from "../ltx/checksum.ts"
import { readJournal, readJournalHeader } from "../sqlite/journal.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { FileSource } from "../store/ltx/file-source.ts"
import { unlinkFile } from "../sys/file.ts"

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
export function rollBack(journalPath: string, database: BackedFile): void {
  if (!playBack(journalPath, database)) return
  database.sync()
  unlinkFile("journal:unlink", journalPath)
}

/** Writes the pages of a journal back. False when there is none. */
export function playBack(journalPath: string, database: BackedFile): boolean {
  using source = FileSource.open(journalPath)
  const header = source && readJournalHeader(source)
  if (source === undefined || header === undefined) return false
  for (const { pgno, page } of readJournal(source)) {
    database.writeBytes(page, (pgno - 1) * header.pageSize)
  }
  database.truncate(header.initialPageCount * header.pageSize)
  return true
}

/** Turns the sums of a database into those after playing the journal back. */
export function setUndone(sums: PageChecksums, journalPath: string): void {
  using source = FileSource.open(journalPath)
  if (source === undefined) return
  for (const { pgno, page } of readJournal(source)) {
    if (pgno <= sums.pageCount) sums.setPage(pgno, page)
  }
}

/**
 * Whether playing the journal back would change pages, but not the checksum of all. The checksum then does not tell
 * which of the two states is whole. It is the one after playing back, because SQLite has saved the pages as they were
 * before. In a torn or finished journal the saved pages would have to cancel out exactly.
 */
export function undoesUnnoticed(
  journalPath: string,
  pageSize: number,
  sums: PageChecksums,
  isKnown: (pgno: number) => boolean,
): boolean {
  using source = FileSource.open(journalPath)
  if (source === undefined || readJournalHeader(source)?.pageSize !== pageSize) return false
  let [hi, lo, count] = [0, 0, 0]
  for (const { pgno, page } of readJournal(source)) {
    if (pgno > sums.pageCount || isKnown(pgno)) continue
    const sum = pageSum(pgno, page)
    if (sums.has(pgno, sum)) continue
    hi ^= sum[0] ^ sums.hi(pgno)
    lo ^= sum[1] ^ sums.lo(pgno)
    count += 1
  }
  return count > 0 && hi === 0 && lo === 0
}
