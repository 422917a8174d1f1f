import type { BackedFile } from "../store/backed-file.ts"
import type { DataDir } from "../store/data-dir.ts"
import { writeSynced } from "../store/synced.ts"
import { discardFile, unlinkFile } from "../sys/file.ts"
import { type SavedSums, saveSums } from "./saved-sums.ts"

/**
 * Leaves a database such that its next start need not look at it: its file is complete and durable, nobody uses it, and
 * nothing in the WAL is needed any more.
 */
export function saveCleanState(
  dataDir: DataDir,
  name: string,
  database: BackedFile,
  state: SavedSums,
): void {
  unlinkFile("wal:unlink", dataDir.path(name, "wal"))
  unlinkFile("shm:unlink", dataDir.path(name, "shm"))
  discardFile("sums:unlink", dataDir.sumsPath(name)) // of the running node
  discardFile("written:unlink", dataDir.writtenPath(name))
  if (state.pos.txid === 0n) return
  writeSynced(dataDir.syncedPath(name), state.pos.txid)
  if (state.commit > 0 && database.open()) saveSums(dataDir.checksumsPath(name), database, state)
}
