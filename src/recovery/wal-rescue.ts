/**
 * What to do with a WAL that exists at the start.
 *
 * A WAL of our own holds nothing that the LTX files do not; on a replica it may lack the last of them. The original
 * removes LTX files by age, even if their pages were not checkpointed: in one of its directories the newest pages may
 * be in the WAL alone.
 */
import { UNWRITTEN_SIZE_MAX } from "../capture/claim.ts"
import type { PageChecksums } from "../capture/page-checksums.ts"
import { pageSum, type Sum } from "../ltx/checksum.ts"
import { REPLICA_WAL_SEQUENCE } from "../sqlite/wal.ts"
import { WalReader } from "../sqlite/wal-reader.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { FileSource } from "../store/ltx/file-source.ts"
import { setAside } from "../store/ltx/ltx-directory.ts"
import { closing, O_RDWR, truncateFile, unlinkFile } from "../sys/file.ts"
import { openOwnIfExists } from "../sys/file-access.ts"

/**
 * Copies commits of the WAL into the database file, up to the one after which its pages are the wanted ones, or all of
 * them. False when there is no such commit; nothing was written then. `sums` are those of the file before, and after
 * success those after it; after a failure they are worthless.
 */
export function copyFromWal(
  path: string,
  database: BackedFile,
  sums: PageChecksums,
  wanted: { readonly isWanted?: (sums: PageChecksums) => boolean; readonly pageSize: number },
): boolean {
  const { isWanted, pageSize } = wanted
  const frameCount = walFrameCount(path, sums, { isWanted: isWanted ?? (() => false), pageSize })
  const count = isWanted === undefined ? frameCount.all : frameCount.wanted
  if (count === 0) return false
  copyFrames(path, database, count)
  return true
}

/**
 * How many frames of the WAL lead to the wanted commit, and to the last one; 0 when there is no such commit. `sums` are
 * those of the file before, and become those after the wanted commit.
 */
export function walFrameCount(
  path: string,
  sums: PageChecksums,
  wanted: { readonly isWanted: (sums: PageChecksums) => boolean; readonly pageSize: number },
): { readonly wanted: number; readonly all: number } {
  using source = FileSource.open(path)
  if (source === undefined) return { wanted: 0, all: 0 }
  const reader = new WalReader(source)
  if (reader.header?.pageSize !== wanted.pageSize) return { wanted: 0, all: 0 }
  let all = 0
  for (const pages of walTransactions(reader, sums.pageCount)) {
    sums.resize(reader.commit)
    for (const [pgno, [hi, lo]] of pages) if (pgno <= reader.commit) sums.set(pgno, hi, lo)
    all = reader.frameCount
    if (wanted.isWanted(sums)) return { wanted: all, all }
  }
  return { wanted: 0, all }
}

/**
 * Writes the first frames of the WAL into the database file, and syncs it. Returns the size of the database after them,
 * bytes; 0 when there are none.
 */
export function copyFrames(path: string, database: BackedFile, count: number): number {
  using source = count > 0 ? FileSource.open(path) : undefined
  if (source === undefined) return 0
  const reader = new WalReader(source)
  while (reader.frameCount < count && reader.next()) {
    const { page } = reader
    database.writeBytes(page, (reader.pgno - 1) * page.length)
  }
  database.sync()
  return (reader.lastCommit?.commit ?? 0) * (reader.header?.pageSize ?? 0)
}

/**
 * Removes a WAL that ends where the database is. One that ends elsewhere is set aside instead: it is torn and its last
 * whole commit is an older one, or it holds commits that the database does not. Returns its new name.
 */
export function leaveWal(path: string, sums: PageChecksums, nowMs: number): string | undefined {
  if (!endsElsewhere(path, sums)) {
    cutOff(path)
    unlinkFile("wal:unlink", path)
    return undefined
  }
  return setAside(path, "removed", nowMs)
}

/** Clients of a killed daemon may have it open and write to it past everybody (mount/bypass.ts): they find nothing. */
export function cutOff(path: string): void {
  const fd = openOwnIfExists("wal:open", path, O_RDWR)
  if (fd === undefined) return
  using file = closing(fd)
  truncateFile("wal:truncate", file.fd, 0)
}

function endsElsewhere(path: string, sums: PageChecksums): boolean {
  using source = FileSource.open(path)
  if (source === undefined) return false
  const reader = new WalReader(source)
  if (reader.header?.checkpointSequence === REPLICA_WAL_SEQUENCE) return false
  const newest = new Map<number, Sum>()
  for (const pages of walTransactions(reader, sums.pageCount)) {
    for (const [pgno, sum] of pages) newest.set(pgno, sum)
  }
  const commit = reader.lastCommit?.commit ?? 0
  return [...newest].some(([pgno, sum]) => pgno <= commit && !sums.has(pgno, sum))
}

/**
 * The sums of the pages of each transaction of a WAL that has its commit; the reader is then at its end, or behind a
 * commit of more pages than there can be, which nobody has captured (capture/claim.ts). `pageCount` is that of the
 * database without the WAL.
 */
export function* walTransactions(
  reader: WalReader,
  pageCount: number,
): Generator<ReadonlyMap<number, Sum>> {
  let largest = pageCount + UNWRITTEN_SIZE_MAX / (reader.header?.pageSize ?? 1)
  let pages = new Map<number, Sum>()
  while (reader.next()) {
    if (reader.pgno > pageCount) largest += 1
    pages.set(reader.pgno, pageSum(reader.pgno, reader.page))
    if (reader.commit === 0) continue
    if (reader.commit > largest) return
    yield pages
    pages = new Map()
  }
}
