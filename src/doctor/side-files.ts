/** The files beside a database that are not SQLite's. */
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { isUnfinished } from "../diverged/takeover.ts"
import { formatTxid } from "../ltx/pos.ts"
import { isLeftover } from "../recovery/leftovers.ts"
import { isKeptLog } from "../recovery/log/commit-log-recovery.ts"
import type { WholeLtxFile } from "../store/ltx/inspected-ltx-file.ts"
import { readSynced } from "../store/synced.ts"
import type { DatabasePaths } from "./database-paths.ts"
import { type Finding, moveAway, note, problem } from "./finding.ts"

const KNOWN_NAMES = [
  ...["database", "journal", "wal", "shm", "ltx", "synced", "past"],
  ...["checksums", "sums", "written", "undo"],
]

export function syncedFindings(last: WholeLtxFile | undefined, paths: DatabasePaths): Finding[] {
  const synced = readSynced(paths.synced)
  if (synced <= (last?.maxTxid ?? 0n)) return []
  const what = `it says that TXID ${formatTxid(synced)} is in the database file, but the log does not go that far; a recovery would replay too little`
  const repair = moveAway(paths.synced, "synced")
  return [problem("synced-ahead", paths.synced, what, { repair })]
}

export function strayFindings(paths: DatabasePaths): Finding[] {
  return readdirSync(paths.directory)
    .filter((name) => !KNOWN_NAMES.includes(name))
    .sort()
    .map((name) => {
      const path = join(paths.directory, name)
      if (name.startsWith("wal.removed")) {
        return note("stray", path, "a WAL that was set aside at a start; it is no longer used")
      }
      if (isKeptLog(name)) {
        const what =
          "transactions of the commit log that did not follow on the LTX files, and were set aside"
        return note("stray", path, what)
      }
      if (/^database(-wal|-journal)?\.changed-\d+$/.test(name)) {
        const what =
          "what another program had written while LiteFS was not running, kept at a start"
        return note("stray", path, what)
      }
      const unfinished = unfinishedMeaning(name)
      if (unfinished !== undefined) {
        return note("stray", path, `${unfinished}; the next start of LiteFS removes it`)
      }
      const what = name.endsWith(".repairing")
        ? "a database that litefs doctor was making when it stopped; nothing needs it"
        : "not one of the files of a database; LiteFS does not use it"
      return problem("stray", path, what, { repair: moveAway(path, name) })
    })
}

/** The remains of work that a kill has interrupted; every start removes them. */
function unfinishedMeaning(name: string): string | undefined {
  if (isUnfinished(name)) {
    return "a part of a snapshot that was being received when LiteFS stopped"
  }
  if (isLeftover(name)) {
    return name.startsWith("snapshot-")
      ? "old pages that were kept for a snapshot when LiteFS stopped"
      : "a file that was being written when LiteFS stopped"
  }
  return undefined
}
