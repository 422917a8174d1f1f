/**
 * Periodic work on a database, away from the threads that answer: makes its file durable, remembers how far, and
 * removes LTX files that nobody needs. A database at rest costs nothing: its files are those that the last look has
 * left. There may be one for each transaction of the retention, so a look takes turns with this thread's other work.
 *
 * It also saves the page checksums for a start after a kill (recovery/kept-sums.ts): when reading the LTX files since
 * would take longer than reading the checksums, or when such a file is to go. The checksums are at most as many bytes as
 * the LTX files that were written meanwhile, or are saved once a minute.
 *
 * An LTX file goes when all of this holds:
 *
 * 1. It is older than the retention.
 * 2. The database file holds its transaction durably, or the database was dropped: recovery will not ask for it.
 * 3. It is not the last one, which tells the position.
 * 4. No connected replica still has to get it, unless the files kept for replicas have grown beyond their limit.
 */
import type { SharedHistoryState } from "../../capture/handover.ts"
import type { Clock } from "../../lib/clock.ts"
import type { Logger } from "../../lib/log.ts"
import { Turns } from "../../lib/turns.ts"
import type { RetentionOptions } from "../../litefs-options.ts"
import type { Checksum, Pos, Txid } from "../../ltx/pos.ts"
import { readTrailer } from "../../ltx/span.ts"
import { LTX_TRAILER_SIZE } from "../../ltx/trailer.ts"
import { copySums, KEPT_PAGES_MIN, keptPos } from "../../recovery/kept-sums.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { FileSource } from "../../store/ltx/file-source.ts"
import { LtxDirectory, type LtxFileInfo } from "../../store/ltx/ltx-directory.ts"
import { appendPastPositions } from "../../store/past-positions.ts"
import { readSynced, writeSynced } from "../../store/synced.ts"
import { syncDirectory } from "../../sys/directory.ts"
import { statusAt, unlinkFile } from "../../sys/file.ts"

export interface MaintenanceRequest {
  readonly database: string
  /** The position's TXID. */
  readonly lastTxid: Txid
  /** The database file has everything up to here, though perhaps not durably. */
  readonly writtenTxid: Txid
  /** After the last transaction. Its owner goes on. */
  readonly state?: SharedHistoryState | undefined
  /** The first transaction that a connected replica lacks. */
  readonly neededTxid: Txid | undefined
  /** There is no database any more: its last LTX file says so, and recovery needs no other. */
  readonly isDropped?: boolean
  readonly retention: RetentionOptions
}

export interface MaintenanceContext {
  readonly dataDir: DataDir
  readonly clock: Clock
  readonly log: Logger
  /** Hears the number and the size of the remaining LTX files. */
  onUsage(database: string, fileCount: number, size: number): void
}

/** LTX files of so many bytes, together, are read at once. */
const UNKEPT_SIZE_MIN = 64 * 1024
const KEPT_PAUSE_MS = 60_000

/** The result of the last look. While it matches the database, its files belong to one history. */
interface KnownFiles {
  lastTxid: Txid // of the newest
  count: number
  size: number // bytes, of all of them
  oldestMs: number // when the oldest was written
  kept: Txid | undefined // which the saved page checksums belong to, 0 without any; undefined: not looked at yet
  unkeptSize: number // bytes of the files after that
  keptMs: number // when they were saved last, monotonic
}

export class Maintenance {
  readonly #context: MaintenanceContext
  readonly #known = new Map<string, KnownFiles>()

  constructor(context: MaintenanceContext) {
    this.#context = context
  }

  /** Call it before files of another history replace the present ones, perhaps under the same names. */
  replacing(database: string): void {
    this.#known.delete(database)
  }

  /** Resolves with how many LTX files were removed. */
  async maintain(request: MaintenanceRequest): Promise<number> {
    const { dataDir, clock, log, onUsage } = this.#context
    const { database, lastTxid, retention } = request
    const synced = this.#sync(request)
    const known = this.#knownOf(database)
    const endMs = clock.wallMs() - retention.ageMs
    const isSame = known.count > 0 && known.lastTxid === lastTxid
    if (isSame && (known.count === 1 || known.oldestMs > endMs)) return 0 // as it was left

    const turns = new Turns(clock)
    const isCurrent = () => this.#known.get(database) === known
    known.kept ??= keptPos(dataDir, database)?.txid ?? 0n
    const files = await new LtxDirectory(dataDir.ltxDir(database)).listInTurns(turns)
    await measure(known, files, turns, isCurrent)
    await this.#keepSums(request, known, files, synced, turns)
    const past: Pos[] = []
    const remember = () => appendPastPositions(dataDir.pastPath(database), past.splice(0))
    let count = 0
    for (const file of files.slice(0, -1)) {
      if (turns.isOver) {
        remember()
        await turns.next()
      }
      if (!isCurrent()) return count
      const status = statusAt("ltx:stat", file.path)
      if (status === undefined) continue
      known.oldestMs = status.modifiedMs
      if (known.oldestMs > endMs || !mayGo(file, synced, known.size, request)) break
      const checksum = checksumAfter(file.path)
      if (checksum !== undefined) past.push({ txid: file.maxTxid, checksum })
      unlinkFile("ltx:reap", file.path)
      known.count -= 1
      known.size -= status.size
      count += 1
    }
    remember()
    if (isCurrent()) onUsage(database, known.count, known.size)
    if (count > 0) log.debug("removed old LTX files", { db: database, files: count })
    return count
  }

  /** Returns how far the database file is durable. */
  #sync({ database, writtenTxid }: MaintenanceRequest): Txid {
    const { dataDir } = this.#context
    const syncedPath = dataDir.syncedPath(database)
    const known = readSynced(syncedPath)
    const synced = writtenTxid > known && syncDatabase(dataDir, database) ? writtenTxid : known
    if (synced > known) writeSynced(syncedPath, synced)
    return synced
  }

  /** A failure costs the next start time, and nothing else. */
  async #keepSums(
    { database, state, retention }: MaintenanceRequest,
    known: KnownFiles,
    files: readonly LtxFileInfo[],
    synced: Txid,
    turns: Turns,
  ): Promise<void> {
    const { dataDir, clock, log } = this.#context
    const { kept = 0n } = known
    if (state === undefined || state.commit < KEPT_PAGES_MIN || state.pos.txid <= kept) return
    const nowMs = clock.monotonicMs()
    const isDue = known.unkeptSize >= Math.max(UNKEPT_SIZE_MIN, state.commit * 8)
    if (!isDue) {
      if (nowMs - known.keptMs < KEPT_PAUSE_MS) return
      const next = files.find(({ minTxid }) => minTxid > kept)
      if (next === undefined || next.maxTxid > synced) return
      const modifiedMs = statusAt("ltx:stat", next.path)?.modifiedMs ?? 0
      if (modifiedMs > clock.wallMs() - retention.ageMs) return
    }
    try {
      const isCurrent = () => this.#known.get(database) === known
      if (!(await copySums(dataDir, database, state, turns, isCurrent))) return
      known.kept = state.pos.txid
      known.keptMs = nowMs
      known.unkeptSize = 0
    } catch (error) {
      log.debug("cannot save page checksums", { db: database, error })
    }
  }

  #knownOf(database: string): KnownFiles {
    const known = this.#known.get(database) ?? {
      ...{ lastTxid: 0n, count: 0, size: 0, oldestMs: 0 },
      ...{ kept: undefined, unkeptSize: 0, keptMs: Number.NEGATIVE_INFINITY },
    }
    this.#known.set(database, known)
    return known
  }
}

/** Rules 2 and 4. */
function mayGo(
  { maxTxid }: LtxFileInfo,
  synced: Txid,
  size: number,
  { neededTxid, isDropped, retention }: MaintenanceRequest,
): boolean {
  if (maxTxid > synced && isDropped !== true) return false
  const isNeeded = neededTxid !== undefined && maxTxid >= neededTxid
  return !isNeeded || size > retention.sizeMax
}

/** Adds the sizes of new files: a file never changes. */
async function measure(
  known: KnownFiles,
  files: readonly LtxFileInfo[],
  turns: Turns,
  isCurrent: () => boolean,
): Promise<void> {
  const knownCount = files.findLastIndex(({ maxTxid }) => maxTxid <= known.lastTxid) + 1
  const isKnown = knownCount === known.count
  const fresh = isKnown ? files.slice(knownCount) : files
  let size = isKnown ? known.size : 0
  for (const file of fresh) {
    if (turns.isOver) await turns.next()
    if (!isCurrent()) return
    const bytes = statusAt("ltx:stat", file.path)?.size ?? 0
    size += bytes
    if (file.maxTxid > (known.kept ?? 0n)) known.unkeptSize += bytes
  }
  known.size = size
  known.count = files.length
  known.lastTxid = files.at(-1)?.maxTxid ?? 0n
}

/** Undefined when the file does not tell. */
function checksumAfter(path: string): Checksum | undefined {
  using file = FileSource.open(path)
  if (file === undefined || file.size < LTX_TRAILER_SIZE) return undefined
  return readTrailer(file).postApplyChecksum
}

/**
 * False when there is no file: the database was dropped. The journal, or its absence, is synced first: the journal of a
 * finished transaction must not come back after a power cut and undo what recovery no longer replays.
 */
function syncDatabase(dataDir: DataDir, name: string): boolean {
  syncDirectory("database:sync-dir", dataDir.databaseDir(name))
  syncIfThere(dataDir, name, "journal")
  return syncIfThere(dataDir, name, "database")
}

function syncIfThere(dataDir: DataDir, name: string, kind: "journal" | "database"): boolean {
  const file = dataDir.file(name, kind)
  if (!file.open()) return false
  try {
    file.sync()
    return true
  } finally {
    file.close()
  }
}
