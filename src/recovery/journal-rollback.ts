import { readJournal, readJournalHeader } from "../sqlite/journal.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { FileSource } from "../store/file-source.ts"
import { unlinkFile, writeBytesAt } from "../sys/file.ts"

/** Whether there is a journal that SQLite would roll back. */
export function isHot(journalPath: string, database: BackedFile): boolean {
  using source = FileSource.open(journalPath)
  return source !== undefined && readJournalHeader(source) !== undefined && database.size() > 0
}

/**
 * Puts back what an unfinished transaction has overwritten, and removes its journal, which is hot.
 *
 * A super-journal is not asked for: a transaction whose journal is still there was not captured, so for us
 * it has not happened, whatever became of it in other databases. One that was captured just before the crash
 * is replayed from its LTX file afterwards.
 */
export function rollBack(journalPath: string, database: BackedFile): void {
  using source = FileSource.open(journalPath)
  const header = source === undefined ? undefined : readJournalHeader(source)
  if (source === undefined || header === undefined) return
  for (const { pgno, page } of readJournal(source)) {
    writeBytesAt("database:write", database.fd, page, (pgno - 1) * header.pageSize)
  }
  database.truncate(header.initialPageCount * header.pageSize)
  database.sync()
  unlinkFile("journal:unlink", journalPath)
}
