/**
 * After a crash: makes the LTX files of the transactions that are in the commit log and whose files a power cut
 * has torn or lost. The other way round, a file that is there and whole is left alone.
 */
import { Crc64 } from "../lib/crc64.ts"
import type { Logger } from "../lib/log.ts"
import { LTX_HEADER_SIZE } from "../ltx/header.ts"
import type { Txid } from "../ltx/pos.ts"
import {
  CommitLog,
  type CommitLogOptions,
  CRC_START,
  RECORD_HEADER_SIZE,
  RECORD_MAGIC,
  RUN_OFFSET,
  roundUp,
  SEGMENT_COUNT,
  SEGMENT_SIZE,
  segmentPath,
} from "../store/commit-log.ts"
import type { DataDir } from "../store/data-dir.ts"
import { LtxDirectory, LtxFileWriter } from "../store/ltx-directory.ts"
import { readSynced } from "../store/synced.ts"
import { fileExists, readWhole, syncFileSystem } from "../sys/file.ts"

export interface LogRecord {
  readonly sequence: bigint
  readonly run: number
  readonly database: string
  readonly txid: Txid
  readonly ltx: Uint8Array
}

/** Recovers what a crash has left in the commit log, and opens it for new transactions. */
export function openCommitLog(
  dataDir: DataDir,
  log: Logger,
  options: Omit<CommitLogOptions, "root" | "nextSequence">,
): CommitLog {
  const records = readCommitLog(dataDir.root)
  const missing = missingTransactions(dataDir, records)
  storeTransactions(dataDir, missing)
  if (missing.length > 0) log.info("made LTX files from the commit log", { files: missing.length })
  // LTX files that were there may not be durable yet, and their records are written over from now on.
  if (records.length > 0) syncFileSystem("log:syncfs", dataDir.root)
  const nextSequence = (records.at(-1)?.sequence ?? 0n) + 1n
  return new CommitLog({ root: dataDir.root, nextSequence, ...options })
}

/** Transactions that are in the log and whose LTX files are missing or torn. */
export function missingTransactions(
  dataDir: DataDir,
  records: readonly LogRecord[] = readCommitLog(dataDir.root),
): LogRecord[] {
  return newestOfEach(records).filter((record) => isMissing(dataDir, record))
}

/**
 * A transaction that was refused may have left its record (see CommitLog). The one that took its TXID came after it;
 * when there is none, it is as if its client had not heard the answer.
 */
function newestOfEach(records: readonly LogRecord[]): LogRecord[] {
  const newest = new Map<string, LogRecord>()
  for (const record of records) newest.set(`${record.txid} ${record.database}`, record)
  return [...newest.values()]
}

function isMissing(dataDir: DataDir, { database, txid, ltx }: LogRecord): boolean {
  if (!fileExists("ltx:look", dataDir.ltxDir(database))) return false // somebody removed the database
  const directory = new LtxDirectory(dataDir.ltxDir(database))
  const found = readWhole("ltx:read", directory.filePath(txid, txid))
  if (found !== undefined) return Buffer.compare(found, ltx) !== 0
  if (txid > readSynced(dataDir.syncedPath(database))) return true
  // It was too old to keep; or it is the last one, which tells the position, and a power cut took it.
  return !directory.list().some((file) => file.maxTxid >= txid)
}

/** Makes their LTX files, durably. */
export function storeTransactions(dataDir: DataDir, records: readonly LogRecord[]): void {
  for (const { database, txid, ltx } of records) {
    const file = new LtxFileWriter(new LtxDirectory(dataDir.ltxDir(database)).filePath(txid, txid))
    file.append(ltx)
    file.commit()
  }
}

/** The records of both segments, oldest first. */
export function readCommitLog(root: string): LogRecord[] {
  const segments: LogRecord[][] = []
  for (let index = 0; index < SEGMENT_COUNT; index++) {
    const bytes = readWhole("log:read", segmentPath(root, index))
    if (bytes !== undefined) segments.push(readSegment(bytes))
  }
  return segments
    .filter((records) => records.length > 0)
    .sort((a, b) => Number((a[0] as LogRecord).sequence - (b[0] as LogRecord).sequence))
    .flat()
}

/** The records from the start of a segment as far as they follow on each other, in one run of a node. */
export function readSegment(bytes: Uint8Array): LogRecord[] {
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
    if (leadsElsewhere(database)) break // no node of ours has written it
    records.push({
      sequence,
      run,
      database,
      txid: view.getBigUint64(offset + 24, true),
      ltx: bytes.subarray(offset + start, offset + size),
    })
    offset += roundUp(size)
  }
  return records
}

/** Whether it cannot be the name of a directory of ours. */
function leadsElsewhere(name: string): boolean {
  return name === "" || name === "." || name === ".." || /[/\0]/.test(name)
}
