/**
 * From a data directory as a crash may have left it to databases at a known position.
 *
 * The LTX directory is the truth. A transaction is acknowledged when it is durable in the commit log or in its LTX
 * file. Files that a crash kept from being made have been made from the log by now (log/commit-log-recovery.ts). The
 * content of the database file may be older (the WAL was not checkpointed), newer than durable, or half a transaction:
 *
 *   0. End a takeover by a snapshot that was cut short (diverged/takeover.ts). Where clients wrote past the daemon,
 *      capture what they have committed (wal-tail.ts).
 *   1. Roll back a hot journal, if the steps below do not succeed without that: pages of a transaction that was
 *      not captured become what they were. The undo file has those that SQLite did not save (store/undo-file.ts).
 *   2. Forget the wal-index and the WAL: every commit in it is in an LTX file. (Not so after the original: see
 *      `wal-rescue.ts`.)
 *   3. Set aside a torn last LTX file: its transaction was never acknowledged. Make a damaged one anew from the
 *      database file, if that has its transaction (last-file.ts).
 *   4. After a clean stop the page checksums have been saved: done, whatever the database's size. After a kill those
 *      of the running node may do, with the pages of the LTX files since (kept-sums.ts).
 *   5. Sum all pages. When every page is as the LTX files after the synced TXID have it, and all together have the
 *      checksum of the last one, done. Otherwise replay those files, oldest first, and sum again. When they do not
 *      lead there, the commits of the WAL may, and are copied. Content that somebody else has written to the file
 *      in the meantime is kept in a copy of it (outside-write.ts).
 *
 * The checksum alone does not tell whether the file is at its position: it is the XOR of the sums of all pages, and
 * CRC-64 is linear. Two pages that change from one shared content to another leave it as it was. Pages are therefore
 * compared, with the log and with the journal, wherever one of them has them.
 *
 * A file that never became a database, and was still empty or held zeros when the node stopped, goes.
 *
 * Any other fault makes that database unavailable, with a message that says what it is; nothing is removed, and the
 * other databases go on. A system call that failed may succeed later: whoever hears of it tries the database again
 * (node/recovery-retries.ts). The log's transactions of it have their LTX files by then.
 */

import { sumsOfFile } from "../capture/file-sums.ts"
import type { HistoryState } from "../capture/history.ts"
import { emptyHistoryState } from "../capture/history.ts"
import { PageChecksums } from "../capture/page-checksums.ts"
import { clearUnkept, finishTakeover } from "../diverged/takeover.ts"
import { systemClock } from "../lib/clock.ts"
import { LitefsError, messageOf } from "../lib/errors.ts"
import type { Logger } from "../lib/log.ts"
import { formatSize } from "../lib/size.ts"
import { lockPgno, pageSum, type Sum } from "../ltx/checksum.ts"
import { formatChecksum, formatPos, formatTxid, posEquals } from "../ltx/pos.ts"
import { posAfter } from "../ltx/span.ts"
import { readDatabaseHeader } from "../sqlite/database-header.ts"
import type { BackedFile } from "../store/backed-file.ts"
import type { DataDir } from "../store/data-dir.ts"
import { LtxDirectory, type LtxFileInfo, setAside } from "../store/ltx/ltx-directory.ts"
import type { LtxSummary } from "../store/ltx/ltx-file.ts"
import type { Positions } from "../store/positions.ts"
import { readSynced, writeSynced } from "../store/synced.ts"
import { SysError } from "../sys/errno.ts"
import { fileExists, renameFile, unlinkFile } from "../sys/file.ts"
import { databaseNameProblem } from "../wire/database-name.ts"
import { isOnlyDrop } from "./dropped-database.ts"
import { isBlank, removeEmptyDatabase } from "./empty-database.ts"
import { makeFirstTransaction } from "./first-transaction.ts"
import {
  isHot,
  rollBack,
  type SavedIn,
  savedIn,
  savedPages,
  setUndone,
  undoesUnnoticed,
} from "./journal-rollback.ts"
import { advance, findKeptSums, type KeptSums, keepSums, newestPages } from "./kept-sums.ts"
import { findLast, type LastFile, type Recovered } from "./last-file.ts"
import { removeLeftovers } from "./leftovers.ts"
import { chainTo, readChainFile, readNewest, stateAfter } from "./log/log-chain.ts"
import {
  isWhatWasDropped,
  isWrittenOutside,
  keepDatabaseFile,
  setAsideClientFiles,
} from "./outside-write.ts"
import { findSums } from "./saved-sums.ts"
import { copyFromWal, leaveWal } from "./wal-rescue.ts"
import { captureTail, type WrotePast } from "./wal-tail.ts"
import { refuseWrongKinds } from "./wrong-kind.ts"

/** Databases by name; undefined for a damaged one, which nobody may touch. */
export type RecoveredDatabases = ReadonlyMap<string, HistoryState | undefined>

/** Why a database cannot be used, and whether it may be usable later although nobody repairs it. */
export type OnRefused = (name: string, problem: string, mayPass: boolean) => void

/** What is known of the last daemon, which was not stopped in order. */
export interface LastRun {
  /** The machine has run since: its files are as they were last written. */
  readonly isSameBoot: boolean
  /** Its clients wrote past it, so that WALs may have commits that nobody has captured (wal-tail.ts). */
  readonly past?: WrotePast | undefined
}

/** The same, and what has become of it. */
export interface RecoveryPast extends LastRun {
  /** Databases with transactions in the commit log that cannot be put in place, and why: they are refused. */
  readonly unplaced?: ReadonlyMap<string, Error> | undefined
}

const UNKNOWN_RUN: LastRun = { isSameBoot: false }

export function recoverDatabases(
  dataDir: DataDir,
  positions: Positions,
  log: Logger,
  onRefused: OnRefused = () => {},
  past: RecoveryPast = UNKNOWN_RUN,
): RecoveredDatabases {
  const states = new Map<string, HistoryState | undefined>()
  for (const name of [...dataDir.databaseNames(), ...dataDir.takenNames()]) {
    try {
      refuseUnplaced(dataDir, name, past.unplaced?.get(name))
      const state = recoverIfThere(name, dataDir, log, past)
      if (state === undefined) continue
      states.set(name, state)
      positions.write(positions.add(name), state, state.pos)
    } catch (error) {
      const then = mayPass(error) ? "it is tried again" : "its files are left as they are"
      log.error(`database is unavailable, ${then}`, { db: name, error })
      states.set(name, undefined)
      onRefused(name, messageOf(error), mayPass(error))
    }
  }
  sayUnusable(dataDir.unusableNames(), log)
  clearUnkept(dataDir)
  return states
}

/** One line, however many there are. */
function sayUnusable([first, ...more]: readonly string[], log: Logger): void {
  if (first === undefined) return
  const others = more.length === 0 ? undefined : more.length
  log.error("a database is left out for its name, its files are left as they are", {
    ...{ db: first, problem: databaseNameProblem(first), others },
  })
}

/** Without what is in the log it would be another history, which takes the place of acknowledged transactions. */
function refuseUnplaced(dataDir: DataDir, name: string, problem: Error | undefined): void {
  if (problem === undefined) return
  refuseWrongKinds(dataDir, name)
  const what = "its transactions in the commit log cannot become LTX files"
  const text = `Cannot open database "${name}": ${what}: ${problem.message}`
  throw new LitefsError("io", text, { cause: problem })
}

/** Undefined when there is nothing that anybody needs to know. */
function recoverIfThere(
  name: string,
  dataDir: DataDir,
  log: Logger,
  past: RecoveryPast,
): HistoryState | undefined {
  const state = recoverDatabase(name, dataDir, log, past)
  if (state.pos.txid === 0n && removeEmptyDatabase(dataDir, name)) return undefined
  // Only somebody who asks for its name needs to know it.
  if (state.pos.txid > 0n && state.commit === 0 && isOnlyDrop(dataDir, name)) return undefined
  return state
}

export type RecoverOutcome =
  | { readonly kind: "recovered"; readonly state: HistoryState | undefined }
  | { readonly kind: "refused"; readonly problem: string; readonly mayPass: boolean }

/** Tries a database again that was refused. Nobody has it. */
export function recoverAgain(
  name: string,
  dataDir: DataDir,
  log: Logger,
  past: RecoveryPast,
): RecoverOutcome {
  try {
    refuseUnplaced(dataDir, name, past.unplaced?.get(name))
    return { kind: "recovered", state: recoverIfThere(name, dataDir, log, past) }
  } catch (error) {
    return { kind: "refused", problem: messageOf(error), mayPass: mayPass(error) }
  }
}

/** Whether the system refused something: room, a right, a descriptor, a sector. What is damaged stays so. */
function mayPass(error: unknown): boolean {
  return error instanceof SysError || (error instanceof Error && error.cause instanceof SysError)
}

/** Databases whose pages nobody has checked, because their checksums were saved at a clean stop. */
export function believed(databases: RecoveredDatabases): string[] {
  return [...databases].filter(([, state]) => state?.isBelieved === true).map(([name]) => name)
}

/** Its frames alone do not tell which of the two it is. */
const WAL_SET_ASIDE =
  "set aside a WAL that does not end where the log does: it is torn, or has commits that are in no LTX file"
const CLIENT_FILE_SET_ASIDE =
  "set aside a file that a SQLite client left beside the database file, LiteFS has no transaction of it"
/** Work on a file of this size, bytes, takes so long that a message comes first. */
const LARGE_SIZE = 256 * 1024 * 1024

export function recoverDatabase(
  name: string,
  dataDir: DataDir,
  log: Logger,
  { isSameBoot, past }: LastRun = UNKNOWN_RUN,
): HistoryState {
  refuseWrongKinds(dataDir, name)
  dataDir.createDatabase(name)
  removeLeftovers(dataDir.databaseDir(name)) // also of a damaged database
  if (finishTakeover(dataDir, name)) log.info("a snapshot has taken over", { db: name })
  const database = dataDir.file(name, "database")
  try {
    const checksumsPath = dataDir.checksumsPath(name)
    const saved = findSums(checksumsPath, database.path)
    let last = findLast({ name, dataDir, saved, log })
    const kept = isSameBoot && saved === undefined ? findKeptSums(dataDir, name) : undefined
    if (saved?.isCurrent === true) {
      renameFile("checksums:rename", checksumsPath, dataDir.sumsPath(name))
    } else {
      unlinkFile("checksums:unlink", checksumsPath)
    }
    const wal = dataDir.path(name, "wal")
    if (
      past !== undefined &&
      last !== undefined &&
      !isHot(dataDir.path(name, "journal"), database)
    ) {
      const ltx = new LtxDirectory(dataDir.ltxDir(name))
      const chain = chainOf(dataDir, name, last)
      const synced = readSynced(dataDir.syncedPath(name))
      const known = kept && advance(kept, last.file, ltx.list(), synced) ? kept : undefined
      if (captureTail({ name, wal, ltx, database, last, chain, known, past, log })) {
        last = findLast({ name, dataDir, saved: undefined, log })
      }
    }
    const state = recoverFile({ name, dataDir, database, last, saved, kept, log })
    const removed = leaveWal(wal, state.sums, systemClock.wallMs())
    if (removed !== undefined) log.warn(WAL_SET_ASIDE, { db: name, file: removed })
    for (const file of setAsideClientFiles(dataDir, name, systemClock.wallMs())) {
      log.warn(CLIENT_FILE_SET_ASIDE, { db: name, file })
    }
    unlinkFile("shm:unlink", dataDir.path(name, "shm"))
    unlinkFile("undo:unlink", dataDir.undoPath(name))
    keepSums(dataDir, name, state, state.isBelieved !== true)
    return state
  } finally {
    database.close()
  }
}

/**
 * Rolls the journal back when the log does not lead to its last checksum without that, or leads there either way. The
 * journal of a transaction that was held back until its commit (capture/overlay.ts) was never synced: a power cut may
 * have torn it, and SQLite's checksum of a record covers one byte in 200.
 */
function recoverFile(given: Recovery): HistoryState {
  const { name, dataDir, database, last, log } = given
  const path = dataDir.path(name, "journal")
  if (!isHot(path, database)) {
    unlinkFile("journal:unlink", path)
    return recoverContent(given)
  }
  try {
    if (last !== undefined) {
      const state = recoverContent(given)
      unlinkFile("journal:unlink", path)
      return state
    }
  } catch (error) {
    if (!(error instanceof LitefsError && error.code === "damaged")) throw error
    if (!undoLeadsThere(given)) throw error
  }
  if (last !== undefined) keepWrittenOutside(given, chainOf(dataDir, name, last), true)
  rollBack(savedBefore(given), database)
  log.info("rolled back", { db: name })
  return recoverContent({ ...given, kept: undefined })
}

function savedBefore({ name, dataDir, last }: Recovery): SavedIn {
  return savedIn(dataDir, name, last && posAfter(last.summary))
}

/** Whether rolling the journal back helps. Otherwise it would only change a file that should stay as it is. */
function undoLeadsThere(given: Recovery): boolean {
  const { name, dataDir, database, last } = given
  if (last === undefined || fileExists("wal:look", dataDir.path(name, "wal"))) return true
  const sums = sumsAfter(database, last.summary)
  setUndone(sums, savedBefore(given))
  if (isAt(sums, last.summary)) return true
  const newest = readNewest(name, chainOf(dataDir, name, last), last.summary, false)
  for (const [pgno, [hi, lo]] of newest) sums.set(pgno, hi, lo)
  return isAt(sums, last.summary)
}

function chainOf(dataDir: DataDir, name: string, last: LastFile): LtxFileInfo[] {
  const files = new LtxDirectory(dataDir.ltxDir(name)).list()
  return chainTo(last.file, files, readSynced(dataDir.syncedPath(name)))
}

function recoverContent(given: Recovery): HistoryState {
  const { name, dataDir, database, last, saved, log } = given
  if (last === undefined) return withoutLog(given)
  const { summary } = last
  if (summary.header.commit === 0) {
    removeDropped(given, summary)
    return stateAfter(summary, new PageChecksums())
  }
  if (saved?.isCurrent === true && posEquals(saved.pos, posAfter(summary))) {
    database.open() // throws when it cannot be
    return { ...stateAfter(summary, saved.sums), isBelieved: true }
  }
  const known = fromKeptSums(given, last)
  if (known !== undefined) return known
  database.create()
  const sums = sumsAfter(database, summary)
  const isSummed = isAt(sums, summary)
  const chain = chainOf(dataDir, name, last)
  const newest = readNewest(name, chain, summary, isSummed)
  const isWhole = isSummed && hasAll(sums, newest)
  for (const [pgno, [hi, lo]] of newest) sums.set(pgno, hi, lo)
  if (isAt(sums, summary)) {
    const { pageSize } = summary.header
    if (undoesUnnoticed(savedBefore(given), pageSize, sums, (pgno) => newest.has(pgno))) {
      throw damaged(name, sums, last)
    }
    if (isWhole) {
      cutToSize(database, summary)
      return stateAfter(summary, sums)
    }
    keepWrittenOutside(given, chain)
    const state = replay(given, last, chain)
    writeSynced(dataDir.syncedPath(name), state.pos.txid)
    return state
  }
  const walSums = takeFromWal(dataDir.path(name, "wal"), database, summary, newest)
  if (walSums === undefined) {
    const facts = { dataDir, name, chain, last: summary, saved }
    throw damaged(name, sums, last, isWrittenOutside(facts) ? WRITTEN_OUTSIDE : "")
  }
  log.info("copied pages from the WAL that are in no LTX file", { db: name })
  writeSynced(dataDir.syncedPath(name), summary.header.maxTxid)
  return stateAfter(summary, walSums)
}

/**
 * The state without a look at the pages that are in no LTX file: the kept sums lead to the checksum of the log, and
 * what is to be replayed is compared with the file, as is what a hot journal would put back. Undefined when that does not
 * fit together.
 */
function fromKeptSums(given: Recovery, last: LastFile): HistoryState | undefined {
  const { name, dataDir, database, kept, log } = given
  const { file, summary } = last
  const { commit, pageSize } = summary.header
  const files = new LtxDirectory(dataDir.ltxDir(name)).list()
  const synced = readSynced(dataDir.syncedPath(name))
  if (kept?.pageSize !== pageSize || !advance(kept, file, files, synced)) return undefined
  const { sums } = kept
  const chain = chainOf(dataDir, name, last)
  const newest = newestPages(kept)
  for (let pgno = Math.floor(database.size() / pageSize) + 1; pgno <= commit; pgno++) {
    if (pgno !== lockPgno(pageSize) && !newest.has(pgno)) return undefined
  }
  if (!hasPages(database, pageSize, undonePages(savedBefore(given), sums, newest))) {
    return undefined
  }
  if (!hasPages(database, pageSize, newest)) {
    writeChain(given, chain)
    if (!hasPages(database, pageSize, newest)) return undefined
    log.info("replayed transactions", { db: name, files: chain.length, pos: formatPos(kept.pos) })
  }
  cutToSize(database, summary)
  return { ...stateAfter(summary, sums), isBelieved: true }
}

/** The pages that a rollback would put back, as they should be now. */
function undonePages(
  saved: SavedIn,
  sums: PageChecksums,
  newest: ReadonlyMap<number, Sum>,
): Map<number, Sum> {
  const pages = new Map<number, Sum>()
  for (const { pgno } of savedPages(saved)) {
    if (pgno <= sums.pageCount && !newest.has(pgno)) pages.set(pgno, sums.sumOf(pgno))
  }
  return pages
}

function hasPages(
  database: BackedFile,
  pageSize: number,
  pages: ReadonlyMap<number, Sum>,
): boolean {
  const page = new Uint8Array(pageSize)
  for (const [pgno, [hi, lo]] of pages) {
    page.fill(0, database.readAt((pgno - 1) * pageSize, page))
    const [foundHi, foundLo] = pageSum(pgno, page)
    if (foundHi !== hi || foundLo !== lo) return false
  }
  return true
}

/**
 * For a database whose last transaction is its drop. The file in its place may be a new one that somebody has put
 * there.
 */
function removeDropped({ name, dataDir, database, log }: Recovery, summary: LtxSummary): void {
  const paths = { database: database.path, wal: dataDir.path(name, "wal") }
  if (isBlank(database) || isWhatWasDropped(paths, summary)) {
    unlinkFile("database:unlink", database.path)
    return
  }
  const kept = setAside(database.path, "changed", systemClock.wallMs())
  log.warn("set aside a database file that is not the one that was dropped, import it to use it", {
    ...{ db: name, file: kept },
  })
}

const WRITTEN_OUTSIDE =
  "; its file was written to while LiteFS was not running: copy it to keep what was written, and see litefs doctor"

/** Keeps somebody else's content that a replay would undo. */
function keepWrittenOutside(
  { name, dataDir, last, saved, log }: Recovery,
  chain: readonly LtxFileInfo[],
  undoes = false,
): void {
  const { summary } = last as LastFile
  if (!isWrittenOutside({ dataDir, name, chain, last: summary, saved, undoes })) return
  const kept = keepDatabaseFile(dataDir, name, systemClock.wallMs())
  log.warn(
    "the database file was written to while LiteFS was not running, kept a copy of it and restored it from the LTX files",
    { db: name, file: kept, pos: formatPos(posAfter(summary)) },
  )
}

/** The original's way: only the WAL has the newest pages. */
function takeFromWal(
  path: string,
  database: BackedFile,
  summary: LtxSummary,
  newest: ReadonlyMap<number, Sum>,
): PageChecksums | undefined {
  if (!fileExists("wal:open", path)) return undefined
  const { pageSize } = summary.header
  const isWanted = (sums: PageChecksums) => isAt(sums, summary) && hasAll(sums, newest)
  const wanted = { isWanted, pageSize }
  const sums = sumsAfter(database, summary)
  if (!copyFromWal(path, database, sums, wanted)) return undefined
  cutToSize(database, summary)
  return sums
}

interface Recovery extends Recovered {
  readonly database: BackedFile
  readonly last: LastFile | undefined
  /** What the last node has left, if it was killed. */
  readonly kept: KeptSums | undefined
}

/** A database without LTX files: a new one, or one that somebody has put there. */
function withoutLog({ name, dataDir, database, log }: Recovery): HistoryState {
  if (isBlank(database)) return emptyHistoryState()
  const header = readDatabaseHeader(database)
  if (header === undefined) {
    throw new LitefsError(
      "damaged",
      `Cannot open database "${name}": its file is not a SQLite database and it has no LTX files`,
    )
  }
  if (database.size() > LARGE_SIZE) {
    const size = formatSize(database.size())
    log.info("making the first transaction of a database without history", { db: name, size })
  }
  const wal = dataDir.path(name, "wal")
  const all = { pageSize: header.pageSize }
  if (copyFromWal(wal, database, new PageChecksums(), all)) unlinkFile("wal:unlink", wal)
  try {
    const copied = readDatabaseHeader(database) ?? header // page 1 may have come from the WAL
    const ltx = new LtxDirectory(dataDir.ltxDir(name))
    const state = makeFirstTransaction(database, copied, ltx, systemClock.wallMs())
    log.info("made the first transaction of a database without history", { db: name })
    return state
  } catch (error) {
    // The disk is full. A client's first write will hold every page.
    log.error(
      "cannot make the first transaction of a database, replicas get it after its next write",
      {
        db: name,
        error,
      },
    )
    return emptyHistoryState()
  }
}

function replay(given: Recovery, last: LastFile, chain: readonly LtxFileInfo[]): HistoryState {
  const { name, database, log } = given
  writeChain(given, chain)
  cutToSize(database, last.summary)
  database.sync()
  const sums = sumsAfter(database, last.summary)
  if (!isAt(sums, last.summary)) throw damaged(name, sums, last)
  const state = stateAfter(last.summary, sums)
  log.info("replayed transactions", { db: name, files: chain.length, pos: formatPos(state.pos) })
  return state
}

function writeChain({ name, database }: Recovery, chain: readonly LtxFileInfo[]): void {
  for (const file of chain) {
    let pageSize = 0
    readChainFile(name, file, {
      header: (header) => {
        pageSize = header.pageSize
      },
      page: (pgno, data) => database.writeBytes(data, (pgno - 1) * pageSize),
    })
  }
}

function hasAll(sums: PageChecksums, newest: ReadonlyMap<number, Sum>): boolean {
  return [...newest].every(([pgno, sum]) => sums.has(pgno, sum))
}

function damaged(
  name: string,
  sums: PageChecksums,
  { file, summary }: LastFile,
  hint = "",
): LitefsError {
  const expected = formatChecksum(summary.trailer.postApplyChecksum)
  return new LitefsError(
    "damaged",
    `Cannot open database "${name}": its pages sum to ${formatChecksum(sums.total)}, ${expected} expected at TXID ${formatTxid(file.maxTxid)}${hint}`,
  )
}

function isAt(sums: PageChecksums, { trailer }: LtxSummary): boolean {
  return sums.total === trailer.postApplyChecksum
}

/** The sums of the database file as far as the database goes. */
function sumsAfter(database: BackedFile, { header }: LtxSummary): PageChecksums {
  return sumsOfFile(database, header.pageSize, header.commit)
}

function cutToSize(database: BackedFile, { header }: LtxSummary): void {
  const size = header.commit * header.pageSize
  if (database.size() !== size) database.truncate(size)
}
