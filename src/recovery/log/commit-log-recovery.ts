/**
 * After a crash: makes the LTX files of the transactions that are in the commit log and whose files a power cut has
 * torn or lost. An existing whole file stays, even one of another history: the log's transaction is then set aside
 * (log-placement.ts).
 */
import { join } from "node:path"
import { decodedIfAny } from "../../lib/bytes.ts"
import { systemClock } from "../../lib/clock.ts"
import { Crc64 } from "../../lib/codecs/crc64.ts"
import { LitefsError } from "../../lib/errors.ts"
import type { Logger } from "../../lib/log.ts"
import { LTX_HEADER_SIZE } from "../../ltx/header.ts"
import { formatPos } from "../../ltx/pos.ts"
import type { DataDir } from "../../store/data-dir.ts"
import {
  CommitLog,
  type CommitLogOptions,
  CRC_START,
  RECORD_HEADER_SIZE,
  RECORD_MAGIC,
  RUN_OFFSET,
  roundUp,
  type UnplacedTransactions,
} from "../../store/log/commit-log.ts"
import { SEGMENT_COUNT, SEGMENT_SIZE, segmentPath } from "../../store/log/log-segment.ts"
import { FileSource } from "../../store/ltx/file-source.ts"
import { LtxDirectory, LtxFileWriter, setAside } from "../../store/ltx/ltx-directory.ts"
import { listDirectory, makeDirectory, syncDirectory } from "../../sys/directory.ts"
import { SysError } from "../../sys/errno.ts"
import { fileExists, readStart, syncFileSystem } from "../../sys/file.ts"
import { type Placement, placeRecords, readToCompare } from "./log-placement.ts"
import { isTornCopy, type LogRecord, stepOf } from "./log-record.ts"

/**
 * Recovers what a crash has left in the commit log, and opens it for new transactions. What cannot be placed stays in
 * the log: its database is named by problems() of the log, and the others go on.
 */
export function openCommitLog(
  dataDir: DataDir,
  log: Logger,
  options: Omit<CommitLogOptions, "root" | "nextSequence" | "unplaced">,
): CommitLog {
  const records = readCommitLog(dataDir.root)
  const unplaced: UnplacedTransactions[] = []
  let files = 0
  for (const [database, given] of Map.groupBy(records, ({ database }) => database)) {
    try {
      files += place(dataDir, given, log)
    } catch (error) {
      if (!(error instanceof LitefsError || error instanceof SysError)) throw error
      const segments = [...new Set(given.map(({ segment }) => segment))]
      const own = given.map((record) => ({ ...record, ltx: record.ltx.slice() })) // and not the whole log
      unplaced.push({
        ...{ database, segments, problem: error },
        place: () => void place(dataDir, own, log),
      })
    }
  }
  if (files > 0) log.info("made LTX files from the commit log", { files })
  // Existing LTX files may not be durable yet, and their records are overwritten from now on.
  if (records.length > 0) syncFileSystem("log:syncfs", dataDir.root)
  const nextSequence = (records.at(-1)?.sequence ?? 0n) + 1n
  const onUnmade = (database: string, problem: Error | undefined) => {
    sayUnmade(log, database, problem)
    options.onUnmade?.(database, problem)
  }
  return new CommitLog({ root: dataDir.root, nextSequence, ...options, unplaced, onUnmade })
}

/** Makes the LTX files of one database, and sets aside what does not follow on. Returns how many it has made. */
function place(dataDir: DataDir, records: readonly LogRecord[], log: Logger): number {
  let count = 0
  for (const placement of placementsOf(dataDir, records)) {
    if (placement.problem !== undefined) throw placement.problem
    setAsideForeign(dataDir, placement, log)
    storeTransactions(dataDir, placement.missing, log)
    count += placement.missing.length
  }
  return count
}

function sayUnmade(log: Logger, db: string, problem: Error | undefined): void {
  if (problem === undefined)
    return log.info("the LTX files of a database can be made again", { db })
  const what = "its transactions are in the commit log, and it takes no more until then"
  log.error(`cannot make an LTX file, ${what}`, { db, problem: problem.message })
}

/** The placements of all databases in the log, without transactions that were set aside before. */
export function placementsOf(
  dataDir: DataDir,
  records: readonly LogRecord[] = readCommitLog(dataDir.root),
): Placement[] {
  const good = records.filter(({ ltx }) => isLtx(ltx))
  return placeRecords(dataDir, good).map((placement) => {
    if (placement.foreign.length === 0) return placement
    const kept = keptDirectories(dataDir, placement.database)
    const foreign = placement.foreign.filter((record) => !kept.some((path) => isIn(path, record)))
    return { ...placement, foreign }
  })
}

/** Makes their LTX files, durably. */
export function storeTransactions(
  dataDir: DataDir,
  records: readonly LogRecord[],
  log?: Logger,
): void {
  for (const record of records) {
    const { database, txid, ltx } = record
    if (!fileExists("ltx:look", dataDir.ltxDir(database))) dataDir.createDatabase(database)
    const path = new LtxDirectory(dataDir.ltxDir(database)).filePath(txid, txid)
    const found = readToCompare(path, record)
    if (found !== undefined && !isTornCopy(found, ltx)) {
      const file = setAside(path, "damaged", systemClock.wallMs())
      log?.warn("set aside a damaged LTX file, the commit log has its transaction", {
        ...{ db: database, file },
      })
    }
    const file = new LtxFileWriter(path)
    file.append(ltx)
    file.commit()
  }
}

const KEPT = "commit-log.removed-"
const KEPT_NAME = /^commit-log\.removed-\d+$/

/** Whether setAsideForeign() has made this file beside a database. */
export function isKeptLog(name: string): boolean {
  return KEPT_NAME.test(name)
}

/**
 * Writes transactions that do not follow on to a directory beside the database, as LTX files: `litefs ltx` reads them
 * there. One warning names both histories. The log's records are overwritten from now on.
 */
export function setAsideForeign(dataDir: DataDir, placement: Placement, log?: Logger): void {
  const { database, foreign } = placement
  if (foreign.length === 0) return
  const directory = join(dataDir.databaseDir(database), `${KEPT}${systemClock.wallMs()}`)
  makeDirectory("log:mkdir", directory)
  for (const record of foreign) {
    const file = new LtxFileWriter(pathIn(directory, record))
    file.append(record.ltx)
    file.finish()
  }
  syncFileSystem("log:syncfs", directory)
  syncDirectory("log:sync-dir", dataDir.databaseDir(database))
  log?.warn("set aside transactions of the commit log, they do not follow on the LTX files", {
    ...{ db: database, transactions: foreign.length },
    ...{ log: logRange(placement), ltx: ltxEnd(placement), kept: directory },
  })
}

/** Where the transactions that do not follow on start and end. */
export function logRange({ foreign }: Placement): string {
  const [first, last] = [foreign[0], foreign.at(-1)] as [LogRecord, LogRecord]
  return `${formatPos(stepOf(first.ltx).before)} to ${formatPos(stepOf(last.ltx).after)}`
}

export function ltxEnd({ end }: Placement): string {
  return end === undefined ? "none" : formatPos(end)
}

function keptDirectories(dataDir: DataDir, database: string): string[] {
  const directory = dataDir.databaseDir(database)
  return listDirectory("log:list", directory)
    .filter(({ name }) => isKeptLog(name))
    .map(({ name }) => join(directory, name))
}

function isIn(directory: string, record: LogRecord): boolean {
  const found = readToCompare(pathIn(directory, record), record)
  return found !== undefined && Buffer.compare(found, record.ltx) === 0
}

function pathIn(directory: string, { txid }: LogRecord): string {
  return new LtxDirectory(directory).filePath(txid, txid)
}

/** The records of both segments, oldest first. */
export function readCommitLog(root: string): LogRecord[] {
  const segments: LogRecord[][] = []
  for (let index = 0; index < SEGMENT_COUNT; index++) {
    const path = segmentPath(root, index)
    // A node reads its log at each change of its role, when it is empty: reading all of it would waste much memory.
    const bytes = hasRecord(path) ? readStart("log:read", path, SEGMENT_SIZE) : undefined
    if (bytes !== undefined) segments.push(readSegment(bytes, index))
  }
  return segments
    .filter((records) => records.length > 0)
    .sort((a, b) => Number((a[0] as LogRecord).sequence - (b[0] as LogRecord).sequence))
    .flat()
}

function hasRecord(path: string): boolean {
  using file = FileSource.open(path)
  const magic = new Uint8Array(4)
  if (file === undefined || file.readAt(0, magic) < magic.length) return false
  return new DataView(magic.buffer).getUint32(0, true) === RECORD_MAGIC
}

/** The records from the start of a segment, as far as they follow on each other, from one run of a node. */
export function readSegment(bytes: Uint8Array, segment = 0): LogRecord[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const records: LogRecord[] = []
  for (let offset = 0; offset + RECORD_HEADER_SIZE <= Math.min(bytes.length, SEGMENT_SIZE); ) {
    if (view.getUint32(offset, true) !== RECORD_MAGIC) break
    const size = view.getUint32(offset + 4, true)
    const nameSize = view.getUint32(offset + 32, true)
    const start = RECORD_HEADER_SIZE + roundUp(nameSize)
    if (start + LTX_HEADER_SIZE > size || offset + size > bytes.length) break
    const crc = new Crc64().update(bytes, offset + CRC_START, offset + size).digest()
    if (crc !== view.getBigUint64(offset + 16, true)) break
    const sequence = view.getBigUint64(offset + 8, true)
    const before = records.at(-1)
    const run = view.getUint32(offset + RUN_OFFSET, true)
    if (before !== undefined && (sequence !== before.sequence + 1n || run !== before.run)) break
    const name = bytes.subarray(offset + RECORD_HEADER_SIZE, offset + RECORD_HEADER_SIZE + nameSize)
    const database = new TextDecoder().decode(name)
    const ltx = bytes.subarray(offset + start, offset + size)
    if (leadsElsewhere(database)) break // no node of ours has written it
    records.push({
      sequence,
      run,
      segment,
      database,
      txid: view.getBigUint64(offset + 24, true),
      ltx,
    })
    offset += roundUp(size)
  }
  return records
}

/** Whether it cannot be the name of a directory of ours. */
function leadsElsewhere(name: string): boolean {
  return name === "" || name === "." || name === ".." || /[/\0]/.test(name)
}

/** By its header and its trailer; the checksum of the record covers the rest. No node has written others. */
function isLtx(bytes: Uint8Array): boolean {
  return decodedIfAny(() => stepOf(bytes)) !== undefined
}
