/**
 * What is done to a database now and then, away from the threads that answer: make its file durable, remember
 * up to where, and remove LTX files that nobody needs.
 *
 * An LTX file goes when all of this holds:
 *
 * 1. It is older than the retention.
 * 2. The database file holds its transaction durably, or the database was dropped: recovery will not ask for it.
 * 3. It is not the last one, which tells the position.
 * 4. No connected replica still has to get it, unless the files kept for replicas have grown beyond their limit.
 */
import type { Logger } from "../../lib/log.ts"
import type { RetentionOptions } from "../../litefs-options.ts"
import type { Checksum, Pos, Txid } from "../../ltx/pos.ts"
import { readTrailer } from "../../ltx/span.ts"
import { LTX_TRAILER_SIZE } from "../../ltx/trailer.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { FileSource } from "../../store/ltx/file-source.ts"
import { LtxDirectory } from "../../store/ltx/ltx-directory.ts"
import { appendPastPositions } from "../../store/past-positions.ts"
import { readSynced, writeSynced } from "../../store/synced.ts"
import { syncDirectory } from "../../sys/directory.ts"
import { statusAt, unlinkFile } from "../../sys/file.ts"

export interface MaintenanceRequest {
  readonly database: string
  /** Everything up to here is in the database file, though perhaps not on the disk. */
  readonly writtenTxid: Txid
  /** The first transaction that a connected replica lacks. */
  readonly neededTxid: Txid | undefined
  /** There is no database any more: its last LTX file says so, and recovery asks for no other. */
  readonly isDropped?: boolean
  readonly retention: RetentionOptions
}

/** Returns how many LTX files were removed; `onUsage` is told how many are left, and their size. */
export function maintain(
  { database, writtenTxid, neededTxid, isDropped, retention }: MaintenanceRequest,
  dataDir: DataDir,
  nowMs: number,
  log: Logger,
  onUsage: (fileCount: number, size: number) => void = () => {},
): number {
  const syncedPath = dataDir.syncedPath(database)
  const known = readSynced(syncedPath)
  const synced = writtenTxid > known && syncDatabase(dataDir, database) ? writtenTxid : known
  if (synced > known) writeSynced(syncedPath, synced)

  const files = new LtxDirectory(dataDir.ltxDir(database)).list().flatMap((file) => {
    const status = statusAt("ltx:stat", file.path)
    return status === undefined ? [] : [{ ...file, mtimeMs: status.modifiedMs, size: status.size }]
  })
  const past: Pos[] = []
  let total = files.reduce((sum, { size }) => sum + size, 0)
  let count = 0
  for (const file of files.slice(0, -1)) {
    if (file.mtimeMs > nowMs - retention.ageMs) break
    if (file.maxTxid > synced && isDropped !== true) break
    const isNeeded = neededTxid !== undefined && file.maxTxid >= neededTxid
    if (isNeeded && total <= retention.sizeMax) break
    const checksum = checksumAfter(file.path)
    if (checksum !== undefined) past.push({ txid: file.maxTxid, checksum })
    unlinkFile("ltx:reap", file.path)
    total -= file.size
    count += 1
  }
  onUsage(files.length - count, total)
  appendPastPositions(dataDir.pastPath(database), past)
  if (count > 0) log.debug("removed old LTX files", { db: database, files: count })
  return count
}

/** Undefined when the file does not tell. */
function checksumAfter(path: string): Checksum | undefined {
  using file = FileSource.open(path)
  if (file === undefined || file.size < LTX_TRAILER_SIZE) return undefined
  return readTrailer(file).postApplyChecksum
}

/**
 * False when there is no file: the database was dropped. The journal goes first, or its absence: one of a
 * transaction that is over must not come back after a power cut and undo what recovery no longer replays.
 */
function syncDatabase(dataDir: DataDir, name: string): boolean {
  syncDirectory("database:sync-dir", dataDir.databaseDir(name))
  syncIfThere(dataDir, name, "journal")
  return syncIfThere(dataDir, name, "database")
}

function syncIfThere(dataDir: DataDir, name: string, kind: "journal" | "database"): boolean {
  const file = dataDir.file(name, kind)
  if (!file.open()) return false
  try {
    file.sync()
    return true
  } finally {
    file.close()
  }
}
