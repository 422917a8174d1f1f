/** One database, offline: its log, and whether its files make what the log says. */
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { formatChecksum, formatPos, formatTxid } from "../ltx/pos.ts"
import { DATABASE_HEADER_SIZE, decodeDatabaseHeader } from "../sqlite/database-header.ts"
import { isJournalActive, readJournalHeader } from "../sqlite/journal.ts"
import { WalReader } from "../sqlite/wal-reader.ts"
import type { DataDir } from "../store/data-dir.ts"
import { FileSource } from "../store/file-source.ts"
import type { WholeLtxFile } from "../store/inspected-ltx-file.ts"
import { readSynced } from "../store/synced.ts"
import { integrityProblems } from "../sys/sqlite.ts"
import { type DatabaseImage, databaseImage, type Recipe } from "./database-image.ts"
import { type DatabasePaths, databasePaths } from "./database-paths.ts"
import { type Finding, note, problem, type Repair } from "./finding.ts"
import {
  chainFindings,
  damagedEndFindings,
  type Log,
  otherNameFindings,
  readLog,
  statedChecksum,
  tornFinding,
} from "./log-check.ts"
import { newerOptions, restoreOptions } from "./options.ts"
import { sumsOfFile } from "./page-sums.ts"
import { moveIfThere, rebuildDatabase } from "./rebuild.ts"

export interface DatabaseReport {
  readonly name: string
  /** What the log ends at; undefined without a log. */
  readonly pos: string | undefined
  readonly pageSize: number
  readonly commit: number // pages
  readonly ltxFileCount: number
  readonly findings: readonly Finding[]
}

const KNOWN_NAMES = ["database", "journal", "wal", "shm", "ltx", "synced", "checksums"]
const INTEGRITY_LINES = 5

export function checkDatabase(dataDir: DataDir, name: string, nowMs: number): DatabaseReport {
  const paths = databasePaths(dataDir, name)
  const log = readLog(paths)
  const last = log.chain.at(-1)
  return {
    name,
    pos: last && formatPos({ txid: last.maxTxid, checksum: last.trailer.postApplyChecksum }),
    pageSize: last?.header.pageSize ?? 0,
    commit: last?.header.commit ?? 0,
    ltxFileCount: log.files.length,
    findings: [
      ...(last === undefined
        ? unloggedFindings(log, paths, nowMs)
        : last.header.commit === 0
          ? deletedFindings(log, paths, nowMs)
          : loggedFindings(log, last, paths, nowMs)),
      ...syncedFindings(last, paths),
      ...otherNameFindings(log, paths),
      ...strayFindings(paths),
    ],
  }
}

function loggedFindings(
  log: Log,
  last: WholeLtxFile,
  paths: DatabasePaths,
  nowMs: number,
): Finding[] {
  using database = FileSource.open(paths.database)
  using journal = FileSource.open(paths.journal)
  using wal = FileSource.open(paths.wal)
  const isHot = isHotJournal(journal, database)
  const sources = { database, journal: isHot ? journal : undefined, wal }
  const image = databaseImage(sources, log.chain, last)
  const { recipe } = image
  const isNewer = isNewerThanLog(image, log, last, database)
  const isTorn = recipe !== undefined && !isNewer
  const findings = endFindings(log, last, paths, isTorn, nowMs)
  findings.push(...chainFindings(log, paths, recipe !== undefined))
  if (recipe === undefined) {
    findings.push(damagedFinding(image, last, paths))
    return findings
  }
  if (isNewer) return [...findings, newerFinding(image, last, paths)]
  const repair = rebuild(recipe, { chain: log.chain, last }, paths)
  if (isHot) findings.push(journalFinding(recipe, paths, repair))
  if (recipe.replays) findings.push(behindFinding(image, last, paths, repair))
  findings.push(...walFindings(image, recipe, wal, last, paths, repair))
  const isInFile = !recipe.rollsBack && recipe.walFrames === 0 && !recipe.replays
  findings.push(...integrityFindings(isInFile, paths))
  return findings
}

/** A database that was deleted last: its file is gone, or should be. */
function deletedFindings(log: Log, paths: DatabasePaths, nowMs: number): Finding[] {
  const findings = [
    ...endFindings(log, log.chain.at(-1), paths, true, nowMs),
    ...chainFindings(log, paths, true),
  ]
  using database = FileSource.open(paths.database)
  if ((database?.size ?? 0) === 0) return findings
  findings.push(
    problem(
      "database-left",
      paths.database,
      "the last LTX file deletes the database, but its file is still there: a crash came between the two",
      {
        repair: {
          does: "moves it to damaged/",
          run(damaged) {
            moveIfThere(paths.database, "database", damaged)
            moveIfThere(paths.journal, "database-journal", damaged)
            moveIfThere(paths.wal, "database-wal", damaged)
          },
        },
      },
    ),
  )
  return findings
}

/** A database without a whole LTX file: nothing tells what it should be. */
function unloggedFindings(log: Log, paths: DatabasePaths, nowMs: number): Finding[] {
  const findings: Finding[] = []
  if (log.damagedEnd.length === 1)
    findings.push(...log.damagedEnd.map((file) => tornFinding(file, nowMs)))
  else findings.push(...damagedEndFindings(log.damagedEnd, paths, true))

  using database = FileSource.open(paths.database)
  using journal = FileSource.open(paths.journal)
  using wal = FileSource.open(paths.wal)
  const walFrames = wal === undefined ? 0 : lastCommitFrame(wal)
  const rollsBack = isHotJournal(journal, database)
  const recipe = { rollsBack, walFrames, replays: false }
  const repair = rebuild(recipe, undefined, paths)
  if (rollsBack) findings.push(journalFinding(recipe, paths, repair))
  if ((database?.size ?? 0) === 0 && walFrames === 0) return findings
  if (walFrames > 0) {
    const what = "the WAL holds transactions, and no LTX file has them; a start would forget them"
    findings.push(problem("wal-unlogged", paths.wal, what, { repair }))
  }
  if (rollsBack || walFrames > 0) return findings
  if (!hasDatabaseHeader(database)) {
    const what = "it is not a SQLite database, and there are no LTX files to make one of"
    return [
      ...findings,
      problem("not-a-database", paths.database, what, { options: restoreOptions(paths) }),
    ]
  }
  const what =
    "it has no LTX files, so nothing tells what it should be; its next transaction will hold every page"
  return [
    ...findings,
    note("database-unlogged", paths.database, what),
    ...integrityFindings(true, paths),
  ]
}

/**
 * Whether a replay would take something back. A transaction that was not acknowledged has left nothing in the
 * database file but what its journal undoes; so where the last LTX file is torn, unknown pages are its.
 */
function isNewerThanLog(
  { recipe, unknown, isNewer }: DatabaseImage,
  { damagedEnd }: Log,
  last: WholeLtxFile,
  database: FileSource | undefined,
): boolean {
  if (recipe === undefined || !recipe.replays) return false
  const end = damagedEnd.at(-1)
  if (end === undefined) return isNewer
  return isNewer || unknown.length > 0 || holdsTransaction(database, last, statedChecksum(end))
}

/** The damaged files at the end of the log. `isTorn`: nothing speaks against that the last one is. */
function endFindings(
  log: Log,
  last: WholeLtxFile | undefined,
  paths: DatabasePaths,
  isTorn: boolean,
  nowMs: number,
): Finding[] {
  const [file, ...more] = log.damagedEnd
  if (file === undefined) return []
  const follows = last === undefined || file.minTxid === last.maxTxid + 1n
  if (more.length === 0 && follows && isTorn) return [tornFinding(file, nowMs)]
  return damagedEndFindings(log.damagedEnd, paths, isTorn)
}

/** Whether the file sums to what a damaged LTX file says of the database after it. */
function holdsTransaction(
  database: FileSource | undefined,
  { header }: WholeLtxFile,
  checksum: bigint | undefined,
): boolean {
  if (database === undefined || checksum === undefined) return false
  const pageCount = Math.ceil(database.size / header.pageSize)
  return sumsOfFile(database, header.pageSize, pageCount).total === checksum
}

function rebuild(
  recipe: Recipe,
  target: { chain: readonly WholeLtxFile[]; last: WholeLtxFile } | undefined,
  paths: DatabasePaths,
): Repair {
  const steps = [
    recipe.rollsBack ? "rolls it back" : "",
    recipe.walFrames > 0 ? "copies the WAL's pages into the database file" : "",
    recipe.replays ? "replays the LTX files onto the database file" : "",
  ].filter((step) => step !== "")
  const does = [...steps, "keeps what there was in damaged/"].join(", ")
  return {
    does,
    run(damaged) {
      rebuildDatabase(paths, recipe, target, damaged)
    },
  }
}

function journalFinding(recipe: Recipe, paths: DatabasePaths, repair: Repair): Finding {
  if (recipe.rollsBack) {
    const what =
      "the journal is hot: a transaction was interrupted while it was written to the database file"
    return problem("journal-hot", paths.journal, what, { repair })
  }
  const what =
    "the journal is hot, but the database is as in the log without it: a crash came right after the commit"
  return problem("journal-late", paths.journal, what, { repair })
}

function behindFinding(
  { differing }: DatabaseImage,
  last: WholeLtxFile,
  paths: DatabasePaths,
  repair: Repair,
): Finding {
  const what =
    `${pagesText(differing)} not as in the log at TXID ${formatTxid(last.maxTxid)}, ` +
    "and the LTX files have what is missing"
  return problem("database-behind", paths.database, what, { repair })
}

function newerFinding(
  { unknown }: DatabaseImage,
  last: WholeLtxFile,
  paths: DatabasePaths,
): Finding {
  const what =
    `${pagesText(unknown)} of a transaction after TXID ${formatTxid(last.maxTxid)} that no whole LTX file has; ` +
    "a replay would take it back"
  return problem("database-newer", paths.database, what, { options: newerOptions(paths) })
}

function damagedFinding(image: DatabaseImage, last: WholeLtxFile, paths: DatabasePaths): Finding {
  const [is, should] = [image.fileTotal, last.trailer.postApplyChecksum].map(formatChecksum)
  const known =
    image.differing.length === 0
      ? "the pages that the LTX files have are right, so others are wrong"
      : `${pagesText(image.differing)} not as in the LTX files, and so are others that they do not have`
  const what = `it sums to ${is}, ${should} is expected at TXID ${formatTxid(last.maxTxid)}: ${known}`
  return problem("database-damaged", paths.database, what, { options: restoreOptions(paths) })
}

function walFindings(
  image: DatabaseImage,
  recipe: Recipe,
  wal: FileSource | undefined,
  last: WholeLtxFile,
  paths: DatabasePaths,
  repair: Repair,
): Finding[] {
  if (wal === undefined || wal.size === 0) return []
  const { unloggedCommitCount, walCommitCount } = image
  const { header } = new WalReader(wal)
  if (header === undefined || header.pageSize !== last.header.pageSize) {
    const what = "it has no header that is valid for this database, so SQLite takes it for empty"
    return [note("wal-foreign", paths.wal, what)]
  }
  const txid = formatTxid(last.maxTxid)
  if (unloggedCommitCount !== undefined && unloggedCommitCount > 0) {
    const what =
      `${counted(unloggedCommitCount, "transaction")} after TXID ${txid} ${unloggedCommitCount === 1 ? "is" : "are"} in the WAL and in no LTX file; ` +
      "LiteFS v0.5 may have acknowledged such ones when it was killed; a start forgets them"
    return [problem("wal-unlogged", paths.wal, what, { repair })]
  }
  if (recipe.walFrames === 0) return []
  if (image.walIsNeeded) {
    const what =
      "the newest version of some pages is in the WAL alone, the LTX files that had them are gone"
    return [problem("wal-needed", paths.wal, what, { repair })]
  }
  const what = `of its ${counted(walCommitCount, "transaction")} some are not in the database file yet; all are in LTX files`
  return [note("wal-holds", paths.wal, what)]
}

function integrityFindings(isInFile: boolean, paths: DatabasePaths): Finding[] {
  if (!isInFile) {
    const what =
      "SQLite's integrity_check was left out: the database file alone is not the database now"
    return [note("integrity-unknown", paths.database, what)]
  }
  const problems = integrityProblems(paths.database, INTEGRITY_LINES)
  if (problems.length === 0) return []
  const what = `SQLite's integrity_check says: ${problems.join("; ").replace(/\s+/g, " ")}`
  return [problem("integrity", paths.database, what, { options: restoreOptions(paths) })]
}

function syncedFindings(last: WholeLtxFile | undefined, paths: DatabasePaths): Finding[] {
  const synced = readSynced(paths.synced)
  if (synced <= (last?.maxTxid ?? 0n)) return []
  const what = `it says that TXID ${formatTxid(synced)} is in the database file, but the log does not go that far; a recovery would replay too little`
  return [
    problem("synced-ahead", paths.synced, what, {
      repair: {
        does: "moves it to damaged/",
        run: (damaged) => moveIfThere(paths.synced, "synced", damaged),
      },
    }),
  ]
}

function strayFindings(paths: DatabasePaths): Finding[] {
  return readdirSync(paths.directory)
    .filter((name) => !KNOWN_NAMES.includes(name))
    .sort()
    .map((name) => {
      const path = join(paths.directory, name)
      if (name === "wal.removed") {
        return note("stray", path, "a WAL that LiteFS v0.5 set aside; this LiteFS does not use it")
      }
      return problem("stray", path, strayMeaning(name), {
        repair: {
          does: "moves it to damaged/",
          run: (damaged) => void damaged.move(path, name),
        },
      })
    })
}

function strayMeaning(name: string): string {
  if (name.startsWith("snapshot-")) {
    return "old pages that were kept for a snapshot when LiteFS stopped; nothing needs them"
  }
  if (/\.(tmp|repairing)$/.test(name)) {
    return "a file that was being written when LiteFS stopped; nothing needs it"
  }
  return "none of the files of a database; LiteFS does not use it"
}

function isHotJournal(journal: FileSource | undefined, database: FileSource | undefined): boolean {
  if (journal === undefined || database === undefined || database.size === 0) return false
  return isJournalActive(journal) && readJournalHeader(journal) !== undefined
}

function lastCommitFrame(wal: FileSource): number {
  const reader = new WalReader(wal)
  while (reader.next());
  return reader.lastCommit?.frameCount ?? 0
}

function hasDatabaseHeader(database: FileSource | undefined): boolean {
  const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
  const size = database?.readAt(0, bytes) ?? 0
  return decodeDatabaseHeader(bytes.subarray(0, size)) !== undefined
}

const PAGES_SHOWN = 10

/** `page 3 is`, `pages 1, 2 and 7 are`, with an end. */
function pagesText(pgnos: readonly number[]): string {
  if (pgnos.length === 0) return "its size is"
  if (pgnos.length === 1) return `page ${pgnos[0]} is`
  const shown = pgnos.slice(0, PAGES_SHOWN)
  const more = pgnos.length - shown.length
  return more > 0
    ? `pages ${shown.join(", ")} and ${more} more are`
    : `pages ${shown.slice(0, -1).join(", ")} and ${shown.at(-1)} are`
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`
}
