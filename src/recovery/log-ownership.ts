/** Whether a database file whose LTX files are all gone is of the history that the commit log has. */
import { PageChecksums } from "../capture/page-checksums.ts"
import { lockPgno, writePageChecksum } from "../ltx/checksum.ts"
import type { DataDir } from "../store/data-dir.ts"
import { FileSource } from "../store/file-source.ts"
import { stepOf } from "./log-record.ts"
import { LoggedPages } from "./logged-pages.ts"

const CHUNK_SIZE = 1 << 20
const sum = new Uint32Array(2)

/**
 * `files` follow on each other. From the first transaction on they make the database, whatever is in its place; so
 * what is there has to be nothing, or made of their pages. Later ones have to lead there from what is there.
 */
export function isDatabaseOf(
  dataDir: DataDir,
  name: string,
  files: readonly Uint8Array[],
  isFromStart: boolean,
): boolean {
  using database = FileSource.open(dataDir.path(name, "database"))
  const last = stepOf(files.at(-1) as Uint8Array)
  const { pageSize, commit } = last.header
  const logged = new LoggedPages(pageSize)
  for (const file of files) logged.addFile(file)
  const size = database?.size ?? 0
  if (isFromStart && size === 0) return true

  const sums = new PageChecksums(commit)
  const chunk = new Uint8Array(CHUNK_SIZE)
  const lock = lockPgno(pageSize)
  const pageCount = Math.max(commit, Math.ceil(size / pageSize))
  let isMadeOfThem = true
  let isCutWell = true // nothing that is unknown lies beyond the end
  for (let first = 1; first <= pageCount; first += CHUNK_SIZE / pageSize) {
    const read = database?.readAt((first - 1) * pageSize, chunk) ?? 0
    chunk.fill(0, read)
    const end = Math.min(pageCount, first + CHUNK_SIZE / pageSize - 1)
    for (let pgno = first; pgno <= end; pgno++) {
      if (pgno === lock) continue
      const page = chunk.subarray((pgno - first) * pageSize, (pgno - first + 1) * pageSize)
      writePageChecksum(sum, pgno, page)
      const [hi, lo] = [sum[0] as number, sum[1] as number]
      if (pgno <= commit) sums.set(pgno, hi, lo)
      if (logged.knows(pgno, [hi, lo]) || page.every((byte) => byte === 0)) continue
      isMadeOfThem = false
      if (pgno > commit) isCutWell = false
    }
  }
  if (isFromStart) return isMadeOfThem
  for (const [pgno, [hi, lo]] of logged.newest) if (pgno <= commit) sums.set(pgno, hi, lo)
  return isCutWell && sums.total === last.after.checksum
}
