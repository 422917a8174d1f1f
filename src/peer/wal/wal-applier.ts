/**
 * Applies transactions to a database in WAL mode as a writing SQLite client: readers keep their snapshots, nobody waits
 * for anybody, nobody is turned away.
 *
 *   WRITE ─▶ frames into the WAL ─▶ wal-index: pages, then header ─▶ position ─▶ a checkpoint, now and then
 *
 * 1. Clients of a replica change the header of the index only when they recover it, or start the log over. They cannot
 *    start it over while one read mark is taken: the daemon keeps one, with a value that holds up no checkpoint. A
 *    valid header is therefore the daemon's.
 * 2. A client may keep WRITE for as long as it likes (BEGIN IMMEDIATE) and can write nothing. The daemon does not wait
 *    for it: with a valid header, WRITE only keeps others from recovering the index between the two copies of the
 *    header. A client that gets WRITE in just that moment builds the index from the WAL, which has the new frames by
 *    then: the result is the same. When it rolls back, it takes the present header for the one it has read
 *    (wal-touch.ts). The daemon does wait for a client that has spilled frames before this node lost its role: that one
 *    reads them, and takes them out of the index.
 * 3. CKPT is held as well, as soon as the index is valid: a client's checkpoint would write to the database file, which
 *    only the daemon may. The client then finds another checkpoint running, which is no error (SQLite:
 *    sqlite3Checkpoint, SQLITE_BUSY). Without a valid index CKPT is released: clients recover the index under it. It is
 *    also released on a primary whose write lock is lent: a client that wants to checkpoint there waits for WRITE, and
 *    continues when the lock is back. WRITE that is kept from clients of a replica (locks/held-locks.ts) is no such.
 * 4. An invalid index is rebuilt from what is known here, under all the locks of a recovery.
 * 5. A node that was the primary continues with the WAL that its clients have written. Their commits count, even when a
 *    writer died before publishing one.
 *
 * Frames, checkpoints, the index and its recovery have files of their own (wal-writer.ts, wal-checkpoint.ts,
 * wal-index-file.ts, wal-index-recovery.ts). The order in which they take locks is one thing, and therefore this one
 * file.
 */
import { indexHeaderOf, type WalHandover } from "../../capture/handover.ts"
import { must } from "../../lib/assert.ts"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import type { Logger } from "../../lib/log.ts"
import type { Txid } from "../../ltx/pos.ts"
import { decodeWalHeader, WAL_HEADER_SIZE } from "../../sqlite/wal.ts"
import { WAL_INDEX_READ_MARK_UNUSED, type WalIndexHeader } from "../../sqlite/wal-index.ts"
import type { BackedFile } from "../../store/backed-file.ts"
import { type Fd, readBytesAt } from "../../sys/file.ts"
import { allocate } from "../../sys/memory.ts"
import type { KernelCache } from "../files/kernel-cache.ts"
import type { MountedFiles } from "../files/mounted-files.ts"
import type { ClientLocks } from "../locks/client-locks.ts"
import { untilLocked } from "../locks/lock-wait.ts"
import { CKPT, FRAMES, RECOVER, readMark, release, tryTake, WRITE } from "../locks/sqlite-locks.ts"
import { ReplicaWal } from "./replica-wal.ts"
import { checkpoint, copyAll } from "./wal-checkpoint.ts"
import type { WalIndexFile, WalIndexState } from "./wal-index-file.ts"
import { emptyHeader, recoverIndex } from "./wal-index-recovery.ts"
import { appendToWal, beginWal, type WalTransaction } from "./wal-writer.ts"

/** Frames in the WAL before some are moved to the database file. SQLite: wal_autocheckpoint. */
const CHECKPOINT_FRAMES = 1000
/** After a checkpoint that a reader has held up, this many more frames come before the next. */
const CHECKPOINT_FRAMES_MORE = 250

/** With more frames transactions pause until the log can start over, but not long enough for a reader to notice. */
const LARGE_FRAMES = 4000
const DRAIN_FRAMES_MORE = 2000
const DRAIN_MS = 20 // for LARGE_FRAMES, more for more
const DRAIN_MS_MAX = 100

/** A client that has WRITE for longer is in a transaction of its own. */
const PATIENCE_MS = 20
/** For a client whose request has just failed: it undoes its transaction, and lets WRITE go. */
export const PUBLISH_MS = 500
/** Not the first: readers share it when no other is available. */
const PIN_MARKS = [4, 3, 2]

export interface WalApplierContext {
  readonly name: string
  readonly database: BackedFile
  readonly wal: BackedFile
  readonly files: MountedFiles
  readonly cache: KernelCache
  readonly clock: Clock
  readonly log: Logger
  /** Aborted when the node stops, and before the files are closed. */
  readonly signal: AbortSignal
  /** What clients see added to the counters in the header: see sqlite/header-disguise.ts. */
  readonly disguise: number
  /** Frames that exist and count, from the clients that wrote while this node was the primary. */
  readonly handover?: WalHandover | undefined
  /** Whether this thread holds WRITE elsewhere, so that nobody else has it. */
  isWriteHeld?(): boolean
  /** The same of a database that is not lent: its locks. */
  kept?(): ClientLocks | undefined
  /** A transaction is about to count that the client holding WRITE does not know. */
  onStaleWriter(): void
}

export interface ReceivedWalTransaction extends WalTransaction {
  readonly maxTxid: Txid
  /** Called before these bytes of the database file change. */
  overwriting(offset: number, size: number): void
  /** Called before frames of the WAL are overwritten. */
  restarting(): void
  /** Called when clients see the transaction. */
  applied(): void
}

const page = allocate(65536)

export class WalApplier {
  readonly wal: ReplicaWal
  readonly #context: WalApplierContext
  #last: WalIndexHeader | undefined // the last header written here
  /** The last attempt to write: after an error it may or may not count. */
  #attempt:
    | { readonly header: WalIndexHeader; readonly transaction: ReceivedWalTransaction }
    | undefined
  #pin: number | undefined
  #nextCheckpoint = CHECKPOINT_FRAMES
  #nextDrain = LARGE_FRAMES
  #lastBackfill = 0 // at the last wait for it
  /** Frames that the index may say are in the database file; undefined: as it says after a handover. */
  #backfillMax: number | undefined = 0
  #isWriteTaken = false // by a client, at the last request
  #mayBeUnpublished = false // frames of the handover
  #hasComplained = false

  constructor(context: WalApplierContext) {
    this.#context = context
    this.wal = new ReplicaWal(context.wal, context.disguise)
    if (context.handover === undefined) return
    this.wal.adopt(context.handover)
    this.#last = indexHeaderOf(context.handover)
    this.#backfillMax = undefined
    this.#mayBeUnpublished = true
  }

  async attach(): Promise<void> {
    await this.#attachFiles()
    await this.#publishRest()
  }

  async #attachFiles(): Promise<void> {
    if (!(await this.#context.files.attach(true))) return
    this.wal.file.close() // before that, clients could take its name away
    this.wal.file.create() // later writes are read again, whatever becomes of the name
    this.#pin = undefined
    if (this.#last !== undefined && !this.#isThere(this.#last)) this.#lose()
  }

  /** False when a client has kept this from being published, so that readers do not see the last transaction. */
  get isShown(): boolean {
    return !this.#mayBeUnpublished
  }

  /**
   * The last transaction of a client may not be published: the client was told that nobody knows what becomes of it,
   * because this node lost its role before replicas had it. It counts here, and readers are to see it.
   */
  async #publishRest(): Promise<void> {
    if (!this.#mayBeUnpublished) return
    const { files, clock, signal } = this.#context
    const { shm, index } = files.walIndex
    const isOut = () => {
      const header = index.read()?.header
      return header !== undefined && isBehind(header, this.#last)
    }
    if (isOut()) {
      let hasWrite = false
      await untilLocked({ clock, signal, patienceMs: PUBLISH_MS }, (isLate) => {
        hasWrite = this.#tryLockWrite(shm)
        return hasWrite || isLate
      })
      if (!hasWrite) return // the next attempt does it, or the next transaction
      try {
        const state = index.read()
        if (state !== undefined && isBehind(state.header, this.#last)) this.#publish(index, state)
      } finally {
        this.#releaseWrite(shm)
      }
    }
    this.#mayBeUnpublished = false
  }

  /** While WRITE is held readers cannot do it, and would have to give up (SQLITE_PROTOCOL). */
  async repairIndex(pageSize: number): Promise<void> {
    const { shm, index } = this.#context.files.walIndex
    if (index.read() === undefined) await this.#recover(shm, index, pageSize)
    index.makeReadable()
  }

  /** Between transactions: who opens the database next is to find the index true. Not while a client has WRITE. */
  async mendIndex(pageSize: number): Promise<void> {
    const { shm, index } = this.#context.files.walIndex
    const isWrong = () => {
      const state = index.read()
      if (this.#last === undefined || !this.#isThere(this.#last)) return false
      if (state === undefined || this.#isWrong(state)) return true // while we hold CKPT nobody else builds it anew
      const { frames } = this.wal
      const isOurs = state.header.frameCount === frames.count
      return isOurs && !index.hasFrames(frames.count, (frame) => frames.pgno(frame - 1))
    }
    if (this.#mayBeUnpublished || !isWrong() || !this.#tryLockWrite(shm)) return
    try {
      if (isWrong()) await this.#mend(shm, index, pageSize)
    } finally {
      this.#releaseWrite(shm)
    }
  }

  /** False when clients do not see it, because the open files no longer have their names. */
  async apply(transaction: ReceivedWalTransaction): Promise<boolean> {
    const { files } = this.#context
    await this.#attachFiles()
    const { shm, index } = files.walIndex
    const hasWrite = await this.#lockWrite(shm, index)
    try {
      if (!hasWrite && index.read() === undefined) throw this.#unavailable()
      const state = await this.#start(shm, index, hasWrite, transaction)
      if (hasWrite) this.wal.hasSpilled = false
      else this.#context.onStaleWriter()
      this.#append(index, state, transaction)
      if (!files.areNamed) return false
      transaction.applied()
    } catch (error) {
      this.#tryReleaseCheckpoint(shm)
      throw error
    } finally {
      if (hasWrite) this.#releaseWrite(shm)
    }
    if (this.wal.frames.count >= this.#nextCheckpoint) this.#checkpoint(shm, transaction)
    await this.#drain(shm, index, transaction)
    return true
  }

  /** Whether the file holds frames of that log. */
  #isThere({ salt1, salt2 }: WalIndexHeader): boolean {
    const bytes = new Uint8Array(WAL_HEADER_SIZE)
    const { file } = this.wal
    const n = file.open() ? readBytesAt("wal:read", file.fd, bytes, 0) : 0
    const header = n < WAL_HEADER_SIZE ? undefined : decodeWalHeader(bytes)
    return header?.salt1 === salt1 && header.salt2 === salt2
  }

  /** The last client that closed the database has removed a WAL that was all in the database file. */
  #lose(): void {
    if (!this.wal.isWritten) throw this.#changed()
    this.wal.clear()
    this.#last = undefined
  }

  handOver(): WalHandover | undefined {
    return this.wal.handOver(this.#last, this.#publishedCount())
  }

  #publishedCount(): number {
    const { files, handover } = this.#context
    const all = this.wal.frames.count
    if (!files.hasWalIndex) return Math.min(handover?.published ?? 0, all)
    const header = files.walIndex.index.read()?.header
    return header !== undefined && isBehind(header, this.#last) ? header.frameCount : all
  }

  /** Gives up the read mark and CKPT. The next transaction takes them again. */
  unpin(): void {
    const { files } = this.#context
    if (files.hasWalIndex) release(files.walIndex.shm, CKPT)
    if (this.#pin !== undefined) release(files.walIndex.shm, readMark(this.#pin))
    this.#pin = undefined
  }

  /** Nothing in the WAL counts any more, and clients are locked out or gone. When it throws, frames are left in it. */
  forget(): void {
    this.wal.clear()
    this.#attempt = undefined
    this.#last = undefined
    this.#pin = undefined
    this.#nextCheckpoint = CHECKPOINT_FRAMES
    this.#nextDrain = LARGE_FRAMES
    this.#lastBackfill = 0
    this.#backfillMax = 0
    const { file } = this.wal
    file.close() // its name may stand for another file
    try {
      if (file.open()) file.truncate(0)
    } finally {
      file.close()
    }
  }

  /** Leaves a WAL that clients find: they see none when the file is empty. */
  begin(index: WalIndexFile, pageSize: number): void {
    const header = index.read()?.header
    if (header === undefined) return
    this.wal.file.create()
    beginWal(this.wal.file, header, pageSize)
  }

  /** The header of the wal-index, as far as it was written here; undefined before the first transaction. */
  get last(): WalIndexHeader | undefined {
    return this.#last
  }

  /** Moves everything to the database file, while nobody else has it open. Returns the pages. */
  settle(overwriting: (offset: number, size: number) => void): readonly number[] {
    if (this.#last === undefined) return []
    const { database } = this.#context
    const { pageSize, pageCount } = this.#last
    return copyAll({ wal: this.wal, database, overwriting }, pageSize, pageCount)
  }

  /** The newest content of a page. */
  readPage(pgno: number, pageSize: number): Uint8Array {
    if (this.wal.has(pgno)) this.wal.readPage(pgno, pageSize, page)
    else this.#context.database.readPadded(page, pageSize, (pgno - 1) * pageSize)
    return page.bytes.subarray(0, pageSize)
  }

  /** False when a client keeps WRITE, and the transaction can do without it. */
  async #lockWrite(shm: Fd, index: WalIndexFile): Promise<boolean> {
    const { clock, signal } = this.#context
    const mayDoWithout = (isLate: boolean) =>
      (isLate || this.#isWriteTaken) && !this.#mayHaveSpilled() && this.#isPublished(index)
    let hasWrite = false
    await untilLocked({ clock, signal, patienceMs: PATIENCE_MS }, (isLate) => {
      hasWrite = this.#tryLockWrite(shm)
      return hasWrite || mayDoWithout(isLate)
    })
    this.#isWriteTaken = !hasWrite
    return hasWrite
  }

  /** Whether the file may have frames of a client's unfinished transaction. */
  #mayHaveSpilled(): boolean {
    if (this.#last !== undefined) return this.wal.hasSpilled
    const { file } = this.wal
    return file.open() && file.size() > WAL_HEADER_SIZE
  }

  get #isWriteHeld(): boolean {
    return this.#context.isWriteHeld?.() === true
  }

  get #isLent(): boolean {
    return this.#isWriteHeld && this.#context.kept?.() === undefined
  }

  #tryLockWrite(shm: Fd): boolean {
    return this.#isWriteHeld || tryTake(shm, WRITE)
  }

  #releaseWrite(shm: Fd): void {
    if (!this.#isWriteHeld) release(shm, WRITE)
  }

  /** The last of a client that committed while this node was the primary may come in a moment. */
  #isPublished(index: WalIndexFile): boolean {
    const header = index.read()?.header
    return header !== undefined && !isBehind(header, this.#last)
  }

  /** Where to continue: after the frames that count, or at the start of a log that starts over. */
  async #start(
    shm: Fd,
    index: WalIndexFile,
    hasWrite: boolean,
    { pageSize, restarting }: ReceivedWalTransaction,
  ): Promise<WalIndexState> {
    let state = index.read() ?? (await this.#recover(shm, index, pageSize))
    if (hasWrite && isBehind(state.header, this.#last)) state = this.#publish(index, state)
    if (hasWrite && this.#isWrong(state)) state = await this.#mend(shm, index, pageSize)
    this.#adopt(state.header, restarting)
    this.#takePin(shm, index)
    // A client that has it releases it when its first write fails.
    if (!this.#isLent) tryTake(shm, CKPT)
    return (hasWrite && this.#tryRestart(shm, index, state, restarting)) || state
  }

  /** Starts the log over when the database file has everything and no reader uses the log. WRITE is held. */
  #tryRestart(
    shm: Fd,
    index: WalIndexFile,
    { header, backfillCount }: WalIndexState,
    restarting: () => void,
  ): WalIndexState | undefined {
    const isBackfilled = header.frameCount > 0 && backfillCount === header.frameCount
    if (!isBackfilled || !this.wal.isWritten || !tryTake(shm, FRAMES)) return undefined
    try {
      restarting()
      index.restart(this.#context.clock.random())
      this.#backfillMax = 0
      this.wal.clear()
      this.#nextCheckpoint = CHECKPOINT_FRAMES
      this.#nextDrain = LARGE_FRAMES
      this.#lastBackfill = 0
      const state = index.read()
      if (state === undefined) return undefined
      this.#last = state.header
      // Without a client the wal-index is gone, and the next one would find the frames of before once more.
      beginWal(this.#context.files.wal, state.header, state.header.pageSize)
      return state
    } finally {
      release(shm, FRAMES)
      this.#pin = undefined
      this.#takePin(shm, index)
    }
  }

  /**
   * Readers in succession never leave the log alone, and it grows. When nothing is appended for a moment, the present
   * readers end, and new ones need no frames of it.
   */
  async #drain(shm: Fd, index: WalIndexFile, transaction: ReceivedWalTransaction): Promise<void> {
    if (this.wal.frames.count < this.#nextDrain) return
    const { clock, signal } = this.#context
    const patienceMs = Math.min(DRAIN_MS_MAX, (this.wal.frames.count / LARGE_FRAMES) * DRAIN_MS)
    let backfillCount = this.#lastBackfill
    let isDrained = false
    await untilLocked({ clock, signal, patienceMs }, (isLate) => {
      if (isLate) return true
      this.#checkpoint(shm, transaction)
      const state = index.read()
      if (state?.backfillCount === this.#lastBackfill) return true // a long reader: it has not moved
      backfillCount = state?.backfillCount ?? backfillCount
      if (state?.backfillCount === state?.header.frameCount && this.#tryLockWrite(shm)) {
        try {
          isDrained =
            state !== undefined &&
            this.#tryRestart(shm, index, state, transaction.restarting) !== undefined
        } finally {
          this.#releaseWrite(shm)
        }
      }
      return isDrained
    })
    if (isDrained) return
    this.#lastBackfill = backfillCount
    this.#nextDrain = this.wal.frames.count + DRAIN_FRAMES_MORE
  }

  #append(
    index: WalIndexFile,
    { header }: WalIndexState,
    transaction: ReceivedWalTransaction,
  ): void {
    // Through the mount: readers find it in the kernel's cache, with the matching size of the file.
    const next = appendToWal(this.#context.files.wal, header, transaction)
    this.#attempt = { header: next, transaction }
    index.addFrames(header.frameCount + 1, transaction.pgnos)
    index.writeHeader(next)
    this.#count(next, transaction)
  }

  /** The writer of the last transactions died before it published them. */
  #publish(index: WalIndexFile, state: WalIndexState): WalIndexState {
    const { header } = state
    const { frames } = this.wal
    const pgnos: number[] = []
    for (let frame = header.frameCount; frame < frames.count; frame++)
      pgnos.push(frames.pgno(frame))
    index.addFrames(header.frameCount + 1, pgnos)
    const last = must(this.#last, "published header")
    index.writeHeader({ ...last, change: (header.change + 1) >>> 0 })
    return index.read() ?? state
  }

  #count(header: WalIndexHeader, { pgnos, commit, maxTxid }: ReceivedWalTransaction): void {
    this.wal.add(pgnos, commit, maxTxid)
    this.#last = header
    this.#attempt = undefined
  }

  /** WRITE is held. */
  #mend(shm: Fd, index: WalIndexFile, pageSize: number): Promise<WalIndexState> {
    const { log, name } = this.#context
    log.warn("a client has left a wrong index of a WAL, it is built anew", { db: name })
    return this.#recover(shm, index, pageSize)
  }

  async #recover(shm: Fd, index: WalIndexFile, pageSize: number): Promise<WalIndexState> {
    const { clock, signal } = this.#context
    await untilLocked({ clock, signal }, () => tryTake(shm, CKPT, RECOVER))
    try {
      const { frames } = this.wal
      const pgnos = Array.from({ length: frames.count }, (_, frame) => frames.pgno(frame))
      this.#backfillMax = 0
      return recoverIndex(shm, index, {
        header: this.#last ?? emptyHeader(pageSize, () => clock.random()),
        pgnos,
        pin: this.#pin,
      })
    } finally {
      release(shm, RECOVER, CKPT)
    }
  }

  /**
   * Clients of a replica write no frames. They can only make an attempt count that failed on its way, or start over a
   * log that is all in the database file.
   */
  #adopt(header: WalIndexHeader, restarting: () => void): void {
    const last = this.#last
    if (last === undefined ? header.frameCount === 0 : endsAt(header, last)) return
    if (this.#attempt !== undefined && endsAt(header, this.#attempt.header)) {
      return this.#count(header, this.#attempt.transaction)
    }
    if (header.frameCount > 0 || !this.wal.isWritten) throw this.#changed()
    restarting()
    this.wal.clear()
    this.#last = header
  }

  /**
   * Whether the index says what nobody can have made so: clients of a replica write no frames and move none to the
   * database file, and the WAL is the one that this thread has written. Only the index is open to them. A log that starts
   * over while the index alone says that the file has everything would lose what it has not.
   */
  #isWrong({ header, backfillCount }: WalIndexState): boolean {
    const last = this.#last
    if (last === undefined) return false
    if (endsAt(header, last)) {
      this.#backfillMax ??= Math.min(backfillCount, last.frameCount)
      return backfillCount > this.#backfillMax || (last.frameCount > 0 && !isSame(header, last))
    }
    if (this.#attempt !== undefined && endsAt(header, this.#attempt.header)) return false
    const hasStartedOver = header.frameCount === 0 && this.wal.isWritten
    return !hasStartedOver && this.#isThere(last)
  }

  #changed(): LitefsError {
    return new LitefsError(
      "damaged",
      `Cannot apply to "${this.#context.name}": another program has changed its WAL, restart this node`,
    )
  }

  #unavailable(): LitefsError {
    return new LitefsError(
      "unavailable",
      `Cannot apply to "${this.#context.name}": a client is recovering its WAL`,
    )
  }

  #takePin(shm: Fd, index: WalIndexFile): void {
    if (this.#pin !== undefined) return
    for (const mark of PIN_MARKS) {
      if (!tryTake(shm, readMark(mark))) continue
      try {
        index.writeReadMark(mark, WAL_INDEX_READ_MARK_UNUSED)
        tryTake(shm, readMark(mark, "shared")) // a downgrade, which always works
        this.#pin = mark
      } finally {
        if (this.#pin === undefined) release(shm, readMark(mark))
      }
      return
    }
  }

  /** The index may be invalid. */
  #tryReleaseCheckpoint(shm: Fd): void {
    try {
      release(shm, CKPT)
    } catch {
      // The mount is gone.
    }
  }

  /** A failure here does no harm to the transaction. */
  #checkpoint(shm: Fd, { overwriting }: ReceivedWalTransaction): void {
    const { database, files, cache, log, name } = this.#context
    try {
      if (!tryTake(shm, CKPT)) return
      try {
        const header = this.#last
        if (header === undefined) return
        this.#backfillMax = checkpoint({
          wal: this.wal,
          header,
          backfillMax: this.#backfillMax ?? 0,
          database,
          shm,
          overwriting,
          forgetPages: (pageSize, pgnos) => files.forgetPages(cache, pageSize, pgnos),
        })
      } finally {
        if (this.#isLent) release(shm, CKPT)
      }
      this.#hasComplained = false
    } catch (error) {
      if (!this.#hasComplained) {
        log.warn("cannot move pages from the WAL to the database file, trying again", {
          db: name,
          problem: messageOf(error),
        })
      }
      this.#hasComplained = true
    }
    this.#nextCheckpoint = this.wal.frames.count + CHECKPOINT_FRAMES_MORE
  }
}

/**
 * Whether it counts fewer frames of the same log. The index of a log that was empty has no salts: its first writer
 * publishes them with its first transaction (SQLite: sqlite3WalFrames, nCkpt).
 */
function isBehind(header: WalIndexHeader, last: WalIndexHeader | undefined): boolean {
  if (last === undefined || header.frameCount >= last.frameCount) return false
  if (header.frameCount === 0 && header.salt1 === 0 && header.salt2 === 0) return true
  return header.salt1 === last.salt1 && header.salt2 === last.salt2
}

/** Whether both say the same of the frames that they count. */
function isSame(header: WalIndexHeader, other: WalIndexHeader): boolean {
  return (
    header.pageSize === other.pageSize &&
    header.pageCount === other.pageCount &&
    header.frameChecksum1 === other.frameChecksum1 &&
    header.frameChecksum2 === other.frameChecksum2
  )
}

/** Whether both count the same frames. */
function endsAt(header: WalIndexHeader, other: WalIndexHeader): boolean {
  if (header.frameCount !== other.frameCount) return false
  return header.frameCount === 0 || (header.salt1 === other.salt1 && header.salt2 === other.salt2)
}
