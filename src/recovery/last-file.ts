/**
 * The LTX file that tells the position of a database: the newest whole one.
 *
 * A file at the end that is not whole is one of two things:
 *
 *   torn      shorter, or with zeros: a crash came while it was written, so its transaction was not acknowledged. It
 *             is set aside.
 *   damaged   of its full length, with other bytes. When the database provably is after its transaction, the database
 *             stays, and the file is made anew; when it is not, the database is refused.
 *
 * A torn file whose transaction the database has is treated like a damaged one, since that loses nothing. Two files
 * that are not whole are damage: a crash tears one.
 */
import { systemClock } from "../lib/clock.ts"
import { LitefsError, messageOf } from "../lib/errors.ts"
import type { Logger } from "../lib/log.ts"
import { formatPos } from "../ltx/pos.ts"
import type { DataDir } from "../store/data-dir.ts"
import { LtxDirectory, type LtxFileInfo, setAside } from "../store/ltx/ltx-directory.ts"
import { type LtxSummary, readLtxFile } from "../store/ltx/ltx-file.ts"
import { readSynced } from "../store/synced.ts"
import { readChainFile } from "./log/log-chain.ts"
import { mendEnd } from "./mended-end.ts"
import { looksTorn, provenEnd } from "./proven-end.ts"
import type { FoundSums } from "./saved-sums.ts"

export interface LastFile {
  readonly file: LtxFileInfo
  readonly summary: LtxSummary
}

/** A database that is recovered. */
export interface Recovered {
  readonly name: string
  readonly dataDir: DataDir
  /** What a clean stop has left. */
  readonly saved: FoundSums | undefined
  readonly log: Logger
}

export function findLast(given: Recovered): LastFile | undefined {
  const { name, dataDir, saved } = given
  const ltx = new LtxDirectory(dataDir.ltxDir(name))
  const file = ltx.last()
  if (file === undefined) return undefined
  const summary = attempt(() => readLtxFile(file.path))
  if (!(summary instanceof RangeError)) {
    const last = { file, summary }
    return saved === undefined ? last : withSaved(given, last, saved)
  }
  return mended(given, file) ?? withoutTorn(given, file, messageOf(summary))
}

/**
 * A log that ends before the transaction with which the database was closed has lost its last files: makes one from the
 * database file.
 */
function withSaved({ name, dataDir, log }: Recovered, last: LastFile, saved: FoundSums): LastFile {
  const { pos, pageSize, commit, isCurrent } = saved
  const { maxTxid } = last.file
  if (!isCurrent || pos.txid <= maxTxid) return last
  const end = { pos, pageSize, commit, walFrames: 0 }
  const gone = { path: undefined, minTxid: maxTxid + 1n }
  const made = mendEnd(pathsOf(dataDir, name), gone, end, last.summary, systemClock.wallMs())
  log.warn(
    "the last LTX files are missing, made one from the database file, which has their transactions",
    {
      ...{ db: name, file: made.path, pos: formatPos(pos) },
    },
  )
  return lastOf(dataDir, name)
}

function mended({ name, dataDir, saved, log }: Recovered, file: LtxFileInfo): LastFile | undefined {
  const [previous] = new LtxDirectory(dataDir.ltxDir(name)).list().slice(-2, -1)
  const found = previous && attempt(() => readLtxFile(previous.path))
  const before = found instanceof RangeError ? undefined : found
  const paths = pathsOf(dataDir, name)
  const end = provenEnd(paths, file, before, saved)
  if (end === undefined) return undefined
  const { kept } = mendEnd(paths, file, end, before, systemClock.wallMs())
  log.warn("set aside the last LTX file, which is damaged: the database has its transaction", {
    ...{ db: name, file: kept, pos: formatPos(end.pos) },
  })
  return lastOf(dataDir, name)
}

function withoutTorn(
  { name, dataDir, log }: Recovered,
  file: LtxFileInfo,
  problem: string,
): LastFile | undefined {
  const isKnown = file.maxTxid <= readSynced(dataDir.syncedPath(name))
  if (isKnown || !looksTorn(file.path)) {
    const what = `its last LTX file "${file.path}" is damaged, and the database file does not have its transaction: ${problem}`
    const advice = "see litefs doctor"
    throw new LitefsError("damaged", `Cannot open database "${name}": ${what}, ${advice}`)
  }
  // This throws when that file is damaged too, and both then stay: the next start must not take one torn file for all.
  const before = new LtxDirectory(dataDir.ltxDir(name)).list().at(-2)
  const last = before && { file: before, summary: readChainFile(name, before) }
  const kept = setAside(file.path, "torn", systemClock.wallMs())
  log.warn("set aside the last LTX file, which was torn by a crash", { db: name, file: kept })
  return last
}

function lastOf(dataDir: DataDir, name: string): LastFile {
  const file = new LtxDirectory(dataDir.ltxDir(name)).last() as LtxFileInfo
  return { file, summary: readChainFile(name, file) }
}

function pathsOf(dataDir: DataDir, name: string) {
  return {
    database: dataDir.path(name, "database"),
    wal: dataDir.path(name, "wal"),
    ltx: dataDir.ltxDir(name),
  }
}

function attempt(read: () => LtxSummary): LtxSummary | RangeError {
  try {
    return read()
  } catch (error) {
    if (error instanceof RangeError) return error
    throw error
  }
}
