/**
 * Whether a database file that has lost all its LTX files belongs to the history in the commit log.
 *
 * A power cut may take the names of all LTX files, and may leave any intermediate state in the database file, even of a
 * transaction that had not ended. No acknowledged transaction may be lost by that. The file is therefore taken for
 * another one only if nothing speaks for the log: no page in it, or in its journal, is one that the log has, the log
 * leads nowhere from it, and it came there after the log was last written.
 */
import { PageChecksums } from "../../capture/page-checksums.ts"
import { lockPgno, writePageChecksum } from "../../ltx/checksum.ts"
import { readJournal, readJournalHeader } from "../../sqlite/journal.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { SEGMENT_COUNT, segmentPath } from "../../store/log/log-segment.ts"
import { FileSource } from "../../store/ltx/file-source.ts"
import { statusAt } from "../../sys/file.ts"
import { stepOf } from "./log-record.ts"
import { LoggedPages } from "./logged-pages.ts"

const CHUNK_SIZE = 1 << 20
const MARGIN_MS = 1000
const sum = new Uint32Array(2)

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

  const sums = new PageChecksums(commit)
  const chunk = new Uint8Array(CHUNK_SIZE)
  const lock = lockPgno(pageSize)
  const pageCount = Math.max(commit, Math.ceil(database.size / pageSize))
  for (let first = 1; first <= pageCount; first += CHUNK_SIZE / pageSize) {
    chunk.fill(0, database.readAt((first - 1) * pageSize, chunk))
    const end = Math.min(pageCount, first + CHUNK_SIZE / pageSize - 1)
    for (let pgno = first; pgno <= end; pgno++) {
      if (pgno === lock) continue
      const start = (pgno - first) * pageSize
      writePageChecksum(sum, pgno, chunk, start, start + pageSize)
      const [hi, lo] = [sum[0] as number, sum[1] as number]
      if (logged.knows(pgno, [hi, lo])) return true
      if (pgno <= commit) sums.set(pgno, hi, lo)
    }
  }
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
    writePageChecksum(sum, pgno, page)
    if (logged.knows(pgno, [sum[0] as number, sum[1] as number])) return true
  }
  return false
}
