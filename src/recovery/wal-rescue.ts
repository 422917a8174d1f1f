/**
 * What to do with a WAL that exists at the start.
 *
 * A WAL of our own holds nothing that the LTX files do not; on a replica it may lack the last of them. The original
 * removes LTX files by age, even if their pages were not checkpointed: in one of its directories the newest pages may
 * be in the WAL alone.
 */
import type { PageChecksums } from "../capture/page-checksums.ts"
import { writePageChecksum } from "../ltx/checksum.ts"
import { REPLICA_WAL_SEQUENCE } from "../sqlite/wal.ts"
import { WalReader } from "../sqlite/wal-reader.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { FileSource } from "../store/ltx/file-source.ts"
import { setAside } from "../store/ltx/ltx-directory.ts"
import { unlinkFile, writeBytesAt } from "../sys/file.ts"

const sum = new Uint32Array(2)

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
  const pending = new Map<number, [hi: number, lo: number]>()
  while (reader.next()) {
    writePageChecksum(sum, reader.pgno, reader.page)
    pending.set(reader.pgno, [sum[0] as number, sum[1] as number])
    if (reader.commit === 0) continue
    sums.resize(reader.commit)
    for (const [pgno, [hi, lo]] of pending) if (pgno <= reader.commit) sums.set(pgno, hi, lo)
    pending.clear()
    all = reader.frameCount
    if (wanted.isWanted(sums)) return { wanted: all, all }
  }
  return { wanted: 0, all }
}

/** Writes frames of the WAL into the database file, and syncs it. */
export function copyFrames(path: string, database: BackedFile, count: number): void {
  using source = FileSource.open(path)
  if (source === undefined) return
  const reader = new WalReader(source)
  while (reader.frameCount < count && reader.next()) {
    const { page } = reader
    writeBytesAt("database:write", database.fd, page, (reader.pgno - 1) * page.length)
  }
  database.sync()
}

/**
 * Removes a WAL that ends where the database is. One that ends elsewhere is set aside instead: it is torn and its last
 * whole commit is an older one, or it holds commits that the database does not. Returns its new name.
 */
export function leaveWal(path: string, sums: PageChecksums, nowMs: number): string | undefined {
  if (!endsElsewhere(path, sums)) {
    unlinkFile("wal:unlink", path)
    return undefined
  }
  return setAside(path, "removed", nowMs)
}

function endsElsewhere(path: string, sums: PageChecksums): boolean {
  using source = FileSource.open(path)
  if (source === undefined) return false
  const reader = new WalReader(source)
  if (reader.header?.checkpointSequence === REPLICA_WAL_SEQUENCE) return false
  const newest = new Map<number, [hi: number, lo: number]>()
  let pending: [pgno: number, hi: number, lo: number][] = []
  let commit = 0
  while (reader.next()) {
    writePageChecksum(sum, reader.pgno, reader.page)
    pending.push([reader.pgno, sum[0] as number, sum[1] as number])
    if (reader.commit === 0) continue
    for (const [pgno, hi, lo] of pending) newest.set(pgno, [hi, lo])
    pending = []
    commit = reader.commit
  }
  for (const [pgno, [hi, lo]] of newest) {
    if (pgno <= commit && (sums.hi(pgno) !== hi || sums.lo(pgno) !== lo)) return true
  }
  return false
}
