/**
 * A snapshot takes the place of a database and of its log, safe against a crash at any instruction.
 *
 *   built ── begin(): the record is durable ──▶ decided ── moveIn() ──▶ in place ── end() ──▶ done
 *     │                                            │
 *     │ crash: the old state, whole                │ crash: the next start does moveIn() and end() once more
 *     └─ clearUnfinished() removes what was built  └─ and again, if it is cut short, too
 *
 * 1. Before begin() nothing of the old state is touched. Durable by then are: `next-<n>.ltx`, the snapshot;
 *    `next-<n>.database`, the file that it makes; and if the old state should be kept, `diverged/<label>.part`
 *    (kept-history.ts), which is only second names of its files. The commit log no longer holds anything of it.
 * 2. The record, `dbs/<name>/takeover`, is the decision: one line of JSON, which exists or does not.
 * 3. moveIn() renames and removes, and recognizes what it has already done. Meanwhile the directory is inconsistent,
 *    and only this file looks at it while there is a record.
 * 4. end() comes before the next transaction is stored: otherwise that one would count as part of the old log.
 */
import { LitefsError } from "../lib/errors.ts"
import { formatTxid, parseTxid, type Txid } from "../ltx/pos.ts"
import type { BackedFile } from "../store/backed-file.ts"
import type { DataDir } from "../store/data-dir.ts"
import { LtxDirectory } from "../store/ltx/ltx-directory.ts"
import { replaceFile, writeSynced } from "../store/synced.ts"
import { listDirectory, syncDirectory } from "../sys/directory.ts"
import { fileExists, readWhole, renameFile, unlinkFile } from "../sys/file.ts"
import { clearParts, completeKept } from "./kept-history.ts"

export interface Takeover {
  /** Number for DataDir.nextPath(). */
  readonly number: number
  readonly minTxid: Txid
  readonly maxTxid: Txid
  /** Pages; 0 when no database is left after it. */
  readonly commit: number
  /** The label of the old state, if that is kept. */
  readonly kept: string | undefined
}

/** Throws when it is not decided. There is no record then, unless a disk that takes no writes keeps it there. */
export function beginTakeover(dataDir: DataDir, name: string, takeover: Takeover): void {
  const path = dataDir.takeoverPath(name)
  const { minTxid, maxTxid } = takeover
  const json = JSON.stringify({
    ...takeover,
    minTxid: formatTxid(minTxid),
    maxTxid: formatTxid(maxTxid),
  })
  try {
    replaceFile("takeover", path, new TextEncoder().encode(`${json}\n`))
  } catch (error) {
    unlinkFile("takeover:unlink", path)
    throw error
  }
}

/** Whether there is a record. */
export function isDecided(dataDir: DataDir, name: string): boolean {
  return fileExists("takeover:look", dataDir.takeoverPath(name))
}

/** Puts the new files in the place of the old ones. Can be repeated. */
export function moveIn(dataDir: DataDir, name: string, takeover: Takeover): void {
  const { number, minTxid, maxTxid, commit, kept } = takeover
  if (kept !== undefined) completeKept(dataDir, kept)
  const ltx = new LtxDirectory(dataDir.ltxDir(name))
  const path = ltx.filePath(minTxid, maxTxid)
  moveIfThere(dataDir.nextPath(name, number, "ltx"), path)
  for (const file of ltx.list()) {
    if (file.path !== path) unlinkFile("takeover:unlink-ltx", file.path)
  }
  const database = dataDir.path(name, "database")
  if (commit === 0) unlinkFile("takeover:unlink-database", database)
  else replaceIfThere(dataDir.nextPath(name, number, "database"), dataDir.file(name, "database"))
  unlinkFile("takeover:unlink-checksums", dataDir.checksumsPath(name))
  unlinkFile("takeover:unlink-sums", dataDir.sumsPath(name))
  unlinkFile("takeover:unlink-past", dataDir.pastPath(name))
}

/** Makes the work of moveIn() durable: nothing needs to be repeated. */
export function endTakeover(dataDir: DataDir, name: string, takeover: Takeover): void {
  if (takeover.commit > 0) writeSynced(dataDir.syncedPath(name), takeover.maxTxid)
  syncDirectory("takeover:sync-dir", dataDir.ltxDir(name))
  syncDirectory("takeover:sync-dir", dataDir.databaseDir(name))
  unlinkFile("takeover:unlink", dataDir.takeoverPath(name))
  syncDirectory("takeover:sync-dir", dataDir.databaseDir(name))
}

/**
 * At the start, before anything else looks at the database: ends a takeover that a crash has cut short, and removes the
 * remains of an undecided one. True when it has ended one.
 */
export function finishTakeover(dataDir: DataDir, name: string): boolean {
  const takeover = readTakeover(dataDir, name)
  if (takeover !== undefined) {
    moveIn(dataDir, name, takeover)
    // Files of the old state.
    for (const file of ["journal", "wal", "shm"] as const) {
      unlinkFile(`${file}:unlink`, dataDir.path(name, file))
    }
    endTakeover(dataDir, name, takeover)
  }
  clearUnfinished(dataDir, name)
  return takeover !== undefined
}

/** At the start, after a look at every database: removes histories that a crash kept from being kept. */
export function clearUnkept(dataDir: DataDir): void {
  // A takeover that cannot be ended now may need what looks unfinished.
  if (dataDir.databaseNames().some((name) => mayBeDecided(dataDir, name))) return
  clearParts(dataDir)
}

function mayBeDecided(dataDir: DataDir, name: string): boolean {
  try {
    return isDecided(dataDir, name)
  } catch {
    return true // of a database that was refused
  }
}

function clearUnfinished(dataDir: DataDir, name: string): void {
  const directory = dataDir.databaseDir(name)
  for (const entry of listDirectory("takeover:list", directory)) {
    if (isUnfinished(entry.name)) unlinkFile("takeover:unlink-next", `${directory}/${entry.name}`)
  }
  const ltx = dataDir.ltxDir(name)
  for (const entry of listDirectory("takeover:list", ltx)) {
    if (isUnfinishedLtx(entry.name)) unlinkFile("takeover:unlink-next", `${ltx}/${entry.name}`)
  }
}

/** Undefined when there is no record. Throws for one that cannot be read. */
export function readTakeover(dataDir: DataDir, name: string): Takeover | undefined {
  const path = dataDir.takeoverPath(name)
  const bytes = readWhole("takeover:read", path)
  if (bytes === undefined) return undefined
  try {
    return parseTakeover(JSON.parse(new TextDecoder().decode(bytes)))
  } catch (error) {
    const problem =
      "it should be the record of a takeover, one line of JSON, litefs doctor tells more"
    throw new LitefsError("damaged", `Cannot read "${path}": ${problem}`, { cause: error })
  }
}

function parseTakeover(json: Record<string, unknown>): Takeover {
  const minTxid = parseTxid(String(json.minTxid))
  const maxTxid = parseTxid(String(json.maxTxid))
  const { number, commit, kept } = json
  const isRight = Number.isInteger(number) && Number.isInteger(commit)
  if (minTxid === undefined || maxTxid === undefined || !isRight) {
    throw new RangeError("it is not a record of a takeover")
  }
  return {
    number: number as number,
    minTxid,
    maxTxid,
    commit: commit as number,
    kept: typeof kept === "string" ? kept : undefined,
  }
}

function replaceIfThere(from: string, file: BackedFile): void {
  try {
    if (fileExists("takeover:look", from)) file.giveAccessTo(from)
  } finally {
    file.close()
  }
  moveIfThere(from, file.path)
}

/** False when it was moved before. */
function moveIfThere(from: string, to: string): void {
  if (fileExists("takeover:look", from)) renameFile("takeover:rename", from, to)
}

/** Beside a database: whether it is the remains of an undecided snapshot. */
export function isUnfinished(name: string): boolean {
  return /^(next-\d+\.(ltx|database)|takeover\.tmp)$/.test(name)
}

/** The same among LTX files. */
export function isUnfinishedLtx(name: string): boolean {
  return /\.ltx\.(receiving(-\d+)?|making)$/.test(name)
}
