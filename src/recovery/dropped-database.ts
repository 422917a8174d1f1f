/**
 * A database that was dropped, of whose LTX files retention has left only the last, the drop itself. It has a directory
 * but no slot, and nobody has it in memory. Its history goes on when its name is used again, and a replica that comes
 * back late hears of the drop.
 */
import type { HistoryState } from "../capture/history.ts"
import { PageChecksums } from "../capture/page-checksums.ts"
import type { DataDir } from "../store/data-dir.ts"
import { LtxDirectory } from "../store/ltx/ltx-directory.ts"
import { readLtxFile } from "../store/ltx/ltx-file.ts"
import { fileExists } from "../sys/file.ts"
import { stateAfter } from "./log/log-chain.ts"

/** The state after the drop; undefined when there is no such database. Throws when its last LTX file is damaged. */
export function droppedState(dataDir: DataDir, name: string): HistoryState | undefined {
  const path = dataDir.ltxDir(name)
  if (!fileExists("ltx:look", path)) return undefined
  const last = new LtxDirectory(path).last()
  if (last === undefined) return undefined
  const span = readLtxFile(last.path)
  return span.header.commit > 0 ? undefined : stateAfter(span, new PageChecksums())
}

/** droppedState() for a caller that reports damage in another way. */
export function droppedStateIfWhole(dataDir: DataDir, name: string): HistoryState | undefined {
  try {
    return droppedState(dataDir, name)
  } catch {
    return undefined
  }
}

/** Whether only the drop itself is left. */
export function isOnlyDrop(dataDir: DataDir, name: string): boolean {
  return new LtxDirectory(dataDir.ltxDir(name)).list().length === 1
}
