/**
 * Where the transactions of the commit log belong, beside the LTX files of a database.
 *
 *   LTX files   3 ─▶ 4 ─▶ (5)              whole files, and one that a power cut has torn or taken
 *   log              4'   5'  ─▶ 6' ─▶ 7'
 *
 * The files count: they may come from a backup or from another node, or others may have written since. A transaction of
 * the log is used where it follows on: its position before is where the files end, or, in a gap, its position after is
 * where the next file starts. Positions are compared, so 5' is used if 4' and 4 end alike. A transaction that is in a
 * file, or was in one that retention has removed, belongs to the past. All others are of another history, or what led
 * to them is gone: they are kept, and not used.
 *
 * Nothing is written here.
 */
import { decodedIfAny } from "../../lib/bytes.ts"
import { LitefsError } from "../../lib/errors.ts"
import { formatPos, type Pos, posEquals, type Txid } from "../../ltx/pos.ts"
import { readSpan } from "../../ltx/span.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { FileSource } from "../../store/ltx/file-source.ts"
import { LtxDirectory, type LtxFileInfo } from "../../store/ltx/ltx-directory.ts"
import { isWholeLtxFile } from "../../store/ltx/ltx-file.ts"
import { pastChecksum } from "../../store/past-positions.ts"
import { readSynced } from "../../store/synced.ts"
import { SysError } from "../../sys/errno.ts"
import { fileExists, readStart } from "../../sys/file.ts"
import { isDatabaseOf } from "./log-ownership.ts"
import { isTornCopy, type LogRecord, type Step, stepOf, stepOver } from "./log-record.ts"

export interface Placement {
  readonly database: string
  /** Transactions whose LTX files must be made. */
  readonly missing: readonly LogRecord[]
  /** Transactions to set aside, ascending. */
  readonly foreign: readonly LogRecord[]
  /** Where the whole LTX files end; undefined when there is none. */
  readonly end: Pos | undefined
  /** Why its LTX files could not be read: its transactions stay in the log until they can be placed. */
  readonly problem?: Error
}

export function placeRecords(dataDir: DataDir, records: readonly LogRecord[]): Placement[] {
  const byDatabase = Map.groupBy(records, ({ database }) => database)
  return [...byDatabase]
    .filter(([name]) => fileExists("ltx:look", dataDir.databaseDir(name))) // otherwise somebody removed it
    .map(([name, records]) => {
      try {
        return new Placing(dataDir, name, records).place()
      } catch (error) {
        // The other databases go on.
        if (!(error instanceof LitefsError || error instanceof SysError)) throw error
        return { database: name, missing: [], foreign: [], end: undefined, problem: error }
      }
    })
}

interface PlacedRecord extends Step {
  readonly record: LogRecord
}

class Placing {
  readonly #dataDir: DataDir
  readonly #database: string
  readonly #directory: LtxDirectory
  /** By TXID, ascending. */
  readonly #records: ReadonlyMap<Txid, PlacedRecord>
  readonly #files: readonly LtxFileInfo[]
  readonly #steps = new Map<string, Step | undefined>()
  readonly #missing = new Set<LogRecord>()
  /** Positions that the files lead to, or through. */
  readonly #reached = new Set<string>()

  constructor(dataDir: DataDir, database: string, records: readonly LogRecord[]) {
    this.#dataDir = dataDir
    this.#database = database
    this.#directory = new LtxDirectory(dataDir.ltxDir(database))
    this.#records = newestOfEach(records)
    const isThere = fileExists("ltx:look", this.#directory.path)
    this.#files = isThere ? this.#directory.list() : [] // somebody removed all of them
  }

  place(): Placement {
    const last = this.#files.findLast((file) => this.#stepOf(file) !== undefined)
    const end = last && this.#stepOf(last)
    if (end === undefined) this.#placeAlone()
    else {
      this.#goBack(end)
      this.#goOn(end.after)
    }
    this.#placeTorn()
    const placed = [...this.#records.values()]
    return {
      database: this.#database,
      missing: placed.map(({ record }) => record).filter((record) => this.#missing.has(record)),
      foreign: placed.filter((given) => !this.#isAccountedFor(given)).map(({ record }) => record),
      end: end?.after,
    }
  }

  /**
   * Goes on from the end of the files, with transactions that follow on. A gap of transactions that the database file
   * certainly has does not count: their files were removed, and older ones may be back after a power cut.
   */
  #goOn(from: Pos): void {
    const synced = readSynced(this.#dataDir.syncedPath(this.#database))
    for (let pos = from; ; ) {
      this.#reached.add(formatPos(pos))
      const { txid } = pos
      const next =
        this.#records.get(txid + 1n) ??
        [...this.#records.values()].find(
          ({ before }) => before.txid > txid && before.txid <= synced,
        )
      if (next === undefined || (next.before.txid === txid && !posEquals(next.before, pos))) return
      this.#missing.add(next.record)
      pos = next.after
    }
  }

  /** Goes from the last file back to those that it follows on, over gaps that the log fills. */
  #goBack(last: Step): void {
    const [lowest = 0n] = this.#records.keys()
    const synced = readSynced(this.#dataDir.syncedPath(this.#database))
    const byEnd = Map.groupBy(this.#files, ({ maxTxid }) => maxTxid)
    for (let pos = last.before; pos.txid >= lowest; ) {
      this.#reached.add(formatPos(pos))
      const files = (byEnd.get(pos.txid) ?? []).map((file) => this.#stepOf(file))
      const file = files.find((step) => step !== undefined && posEquals(step.after, pos))
      const logged = this.#records.get(pos.txid)
      const fits = logged !== undefined && posEquals(logged.after, pos)
      if (file === undefined && !fits) return
      // A transaction that the database file has may have been too old to keep.
      if (file === undefined && fits && pos.txid > synced) this.#missing.add(logged.record)
      pos = (file ?? (logged as PlacedRecord)).before
    }
  }

  /** Without a file only the database itself tells where the log belongs. */
  #placeAlone(): void {
    const run: PlacedRecord[] = []
    const [newest] = [...this.#records.values()].slice(-1)
    for (let next = newest; next !== undefined; ) {
      run.unshift(next)
      const before: PlacedRecord | undefined = this.#records.get(next.before.txid)
      next = before !== undefined && posEquals(before.after, next.before) ? before : undefined
    }
    const first = run[0]
    if (first === undefined) return
    const files = run.map(({ record }) => record.ltx)
    const isOurs =
      run.some((given) => this.#isTorn(given)) ||
      this.#isPast(first.before) ||
      isDatabaseOf(this.#dataDir, this.#database, files)
    if (isOurs) this.#goOn(first.before)
  }

  /** A torn file in the place of a transaction was of it, unless a whole file before or after it says otherwise. */
  #placeTorn(): void {
    for (const given of this.#records.values()) {
      if (this.#missing.has(given.record) || !this.#isTorn(given)) continue
      const isContradicted = this.#files.some((file) => {
        const step = this.#stepOf(file)
        if (step === undefined) return false
        const [isBefore, isAfter] = [
          step.after.txid === given.before.txid,
          step.before.txid === given.after.txid,
        ]
        return (
          (isBefore && !posEquals(step.after, given.before)) ||
          (isAfter && !posEquals(step.before, given.after))
        )
      })
      if (isContradicted) continue
      this.#missing.add(given.record)
      this.#goOn(given.after)
    }
  }

  #isAccountedFor({ record, after }: PlacedRecord): boolean {
    if (this.#missing.has(record) || this.#reached.has(formatPos(after))) return true
    const found = readToCompare(this.#placeOf(record), record)
    return (found !== undefined && isSame(found, record.ltx)) || this.#isPast(after)
  }

  #isPast({ txid, checksum }: Pos): boolean {
    return pastChecksum(this.#dataDir.pastPath(this.#database), txid) === checksum
  }

  #isTorn({ record }: PlacedRecord): boolean {
    const found = readToCompare(this.#placeOf(record), record)
    return found !== undefined && !isSame(found, record.ltx) && isTornCopy(found, record.ltx)
  }

  #placeOf({ txid }: LogRecord): string {
    return this.#directory.filePath(txid, txid)
  }

  #stepOf(file: LtxFileInfo): Step | undefined {
    if (!this.#steps.has(file.name)) this.#steps.set(file.name, this.#look(file))
    return this.#steps.get(file.name)
  }

  /**
   * Undefined for a file that is not whole, and for one that this node made before it made the transaction of the log:
   * that file was refused, and could not be removed (LtxFileWriter.discard). Files that the log does not know are read
   * to their end only when they are the last.
   */
  #look(file: LtxFileInfo): Step | undefined {
    const { path, minTxid, maxTxid } = file
    const logged = minTxid === maxTxid ? this.#records.get(maxTxid) : undefined
    if (logged !== undefined) {
      const found = readToCompare(path, logged.record)
      if (found !== undefined && isSame(found, logged.record.ltx)) return logged
    }
    const isLast = file === this.#files.at(-1)
    if ((logged !== undefined || isLast) && !isWholeLtxFile(path)) return undefined
    const step = readStep(path)
    if (step?.header.minTxid !== minTxid || step.header.maxTxid !== maxTxid) return undefined
    return logged !== undefined && isRefused(step, logged) ? undefined : step
  }
}

function isRefused(file: Step, logged: Step): boolean {
  return (
    file.header.nodeId !== 0n &&
    file.header.nodeId === logged.header.nodeId &&
    file.header.timestampMs <= logged.header.timestampMs &&
    posEquals(file.before, logged.before)
  )
}

/**
 * A refused transaction may have left its record (see CommitLog). The transaction that took its TXID came after it.
 * Without one, it is as if its client had not heard the answer.
 */
function newestOfEach(records: readonly LogRecord[]): ReadonlyMap<Txid, PlacedRecord> {
  const newest = new Map<Txid, LogRecord>()
  for (const record of records) newest.set(record.txid, record)
  const ascending = [...newest.values()].sort((a, b) => Number(a.txid - b.txid))
  return new Map(ascending.map((record) => [record.txid, { record, ...stepOf(record.ltx) }]))
}

/** Longer than the record by a byte when the file is longer by any. */
export function readToCompare(path: string, { ltx }: LogRecord): Uint8Array | undefined {
  return readStart("ltx:read", path, ltx.length + 1)
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

function readStep(path: string): Step | undefined {
  using file = FileSource.open(path)
  return file && decodedIfAny(() => stepOver(readSpan(file)))
}
