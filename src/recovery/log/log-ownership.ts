/**
 * Whether a database file that has lost all its LTX files belongs to the history in the commit log.
 *
 * A power cut may take the names of all LTX files, and may leave any intermediate state in the database file, even of a
 * transaction that had not ended. No acknowledged transaction may be lost by that. The file is therefore taken for
 * another one only if nothing speaks for the log: no page in it, or in its journal, is one that the log has, the log
 * leads nowhere from it, and it came there after the log was last written.
 */

import { sumsOfFile } from "../../capture/file-sums.ts"
import { pageSum } from "../../ltx/checksum.ts"
import { readJournal, readJournalHeader } from "../../sqlite/journal.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { SEGMENT_COUNT, segmentPath } from "../../store/log/log-segment.ts"
import { FileSource } from "../../store/ltx/file-source.ts"
import { statusAt } from "../../sys/file.ts"
import { stepOf } from "./log-record.ts"
import { LoggedPages } from "./logged-pages.ts"

const MARGIN_MS = 1000

/** `files` follow on each other. */
export function isDatabaseOf(
  dataDir: DataDir,
  name: string,
  files: readonly Uint8Array[],
): boolean {
  const path = dataDir.path(name, "database")
  using database = FileSource.open(path)
  if (database === undefined || database.size === 0) return true
  if (!isLaterThanLog(dataDir, path)) return true
  const last = stepOf(files.at(-1) as Uint8Array)
  const { pageSize, commit } = last.header
  const logged = new LoggedPages(pageSize)
  for (const file of files) logged.addFile(file)
  if (isInJournal(dataDir.path(name, "journal"), pageSize, logged)) return true

  const size = database.sizeBesideHole(commit * pageSize)
  const pageCount = Math.max(commit, Math.ceil(size / pageSize))
  const sums = sumsOfFile(database, pageSize, pageCount)
  for (let pgno = 1; pgno <= pageCount; pgno++) {
    if (logged.knows(pgno, sums.sumOf(pgno))) return true
  }
  sums.resize(commit)
  // With the first transaction the log leads somewhere from anything.
  if (logged.newest.size >= commit) return false
  for (const [pgno, [hi, lo]] of logged.newest) if (pgno <= commit) sums.set(pgno, hi, lo)
  return sums.total === last.after.checksum
}

/** Compares times that nobody can set. */
function isLaterThanLog(dataDir: DataDir, path: string): boolean {
  const changedMs = (path: string) => statusAt("database:stat", path)?.changedMs ?? 0
  const segments = Array.from({ length: SEGMENT_COUNT }, (_, index) =>
    changedMs(segmentPath(dataDir.root, index)),
  )
  return changedMs(path) > Math.max(...segments) + MARGIN_MS
}

function isInJournal(path: string, pageSize: number, logged: LoggedPages): boolean {
  using journal = FileSource.open(path)
  if (journal === undefined || readJournalHeader(journal)?.pageSize !== pageSize) return false
  for (const { pgno, page } of readJournal(journal)) {
    if (logged.knows(pgno, pageSum(pgno, page))) return true
  }
  return false
}
