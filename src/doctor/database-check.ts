/** One database, offline: its log, and whether its files give the content that the log states. */

import { sumsOfFile } from "../capture/file-sums.ts"
import { formatPos } from "../ltx/pos.ts"
import { posAfter } from "../ltx/span.ts"
import { looksTorn } from "../recovery/proven-end.ts"
import { readDatabaseHeader } from "../sqlite/database-header.ts"
import { isJournalActive, readJournalHeader } from "../sqlite/journal.ts"
import { WalReader } from "../sqlite/wal-reader.ts"
import type { DataDir } from "../store/data-dir.ts"
import { FileSource } from "../store/ltx/file-source.ts"
import type { WholeLtxFile } from "../store/ltx/inspected-ltx-file.ts"
import { type DatabaseImage, databaseImage, type Recipe } from "./database-image.ts"
import { type DatabasePaths, databasePaths } from "./database-paths.ts"
import { mendFindings } from "./end-check.ts"
import { type Finding, note, problem, type Repair } from "./finding.ts"
import {
  behindFinding,
  damagedFinding,
  journalFinding,
  newerFinding,
  walFindings,
} from "./image-findings.ts"
import { integrityFindings } from "./integrity-check.ts"
import {
  chainFindings,
  damagedEndFindings,
  type Log,
  otherNameFindings,
  readLog,
  statedChecksum,
  tornFinding,
} from "./log-check.ts"
import { restoreOptions } from "./options.ts"
import { rebuildDatabase } from "./rebuild.ts"
import { strayFindings, syncedFindings } from "./side-files.ts"

export interface DatabaseReport {
  readonly name: string
  /** The position at the end of the log; undefined without a log. */
  readonly pos: string | undefined
  readonly pageSize: number
  readonly commit: number // pages
  readonly ltxFileCount: number
  readonly findings: readonly Finding[]
}

export function checkDatabase(dataDir: DataDir, name: string, nowMs: number): DatabaseReport {
  const paths = databasePaths(dataDir, name)
  const log = readLog(paths)
  const last = log.chain.at(-1)
  return {
    name,
    pos: last && formatPos(posAfter(last)),
    pageSize: last?.header.pageSize ?? 0,
    commit: last?.header.commit ?? 0,
    ltxFileCount: log.files.length,
    findings: mendFindings(log, last, paths, nowMs) ?? [
      ...syncedFindings(last, paths), // first: a rebuild writes a new one
      ...(last === undefined
        ? unloggedFindings(log, paths, nowMs)
        : last.header.commit === 0
          ? deletedFindings(log, paths, nowMs)
          : loggedFindings(log, last, paths, nowMs)),
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
  using undo = FileSource.open(paths.undo)
  using wal = FileSource.open(paths.wal)
  const isHot = isHotJournal(journal, database)
  const sources = { database, journal: isHot ? journal : undefined, undo, wal }
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

/** For a database whose last transaction is its drop: its file is gone, or should be. */
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
      "the last LTX file deletes the database, but its file is still there: there was a crash between the two",
      {
        repair: {
          does: "moves it to damaged/",
          run(damaged) {
            damaged.move(paths.database, "database")
            damaged.move(paths.journal, "database-journal")
            damaged.move(paths.wal, "database-wal")
          },
        },
      },
    ),
  )
  return findings
}

/** For a database without a whole LTX file: nothing tells what it should be. */
function unloggedFindings(log: Log, paths: DatabasePaths, nowMs: number): Finding[] {
  const findings: Finding[] = []
  const [end, ...more] = log.damagedEnd
  if (end !== undefined && more.length === 0 && looksTorn(end.path)) {
    findings.push(tornFinding(end, nowMs))
  } else findings.push(...damagedEndFindings(log.damagedEnd, paths, true))

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
    const what =
      "the WAL holds transactions, and no LTX file has them; a start would leave them out"
    findings.push(problem("wal-unlogged", paths.wal, what, { repair }))
  }
  if (rollsBack || walFrames > 0) return findings
  if (readDatabaseHeader(database) === undefined) {
    const what = "it is not a SQLite database, and there are no LTX files to make one from"
    return [
      ...findings,
      problem("not-a-database", paths.database, what, { options: restoreOptions(paths) }),
    ]
  }
  const what =
    "it has no LTX files, so there is nothing to compare it with; the next start of LiteFS makes its first transaction from it"
  return [
    ...findings,
    note("database-unlogged", paths.database, what),
    ...integrityFindings(true, paths),
  ]
}

/**
 * Whether a replay would undo something. A transaction that was not acknowledged leaves in the database file only what
 * its journal undoes. Where the last LTX file is torn, unknown pages therefore belong to its transaction.
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

/** The damaged files at the end of the log. `isTorn`: nothing contradicts a tear of the last one. */
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
  if (more.length === 0 && follows && isTorn && looksTorn(file.path)) {
    return [tornFinding(file, nowMs)]
  }
  return damagedEndFindings(log.damagedEnd, paths, isTorn)
}

/** Whether the file sums to the database's checksum in a damaged LTX file. */
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

function isHotJournal(journal: FileSource | undefined, database: FileSource | undefined): boolean {
  if (journal === undefined || database === undefined || database.size === 0) return false
  return isJournalActive(journal) && readJournalHeader(journal) !== undefined
}

function lastCommitFrame(wal: FileSource): number {
  const reader = new WalReader(wal)
  while (reader.next());
  return reader.lastCommit?.frameCount ?? 0
}
