/**
 * The commit log: where a transaction becomes durable.
 *
 * Replicas, people and the original want an LTX file per transaction, but making a file durable costs several times a
 * write to space that is already there (measured here: 1100 µs for a new file of 400 bytes with fsync, 85 µs for the
 * same bytes into a preallocated file with fdatasync). A commit is therefore one write to this log, which is
 * acknowledged, and its LTX file follows at once without a sync of its own.
 *
 *   begin() ─▶ append()… ─▶ commit(): durable, the client is answered ─▶ makeFiles(): the LTX file is there
 *
 * A transaction that another node has durably may be shown before it is durable here: commit(true) only writes its
 * record. sync(), materialize() and makeFiles() make it durable. Nothing else is written to the log meanwhile, so a
 * power cut takes the last transaction at most.
 *
 * A file that cannot be made (its directory is gone, or may not be written) concerns its database alone. Each database
 * has at most one transaction without a file, or those that a recovery could not place:
 *
 *   none ── commit() ──▶ last: its bytes are in a record buffer ── its file is made ──▶ none
 *                         └─ cannot be made ─▶ missing: its bytes are a copy ── made, at a retry ──▶ none
 *   none ── not placed by the recovery ────────▶ missing
 *
 * A database with a missing file takes no transaction. Its next commit tries to make the file, and is refused if that
 * fails. Others go on. The copies are together no larger than the segments, because their records are in these.
 *
 * Two segments, `<data>/commit-log.0` and `.1`, take turns:
 *
 *   current ── full ──▶ full ── no file of its records is missing: onFull() ──▶ released ── synced: isFree() ──▶ free
 *                        └── otherwise ──▶ held ── the last one is made: onFull() ──▶ released
 *
 * A released segment is free when everything on its file system has been synced, because its LTX files are then durable
 * by themselves. Beside a held segment the other one takes its own turn. While no segment is free, each LTX file is made
 * durable by itself. A segment with the record of a missing file is neither overwritten nor emptied, also by clear(): a
 * recovery finds the record, after a stop and after a power cut, and whoever opens the log next (with the next role of
 * the node) holds it as this one did. What else is in a segment that clear() has to leave is of the past, and a recovery
 * tells by its positions. Another thread prepares a missing segment (log-segment.ts).
 *
 * A record, at any multiple of 8 bytes from the start of a segment, without a gap to the next:
 *
 *      0  u32 magic "LFCL"
 *      4  u32 size              of the record, these bytes included, before padding
 *      8  u64 sequence          goes up by one with every record of a node, over both segments
 *     16  u64 CRC-64            of the bytes from 24 to the end
 *     24  u64 TXID
 *     32  u32 size of the name
 *     36  u32 run               a random number that all records of one run of a node have
 *     40  name of the database, UTF-8, padded to 8 bytes, and the LTX file
 *
 * A record that failed to become durable is erased, durably, before anything else becomes durable. Otherwise the next
 * transaction, which gets its TXID and may bypass the log, would lose its place to the record in a recovery. Until the
 * erasure succeeds the log takes nothing. If the node ends before, a recovery may find the record: it is then the last
 * transaction of its database, whole, its client was told of an I/O error, and no transaction follows it.
 *
 * The same goes for a record that was written to be synced later, and could not be: it leaves the log, and its
 * transaction is in memory alone until its LTX file is made, durably. Its database takes nothing meanwhile, and clear()
 * refuses, because whoever opens the log next would not find it.
 *
 * Numbers are little endian. Sequence, run and CRC tell a record from older bytes behind it. A transaction that exceeds
 * the size of a record goes to its LTX file directly, with a sync.
 */

import { assert } from "../../lib/assert.ts"
import { Crc64 } from "../../lib/codecs/crc64.ts"
import { asError, LitefsError } from "../../lib/errors.ts"
import { randomBytes } from "../../lib/random-bytes.ts"
import type { Txid } from "../../ltx/pos.ts"
import { isNoSpace } from "../../sys/errno.ts"
import {
  closeFile,
  discardFile,
  type Fd,
  syncData,
  syncFileSystem,
  writeAt,
} from "../../sys/file.ts"
import { allocate, type Region } from "../../sys/memory.ts"
import { LtxFileWriter } from "../ltx/ltx-directory.ts"
import type { SpareFiles } from "../spare-files.ts"
import { openSegment, SEGMENT_COUNT, SEGMENT_SIZE } from "./log-segment.ts"

export const RECORD_MAGIC = 0x4c43464c // "LFCL"
export const RECORD_HEADER_SIZE = 40
export const CRC_START = 24
export const RUN_OFFSET = 36
const CRC_OFFSET = 16

/** Larger transactions bypass the log. */
const RECORD_SIZE_MAX = 1024 * 1024

/** Writes one transaction. */
export interface TransactionWriter {
  readonly append: (bytes: Uint8Array) => void
  /** Durable when this returns, or with `isLater` when the log's sync() has: a log may make it durable at once. */
  commit(isLater?: boolean): void
  /** Leaves nothing of it. Does not throw. */
  discard(): void
}

/** Takes transactions. */
export interface TransactionLog {
  /**
   * When this returns, others can read the LTX file of the database's last transaction, and nothing is left of a refused
   * one. Call it before a transaction of the database is made durable without the log.
   */
  materialize(database: string): void
  /** Makes the last transaction of the database durable. Call it before the database file has anything of it. */
  sync(database: string): void
  /** Recovery needs nothing of the past any more; see CommitLog.clear(). */
  clear(): void
  /** `path` is where the LTX file belongs. One transaction at a time. */
  begin(database: string, txid: Txid, path: string): TransactionWriter
}

/** Transactions of one database in the log that a recovery could not place among its LTX files. */
export interface UnplacedTransactions {
  readonly database: string
  readonly segments: readonly number[] // that have the records
  readonly problem: Error
  /** Makes their LTX files, durably. */
  place(): void
}

export interface CommitLogOptions {
  readonly root: string // the data directory
  /** Follows on the highest that recovery found. */
  readonly nextSequence: bigint
  /** What recovery could not place. */
  readonly unplaced?: readonly UnplacedTransactions[]
  /** Whether a segment exists and its LTX files are durable, so that it may be overwritten. */
  readonly isFree: (segment: number) => boolean
  /** A segment is full, and takes no more records until isFree() allows it. */
  readonly onFull: (segment: number) => void
  /** A segment is missing and must be prepared. Without this function the log prepares it by itself. */
  readonly onMissing?: (segment: number) => void
  /** The LTX file of a database cannot be made, for another reason than before; undefined: it is made. */
  readonly onUnmade?: (database: string, problem: Error | undefined) => void
  /** The files that become LTX files, if there are any. */
  readonly spares?: SpareFiles
  /**
   * Whether a transaction may still be answered, once it is durable. Otherwise it is refused as if the sync had failed:
   * the sync may have taken longer than the lease.
   */
  readonly mayCommit?: () => boolean
}

/** Two: the next transaction begins while the LTX file of the last one is to be made. */
const records = [allocate(RECORD_SIZE_MAX + 4096), allocate(RECORD_SIZE_MAX + 4096)] as const
const crc = new Crc64()
const emptyHeader = allocate(RECORD_HEADER_SIZE)

/** What is not in LTX files of a database. */
interface Pending {
  readonly database: string
  /** The record buffer that holds `ltx`; undefined: it is a copy. */
  record: Region | undefined
  ltx: Uint8Array // empty when make() reads the log
  segments: readonly number[] // that have the records; none: it is here alone
  /** Where its record is in the current segment, until that is synced. */
  unsynced: number | undefined
  problem: Error | undefined // of the last attempt
  make(spares: SpareFiles | undefined): void
}
const encoder = new TextEncoder()

export class CommitLog implements TransactionLog {
  readonly #options: CommitLogOptions
  readonly #segments: (Fd | undefined)[] = []
  #segment = 0
  #offset = 0
  #isReleased = false // the current segment was given to onFull(): it takes nothing until it is free
  /** Full segments with the record of a missing file. */
  readonly #held = new Set<number>()
  readonly #run = randomBytes(4).readUInt32LE()
  #sequence: bigint
  /** By database. */
  readonly #pending = new Map<string, Pending>()
  /** The one whose bytes are in a record buffer. */
  #last: Pending | undefined
  #isRefusedThere = false // the end of the log may hold the record of a refused transaction

  constructor(options: CommitLogOptions) {
    const { root, onMissing, onUnmade, unplaced = [] } = options
    this.#options = options
    this.#sequence = options.nextSequence
    try {
      for (let index = 0; index < SEGMENT_COUNT; index++) {
        this.#segments.push(openSegment(root, index, onMissing === undefined))
      }
    } catch (error) {
      this.close()
      throw error
    }
    for (const { database, segments, problem, place } of unplaced) {
      const ltx = new Uint8Array(0)
      const nowhere = { record: undefined, unsynced: undefined }
      this.#pending.set(database, { ...nowhere, database, ltx, segments, problem, make: place })
    }
    this.#startOver()
    for (const [index, fd] of this.#segments.entries()) {
      if (fd === undefined) onMissing?.(index)
    }
    for (const { database, problem } of unplaced) onUnmade?.(database, problem)
  }

  begin(database: string, txid: Txid, path: string): TransactionWriter {
    const record = this.#last?.record === records[0] ? records[1] : records[0]
    const nameSize = encoder.encodeInto(database, record.bytes.subarray(RECORD_HEADER_SIZE)).written
    const start = RECORD_HEADER_SIZE + roundUp(nameSize)
    record.bytes.fill(0, RECORD_HEADER_SIZE + nameSize, start)
    let size = start
    let large: LtxFileWriter | undefined

    const append = (bytes: Uint8Array) => {
      if (large === undefined && size + bytes.length > RECORD_SIZE_MAX) {
        large = new LtxFileWriter(path)
        large.append(record.bytes.subarray(start, size))
      }
      if (large !== undefined) return large.append(bytes)
      record.bytes.set(bytes, size)
      size += bytes.length
    }
    const commit = (isLater = false) => {
      // Not earlier: a rollback writes nothing, and must not fail for want of space.
      this.materialize(database)
      if (large === undefined && this.#hasRoom(size)) {
        const unsynced = isLater ? this.#offset : undefined
        this.#write(record, txid, nameSize, size, isLater)
        this.#setLast(database, path, record, record.bytes.subarray(start, size), unsynced)
        return
      }
      if (large === undefined) {
        large = new LtxFileWriter(path)
        large.append(record.bytes.subarray(start, size))
      }
      large.commit()
      try {
        this.#checkMayCommit()
      } catch (error) {
        discardFile("ltx:discard", path)
        throw error
      }
    }
    return { append, commit, discard: () => large?.discard() }
  }

  /** The bytes of the last LTX file until the file is made: valid until the next transaction but one begins. */
  get pendingFile(): Uint8Array | undefined {
    return this.#last?.ltx
  }

  get hasPending(): boolean {
    return this.#pending.size > 0
  }

  /** Whether an LTX file of the database is still to be made. */
  isPending(database: string): boolean {
    return this.#pending.has(database)
  }

  /** Why LTX files cannot be made, by database. */
  problems(): Map<string, Error> {
    const problems = new Map<string, Error>()
    for (const { database, problem } of this.#pending.values()) {
      if (problem !== undefined) problems.set(database, problem)
    }
    return problems
  }

  /** The same for people. */
  problemTexts(): [database: string, problem: string][] {
    return [...this.problems()].map(([database, { message }]) => [
      database,
      `it takes no transaction until the LTX file of the last one can be made: ${message}`,
    ])
  }

  /** Throws when the LTX file of the database cannot be made. Its transaction is safe in the log. */
  materialize(database: string): void {
    const last = this.#last
    this.makeFiles(false)
    const pending = this.#pending.get(database)
    if (pending === undefined || (pending !== last && this.#make(pending))) return
    const { problem } = pending
    if (isNoSpace(problem)) throw problem
    const what = "the LTX file of its last transaction cannot be made"
    throw new LitefsError(
      "io",
      `Cannot add a transaction to database "${database}": ${what}: ${problem?.message}`,
      { cause: problem },
    )
  }

  sync(database: string): void {
    const pending = this.#pending.get(database)
    if (pending === undefined) return
    this.#syncRecord(pending)
    if (pending.segments.length === 0) this.materialize(database)
  }

  /**
   * Makes the LTX file of the last transaction, after its client was answered, and also tries to make missing ones when
   * `isRetry`. Throws only when the record of a refused transaction cannot be erased.
   */
  makeFiles(isRetry: boolean): void {
    if (this.#isRefusedThere) this.#eraseRefused()
    const last = this.#last
    if (last !== undefined) this.#make(last)
    if (isRetry) this.#makeMissing(last)
  }

  /**
   * Makes every LTX file durable by itself and leaves nothing in the log: at a clean stop, and before a history is
   * replaced by another, whose TXIDs may be the same. A segment with the record of a missing file stays as it is.
   * Throws when a transaction is neither in the log nor in a file.
   */
  clear(): void {
    this.makeFiles(true)
    for (const database of [...this.#pending.keys()]) this.sync(database)
    syncFileSystem("log:syncfs", this.#options.root)
    for (const [index, fd] of this.#segments.entries()) {
      if (fd === undefined) continue // others prepare it, and it starts empty
      if (this.#isNeeded(index)) continue
      writeAt("log:clear", fd, emptyHeader.address, RECORD_HEADER_SIZE, 0)
      syncData("log:clear-fsync", fd)
    }
    this.#startOver()
  }

  close(): void {
    for (const fd of this.#segments) if (fd !== undefined) closeFile(fd)
  }

  #setLast(
    database: string,
    path: string,
    record: Region,
    ltx: Uint8Array,
    unsynced: number | undefined,
  ): void {
    const last: Pending = {
      ...{ database, record, ltx, segments: [this.#segment], unsynced, problem: undefined },
      make: (spares) => makeFile(path, last.ltx, spares, last.segments.length === 0),
    }
    this.#pending.set(database, last)
    this.#last = last
  }

  /** True when its file is there now. */
  #make(pending: Pending): boolean {
    const { database } = pending
    const problem = this.#attempt(pending)
    if (pending === this.#last) {
      this.#last = undefined
      if (problem !== undefined) keepBytes(pending)
    }
    const before = pending.problem
    pending.problem = problem
    if (problem === undefined) {
      this.#pending.delete(database)
      for (const segment of pending.segments) this.#releaseHeld(segment)
    }
    if (problem?.message !== before?.message) this.#options.onUnmade?.(database, problem)
    return problem === undefined
  }

  #attempt(pending: Pending): Error | undefined {
    const { spares } = this.#options
    try {
      this.#syncRecord(pending)
      try {
        pending.make(spares)
      } catch (error) {
        if (spares === undefined) throw error
        spares.failed(error)
        pending.make(undefined)
      }
      return undefined
    } catch (error) {
      return asError(error)
    }
  }

  #makeMissing(tried?: Pending): void {
    for (const pending of [...this.#pending.values()]) if (pending !== tried) this.#make(pending)
  }

  /** Whether a segment has the record of a file that is not there. */
  #isNeeded(segment: number): boolean {
    for (const { segments } of this.#pending.values()) if (segments.includes(segment)) return true
    return false
  }

  #isFree(segment: number): boolean {
    return !this.#held.has(segment) && this.#options.isFree(segment)
  }

  /** The segment takes no more records. */
  #release(segment: number): void {
    if (this.#isNeeded(segment)) this.#makeMissing()
    if (this.#isNeeded(segment)) this.#held.add(segment)
    else this.#options.onFull(segment)
  }

  #releaseHeld(segment: number): void {
    if (!this.#held.has(segment) || this.#isNeeded(segment)) return
    this.#held.delete(segment)
    this.#options.onFull(segment)
  }

  /** Begins a segment that has nothing that is needed; without one the log takes nothing until one is released. */
  #startOver(): void {
    this.#held.clear()
    for (let index = 0; index < SEGMENT_COUNT; index++) {
      if (this.#isNeeded(index)) this.#held.add(index)
    }
    if (this.#held.has(this.#segment)) this.#segment = this.#next
    this.#offset = 0
    this.#isReleased = this.#held.has(this.#segment)
  }

  get #next(): number {
    return (this.#segment + 1) % SEGMENT_COUNT
  }

  /** Whether a record fits, in this segment or, when this one is full, in the other. */
  #hasRoom(size: number): boolean {
    const isThere = this.#isThere(this.#segment)
    if (isThere && !this.#isReleased && this.#offset + size <= SEGMENT_SIZE) return true
    const next = this.#next
    const isOtherHeld = this.#held.has(next)
    const hasOther = this.#isFree(next) && this.#isThere(next)
    if (!hasOther && !isOtherHeld && !this.#isReleased) return false
    if (isThere && !this.#isReleased) this.#release(this.#segment)
    this.#isReleased = true
    if (hasOther) this.#segment = next
    else if (!isThere || !this.#isFree(this.#segment)) return false
    this.#offset = 0
    this.#isReleased = false
    return true
  }

  /** Opens a segment that has been prepared since. */
  #isThere(segment: number): boolean {
    const { root, onMissing } = this.#options
    if (this.#segments[segment] !== undefined) return true
    if (!this.#isFree(segment)) return false
    this.#segments[segment] = openSegment(root, segment, false)
    if (this.#segments[segment] === undefined) onMissing?.(segment)
    return this.#segments[segment] !== undefined
  }

  /** Only the last record can be unsynced. When this throws, it has left the log. */
  #syncRecord(pending: Pending): void {
    const { unsynced } = pending
    if (unsynced === undefined) return
    pending.unsynced = undefined
    try {
      syncData("log:fsync", this.#segments[this.#segment] as Fd)
    } catch (error) {
      pending.segments = []
      this.#offset = unsynced
      this.#sequence -= 1n
      this.#refuseLast()
      throw error
    }
  }

  /** The record at the end of the log must not count. */
  #refuseLast(): void {
    this.#isRefusedThere = true
    try {
      this.#eraseRefused()
    } catch {
      // The disk takes neither. A later call tries again.
    }
  }

  #write(record: Region, txid: Txid, nameSize: number, size: number, isLater: boolean): void {
    const view = new DataView(record.bytes.buffer, record.bytes.byteOffset, RECORD_HEADER_SIZE)
    view.setUint32(0, RECORD_MAGIC, true)
    view.setUint32(4, size, true)
    view.setBigUint64(8, this.#sequence, true)
    view.setBigUint64(24, txid, true)
    view.setUint32(32, nameSize, true)
    view.setUint32(RUN_OFFSET, this.#run, true)
    view.setBigUint64(CRC_OFFSET, crc.reset().update(record.bytes, CRC_START, size).digest(), true)
    const fd = this.#segments[this.#segment] as Fd
    try {
      writeAt("log:write", fd, record.address, size, this.#offset)
      if (!isLater) syncData("log:fsync", fd)
      this.#checkMayCommit()
    } catch (error) {
      this.#refuseLast()
      throw error
    }
    this.#offset += roundUp(size)
    this.#sequence += 1n
  }

  #checkMayCommit(): void {
    if (this.#options.mayCommit?.() !== false) return
    throw new LitefsError("no-primary", "Cannot commit: the lease has run out meanwhile")
  }

  #eraseRefused(): void {
    const fd = this.#segments[this.#segment] as Fd
    writeAt("log:erase", fd, emptyHeader.address, RECORD_HEADER_SIZE, this.#offset)
    syncData("log:erase-fsync", fd)
    this.#isRefusedThere = false
  }
}

function makeFile(
  path: string,
  ltx: Uint8Array,
  spares: SpareFiles | undefined,
  isDurable: boolean,
): void {
  const file = new LtxFileWriter(path, spares)
  try {
    file.append(ltx)
    if (isDurable) file.commit()
    else file.finish()
  } catch (error) {
    file.discard()
    throw error
  }
}

/** The record buffer is about to be used again. */
function keepBytes(pending: Pending): void {
  pending.ltx = pending.ltx.slice()
  pending.record = undefined
}

export function roundUp(size: number): number {
  return Math.ceil(size / 8) * 8
}

/** Writes every transaction straight to its LTX file, with a sync: the log of a node without a commit log. */
export const directLog: TransactionLog = {
  materialize() {},
  sync() {},
  clear() {},
  begin(_database, _txid, path) {
    const file = new LtxFileWriter(path)
    return file
  },
}

assert(RECORD_SIZE_MAX <= SEGMENT_SIZE, "a record fits a segment")
