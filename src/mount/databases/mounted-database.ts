/**
 * One database as the mount shows it: its files and, while the fs thread has it, the capture of its transactions
 * (capture/ownership.ts).
 */

import { Capture } from "../../capture/capture.ts"
import { type DatabaseHandover, damagedHandover } from "../../capture/handover.ts"
import { History, type HistoryState } from "../../capture/history.ts"
import { type Proposal, ProposingLog } from "../../capture/proposal.ts"
import type { LastTransaction } from "../../capture/wal-tracker.ts"
import { Deferred } from "../../fuse/deferred.ts"
import type { LockOwner } from "../../fuse/filesystem.ts"
import { FuseError } from "../../fuse/fuse-error.ts"
import { must } from "../../lib/assert.ts"
import type { Clock } from "../../lib/clock.ts"
import { type ErrorCode, LitefsError, messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { saveCleanState } from "../../recovery/clean-stop.ts"
import { rollBack, savedIn } from "../../recovery/journal-rollback.ts"
import type { Writer } from "../../sqlite/first-writes.ts"
import { RESERVED_BYTE, SHARED_FIRST, WAL_WRITE_LOCK } from "../../sqlite/lock-bytes.ts"
import { BackedFile } from "../../store/backed-file.ts"
import type { Column, Counters } from "../../store/counters.ts"
import type { DataDir } from "../../store/data-dir.ts"
import type { TransactionLog } from "../../store/log/commit-log.ts"
import type { GatedLog } from "../../store/log/gated-log.ts"
import { LtxDirectory } from "../../store/ltx/ltx-directory.ts"
import type { Positions, Slot } from "../../store/positions.ts"
import type { SharedLag } from "../../store/shared-lag.ts"
import { Errno } from "../../sys/errno.ts"
import { discardFile } from "../../sys/file.ts"
import type { FileAccess } from "../../sys/file-access.ts"
import { describeThread, processOfThread } from "../../sys/process/process.ts"
import { groupId, userId } from "../../sys/thread.ts"
import type { Bypass } from "../bypass.ts"
import type { HaltBytesContext } from "../files/halt-bytes.ts"
import type { PassedEntry } from "../files/passed-entry.ts"
import type { Role } from "../files/role.ts"
import type { Acknowledgements, Commit, HeldRequest, Unsynced } from "./acknowledgements.ts"
import { Clients } from "./clients.ts"
import { ForwardedWrites, type ForwardedWritesContext } from "./forwarded-writes.ts"
import type { HaltFlocksContext } from "./halt-flocks.ts"
import type { Refusals } from "./refusals.ts"
import { IndexedWriters } from "./writers-past.ts"

const warnings = logger("mount")

/** What fails for so long does not pass by itself. */
const STUCK_MS_MAX = 10_000

const NOBODY_ELSE: FileAccess = { uid: userId(), gid: groupId(), mode: 0o600 }

export interface MountedDatabaseContext {
  readonly dataDir: DataDir
  readonly positions: Positions
  readonly lag: SharedLag
  readonly counters: Counters
  readonly role: Role
  readonly refusals: Refusals
  readonly nodeId: bigint
  readonly clock: Clock
  readonly log: GatedLog
  /** Whether the kernel's id is that of the peer thread. */
  isPeer(thread: number): boolean
  onAppended(name: string, size: number, durationMs: number): void
  onCommit(name: string, slot: Slot): void
  /** A file is gone from the directory without a request: the kernel may have it in a listing. */
  onVanish(name: string): void
  /** Has the peer thread check whether the transaction is published; done when it is. */
  publish(database: string, last: LastTransaction): Deferred
  /** On a replica: a client has removed the WAL or its index. */
  onWalRemoved(database: string): void
  /** The database file was changed without the kernel's knowledge. Calls `then` when the kernel has forgotten it. */
  onRewrite(database: string, then: () => void): void
  /** On a replica: only the peer thread has the WAL or its index open past the daemon. */
  onUnpassed(database: string): void
  /** A WRITE to a file of the mount was refused, and the kernel may have its bytes in the cache. */
  onRefused(nodeId: number, offset: number, size: number): void
  /**
   * Asks other nodes before a transaction counts. Then repeats the request that made it, and is done. Calls `end` before
   * the client is answered.
   */
  propose(
    error: Proposal | Unsynced,
    request: HeldRequest,
    again: () => void,
    end: () => void,
  ): Deferred
  /** Commits that wait until replicas have them. */
  readonly acknowledgements: Acknowledgements
  /** Clients of a replica open databases only to read them. */
  readonly readOnlyOpens: boolean
  /** Clients of a primary may write to a WAL past the daemon; undefined: they may not. */
  bypass(): Bypass | undefined
  /** The process that has the byte of a file locked exclusively, which the kernel knows; 0 or less: an open file. */
  lockedToWriteBy(nodeId: number, byte: number): number | undefined
  /** Asks for locks on `<db>-lock`, hears when they go, and has the peer thread hold the file. */
  readonly halts: Pick<HaltFlocksContext, "ask" | "giveBack"> & Omit<HaltBytesContext, "flocks">
  /** Set when clients write on a replica, too. */
  readonly forwarding: ForwardedWritesContext | undefined
}

export class MountedDatabase {
  readonly name: string
  readonly slot: Slot
  readonly database: BackedFile
  readonly journal: BackedFile
  readonly wal: BackedFile
  readonly shm: BackedFile
  readonly role: Role
  readonly #context: MountedDatabaseContext
  #capture: Capture | undefined
  #borrowed: ProposingLog | undefined
  readonly #forwarded: ForwardedWrites | undefined
  #isLent = false
  /** On the primary: another node wants the write lock. */
  isWanted = false
  /** A client may write although what it remembers is stale. No transaction is taken until that is over. */
  hasStaleWriter = false
  /** The file of the database as the kernel knows it by its name. */
  file: { readonly hasUsers: boolean; readonly nodeId: number } | undefined
  /** Its WAL and its wal-index, as the kernel knows them by their names. */
  log: PassedEntry | undefined
  index: PassedEntry | undefined
  readonly #past = new IndexedWriters(this)
  readonly clients: Clients
  /** It had a client whose process cannot be seen. */
  hasUnseen = false
  /** What was made and is not on the disk yet. */
  #unsynced: { readonly directories: boolean } | undefined
  #forgetting = 0 // how often the kernel has been told to, and has not yet
  readonly #opening: Deferred[] = []
  #firstHandle = 0 // the first that no removed database has
  #hasComplained = false
  /** It could not be handed over, and that is tried again: nobody writes meanwhile. */
  #leaving: { readonly capture: Capture; readonly sinceMs: number } | undefined
  #isTorn = false
  /** What clients see added to the counters in the header (sqlite/header-disguise.ts). */
  disguise = 0

  /** `state` is what recovery found; on a replica there is none, since the peer thread keeps it. */
  constructor(name: string, context: MountedDatabaseContext, state: HistoryState | undefined) {
    const { dataDir } = context
    this.name = name
    this.clients = new Clients(name)
    this.role = context.role
    this.#context = context
    this.database = dataDir.databaseFile(name)
    this.journal = dataDir.file(name, "journal")
    this.wal = dataDir.file(name, "wal")
    this.shm = dataDir.file(name, "shm")
    this.slot = context.positions.add(name)
    context.counters.clear(this.slot)
    const { forwarding } = context
    this.#forwarded = forwarding && new ForwardedWrites(name, forwarding)
    if (state === undefined) return
    this.#capture = this.#makeCapture(state, context.log)
  }

  /**
   * A client makes the file. Neither it nor the directories, when those are new, need to be on the disk before there is
   * a transaction: who opens a database and closes it again waits for no sync.
   */
  make(access: FileAccess | undefined, areDirectoriesNew: boolean): void {
    this.database.make(access)
    this.#unsynced = { directories: areDirectoriesNew || this.#unsynced?.directories === true }
  }

  /** What there is of the database is on the disk when this returns: its directories, and the owner of the file. */
  #sync(): void {
    if (this.#unsynced === undefined) return
    if (this.database.open()) this.database.sync()
    if (this.#unsynced.directories) this.#context.dataDir.syncDirectories(this.name)
    this.#unsynced = undefined
  }

  #makeCapture(state: HistoryState, log: TransactionLog): Capture {
    const { name, database, journal, wal } = this
    const context = this.#context
    const ltx = new LtxDirectory(context.dataDir.ltxDir(name))
    const isOwn = log === context.log
    const onAppend = () => {
      if (isOwn) context.acknowledgements.check(name, history.pos.txid)
      this.#sync()
    }
    const history = new History(name, state, { ...context, log, ltx, onAppend })
    const undo = new BackedFile("undo", context.dataDir.undoPath(name))
    return new Capture({
      ...{ history, database, journal, wal, undo, log: context.refusals.log, past: this.#past },
      refused: (message) => context.refusals.say(message, name),
      thread: () => context.refusals.thread,
      mayEnd: (thread, writer) => this.clients.mayEnd(thread, writer) || this.#isLockedBy(thread),
      onCommit: () => this.#setPosition(history),
      onRewrite: () => this.#rewritten(),
    })
  }

  /**
   * The WAL is removed by SQLite, as its last connection ends: after a checkpoint, and after the wal-index. A program
   * may have it open and remove it itself; then the wal-index still has its name, and those who use it.
   */
  get isClosedBySqlite(): boolean {
    const isInUse = this.index?.hasName === true && this.index.hasUsers
    return this.isAskedByClient && !isInUse
  }

  /** The request that is being done comes from somebody who takes part in SQLite's locking. */
  get isAskedByClient(): boolean {
    return this.clients.has(this.#context.refusals.thread)
  }

  #rewritten(): void {
    this.#forgetting++
    this.#context.onRewrite(this.name, () => {
      if (--this.#forgetting > 0) return
      for (const deferred of this.#opening.splice(0)) deferred.done()
    })
  }

  /**
   * A client opens the file. It waits while the kernel may still have pages from before the daemon changed them. What
   * made the daemon change them does not wait: an unlink of the WAL keeps the directory, for which the peer thread may
   * wait before it tells the kernel.
   */
  opening(): Deferred | undefined {
    if (this.#forgetting === 0) return undefined
    const deferred = new Deferred()
    this.#opening.push(deferred)
    return deferred
  }

  /** The file of the database is removed. Those beside it stay, and the next database uses them when they are empty. */
  dropped(nextHandle: number): void {
    this.#firstHandle = nextHandle
  }

  /**
   * Throws when a file beside the database was opened before the database was removed. The client of that file goes on
   * in the removed database, and another one may have its name by now.
   */
  assertUndropped(handle: number): void {
    if (handle >= this.#firstHandle) return
    throw new LitefsError(
      "unsupported",
      `Cannot write to "${this.name}": its client still has a removed database of that name open`,
    )
  }

  /** Captures from what has been applied so far: the node is the primary, or the database is its own again. */
  inherit(handover: DatabaseHandover, state: HistoryState): void {
    this.#isLent = false
    this.#borrowed = undefined
    const capture = this.#makeCapture(state, this.#context.log)
    capture.adopt(handover)
    this.#begin(capture, handover)
  }

  /**
   * On a replica: the primary has lent the write lock, and hears of every transaction first. Returns what is to be called
   * for that. The first transaction may be our own (Capture.undisguise()): that throws a Proposal, and is called again
   * when the primary has it. Until then the database is as before.
   *
   * Throws while the kernel has the WAL open past the daemon. When the last client of the time as the primary goes, the
   * peer thread gives WRITE up and opens the WAL anew; a reader that comes in between keeps it passed (passed-entry.ts).
   * The borrower would pass, too: its commits would ask nobody.
   */
  borrow(handover: DatabaseHandover, state: HistoryState): () => void {
    if (this.log?.isPassed || this.index?.isPassed) {
      const problem = "clients have its WAL open past LiteFS, try again when they have closed it"
      throw new LitefsError(
        "unavailable",
        `Cannot write to database "${this.name}" here: ${problem}`,
      )
    }
    const log = new ProposingLog()
    const capture = this.#makeCapture(state, log)
    capture.adopt(handover)
    return () => {
      this.#borrowed = log
      try {
        this.#begin(capture, handover)
      } catch (error) {
        this.#borrowed = undefined
        throw error
      }
      this.#forwarded?.opened()
    }
  }

  #begin(capture: Capture, { disguise }: DatabaseHandover): void {
    capture.undisguise(disguise)
    this.#capture = capture
    this.disguise = 0
    this.#hasComplained = false
    this.#isTorn = false
    this.#leaving = undefined
  }

  /** On the primary: another node writes to the database, and the peer thread applies that. */
  lend(): DatabaseHandover {
    const handover = this.#handOver()
    this.#isLent = true
    return handover
  }

  /** On a replica: transactions no longer go to the primary. Throws as handOver() does. */
  giveBack(): DatabaseHandover {
    return this.handOver()
  }

  get isLent(): boolean {
    return this.#isLent
  }

  get isBorrowed(): boolean {
    return this.#borrowed !== undefined
  }

  /** The write lock was borrowed: no more transactions are added. */
  shut(): void {
    this.#borrowed?.shut()
  }

  /** The write lock is about to go back: a client that wants to write has to borrow it anew. */
  closing(): void {
    this.#forwarded?.closing()
  }

  /** The owner and the mode of the file, or of the file to come when there is none. */
  get access(): FileAccess {
    return this.database.access ?? NOBODY_ELSE
  }

  /** Otherwise nothing that is asked of clients for that needs to be known. */
  get mayBePassed(): boolean {
    return this.#context.bypass() !== undefined
  }

  /** Undefined: clients that open the WAL now do so through the daemon. */
  get bypass(): Bypass | undefined {
    const { role, log, bypass } = this.#context
    const isOwn = role.isPrimary && this.#capture !== undefined && !this.isBorrowed
    return isOwn && log.isOpen ? bypass() : undefined
  }

  /** Whether the peer thread has it, and the node is no primary. */
  get isReplica(): boolean {
    return !this.role.isPrimary && this.#capture === undefined
  }

  /** Clients may write to its WAL without a request, and it has a content that they write to. */
  get isWrittenPast(): boolean {
    const capture = this.#capture ?? this.#leaving?.capture
    return this.log?.isPassed === true && (capture?.history.commit ?? 0) > 0
  }

  /**
   * On a replica: if no client has the WAL or its index open past the daemon any more, and only the peer thread does,
   * tells the peer thread, which gives WRITE up and opens them as the kernel's cache has them.
   */
  endKeeping(): void {
    if (!this.isReplica || this.log?.hasPassedClients || this.index?.hasPassedClients) return
    this.#context.onUnpassed(this.name)
  }

  /**
   * The node stops and has no role, or has given it away, and the peer thread has not given WRITE up yet: clients that
   * pass since it was the primary can do nothing more. What they committed would be nobody's.
   */
  bar(): void {
    const { role, log } = this.#context
    if (role.isPrimary && log.isOpen) return // the next start captures it
    if (this.log?.hasPassedClients) this.#past.bar()
  }

  /** Whether a client holds WRITE, and passes. */
  get isBeingWritten(): boolean {
    return this.#capture !== undefined && this.writer !== undefined
  }

  /** The process that holds WRITE. */
  get writer(): number | undefined {
    const { index } = this
    return index && this.#context.lockedToWriteBy(index.nodeId, WAL_WRITE_LOCK)
  }

  /** Whether a client has the database for itself (locking_mode=EXCLUSIVE): it then opens the WAL after that. */
  get isHeldAlone(): boolean {
    const { file } = this
    return (
      file !== undefined && this.#context.lockedToWriteBy(file.nodeId, SHARED_FIRST) !== undefined
    )
  }

  /** Whether the process of the thread holds a writer's lock of a rollback mode, perhaps to roll another's journal back. */
  #isLockedBy(thread: number): boolean {
    const { file } = this
    if (file === undefined) return false
    const holder = (byte: number) => this.#context.lockedToWriteBy(file.nodeId, byte)
    const owner = holder(RESERVED_BYTE) ?? holder(SHARED_FIRST)
    return owner !== undefined && owner === processOfThread(thread)
  }

  sayUnseen(file: string): void {
    const message = `Cannot open "${file}" to write: others pass LiteFS, and this client is in another PID namespace or hides its files, try again when they have closed it, or use --capture strict`
    this.#context.refusals.say(message, file)
  }

  endPassing(number: number): void {
    this.#context.bypass()?.close(number)
  }

  /** Captures what clients have written past the daemon. While the role goes, handOver() does. */
  follow(): void {
    if (this.#context.log.isOpen) this.#capture?.follow()
  }

  /** Whether clients may open it to write. An open connection stays as it is. */
  get isOpenedToWrite(): boolean {
    if (this.role.isPrimary || this.isBorrowed) return true
    return this.#forwarded !== undefined || !this.#context.readOnlyOpens
  }

  /** A client asks for a writer's lock. `isPatient`: it blocks nobody while it waits. */
  locking(owner: LockOwner, isPatient: boolean): Deferred | undefined {
    // Clients that write all the time would never leave the daemon a moment. They try again a little later.
    if (this.role.isPrimary && this.isWanted) throw FuseError.of(Errno.EAGAIN)
    if (this.role.isPrimary) return undefined
    return this.#forwarded?.locking(owner, this.isBorrowed, isPatient)
  }

  unlocked(owner: LockOwner): void {
    this.#forwarded?.unlocked(owner)
  }

  /** The lock of the primary that clients wait for is here, or `code` says why not. */
  borrowAnswered(code: ErrorCode | undefined): void {
    this.#forwarded?.answer(code)
  }

  /** It takes longer, and nobody knows the outcome yet. */
  borrowLate(): void {
    this.#forwarded?.late()
  }

  /**
   * Ends the capture: clients can write nothing from here on. A client in the middle of a transaction finds it undone.
   *
   * Throws "unavailable" when a system call fails on the way, and it is worth asking again. What fails for too long is
   * left as it is, for the next start to look into: nobody knows what of it is on the disk, and this database alone must
   * not keep the node in its role.
   */
  handOver(): DatabaseHandover {
    const { clock } = this.#context
    try {
      return this.#handOver()
    } catch (error) {
      const what = "cannot hand a database over, trying again"
      if (this.#leaving === undefined) warnings.warn(what, { db: this.name, error })
      const leaving = this.#leaving ?? {
        capture: must(this.#capture, "capture"),
        sinceMs: clock.monotonicMs(),
      }
      this.#end()
      if (clock.monotonicMs() - leaving.sinceMs < STUCK_MS_MAX) {
        this.#leaving = leaving
        throw new LitefsError("unavailable", `Cannot hand "${this.name}" over: ${messageOf(error)}`)
      }
      warnings.error("database is unavailable, its files are left as they are", {
        db: this.name,
        error,
      })
      this.#isTorn = leaving.capture.isTorn
      return damagedHandover(this.name)
    }
  }

  #handOver(): DatabaseHandover {
    const capture = this.#leaving?.capture ?? this.#capture
    if (capture === undefined) return damagedHandover(this.name)
    this.#sync()
    const handover = capture.handOver(() => {
      discardFile("sums:unlink", this.#context.dataDir.sumsPath(this.name)) // the other thread leaves a word of its own
      rollBack(savedIn(this.#context.dataDir, this.name, capture.history.pos), this.database)
    })
    this.#end()
    return handover
  }

  #end(): void {
    this.#capture = undefined
    this.#borrowed = undefined
    this.#leaving = undefined
  }

  get hasFiles(): boolean {
    return [this.database, this.journal, this.wal, this.shm].some((file) => file.open())
  }

  /** What captures transactions, or undefined on a replica, where clients cannot write. */
  get capture(): Capture | undefined {
    return this.#capture
  }

  /** It is being handed over, for which its WAL is needed. */
  get isLeaving(): boolean {
    return this.#leaving !== undefined
  }

  /** Where its pages are to be read, when not all of them are in the file. */
  get reader(): Capture | undefined {
    const leaving = this.#leaving?.capture
    return this.#capture ?? (leaving?.isTorn ? leaving : undefined)
  }

  /** Nobody may read the file: a part of its last transaction is not there, and nobody has that any more. */
  get isTorn(): boolean {
    return this.#isTorn
  }

  isPeer(thread: number): boolean {
    return this.#context.isPeer(thread)
  }

  /** The request that is being done is the peer thread's. */
  get isPeerAsking(): boolean {
    return this.isPeer(this.#context.refusals.thread)
  }

  /** One more write to a file of the database. */
  countWrite(column: Column): void {
    this.#context.counters.add(this.slot, column, 1)
  }

  publishBeforeFlush(thread: number): Deferred | undefined {
    const last = this.#capture?.takeUnpublished(thread)
    return last === undefined ? undefined : this.#context.publish(this.name, last)
  }

  /** On a replica: the name stands for another file now, which is opened on its next use. */
  switchFile(disguise: number | undefined): void {
    this.database.close()
    this.disguise = disguise ?? this.disguise
  }

  /**
   * After the mount is gone: makes the next start quick. False or an error: the WAL may have commits that nobody has
   * captured.
   */
  settle(): boolean {
    const capture = this.#capture
    if (capture === undefined) return this.#leaving === undefined
    if (!capture.settle()) return false
    const { dataDir } = this.#context
    saveCleanState(dataDir, this.name, this.database, capture.history)
    return true
  }

  /** A transaction begins. Throws an Unsynced when too few replicas have what came before it. */
  assertSynced(): void {
    const capture = this.#capture
    if (capture === undefined || this.isBorrowed) return
    this.#context.acknowledgements.check(this.name, capture.history.pos.txid)
  }

  /** Throws when the writer may not know everything that counts. */
  assertKnown(): void {
    if (!this.hasStaleWriter) return
    throw new LitefsError(
      "position-mismatch",
      `Cannot write "${this.name}": a client has held its write lock since before others wrote, and may not have seen their transactions`,
    )
  }

  /**
   * Throws, and says so in the log, when a file beside the database gets what SQLite does not write there. A copy of a
   * WAL or a journal of SQLite's beside a database that nobody has open works as anywhere: the next client recovers it.
   * Without a database there is nothing to harm.
   */
  assertSqlite(writer: Writer, file: string): void {
    if (writer === "sqlite" || (writer === "copy" && this.file?.hasUsers !== true)) return
    if (this.#capture?.isEmpty === true) return
    this.refuseForeign(file)
  }

  /**
   * Throws, and says so in the log, when a program opens a file beside the database to write that takes no part in
   * SQLite's locking, while others use the database. Anybody could write there what SQLite does.
   */
  assertWriter(thread: number, file: string): void {
    if (this.file?.hasUsers === true && !this.clients.has(thread)) this.refuseStranger(file)
  }

  refuseStranger(file: string): never {
    const message = `Cannot open "${file}" to write: programs have its database open, and this one takes no part in SQLite's locking, use litefs import --name ${this.name} FILE to bring a database here`
    this.#context.refusals.say(message, file)
    throw new LitefsError("unsupported", message)
  }

  /** The same when such a program removes one. */
  assertRemover(file: string): void {
    const isInUse = this.#capture !== undefined && this.file?.hasUsers === true
    if (!isInUse || this.isAskedByClient || this.isPeerAsking) return
    const message = `Cannot remove "${file}": programs have the database open, and what they commit would be lost, end them first`
    this.#context.refusals.say(message, file)
    throw FuseError.of(Errno.EBUSY)
  }

  /** SQLite stores nothing into mappings of these files, and nobody knows who has. */
  refuseStores(file: string): never {
    const message = `Cannot write "${file}": stores into a mapping cannot be captured, SQLite writes by system calls`
    this.#context.refusals.say(message, file)
    throw new LitefsError("unsupported", message)
  }

  refuseForeign(file: string): never {
    const { name } = this
    const message = `Cannot write "${file}": it is not what SQLite writes there, use litefs import --name ${name} FILE to bring a database here`
    this.#context.refusals.say(message, file)
    throw new LitefsError("unsupported", message)
  }

  /**
   * The same when a file is cut off by its name, by open(2) with O_TRUNC or by truncate(2), or by who is no client.
   * SQLite cuts its files off by ftruncate(2) (os_unix.c: robust_ftruncate), and has the database open then.
   */
  assertNotCutOff(file: string): void {
    const { name } = this
    if (this.#capture?.isEmpty === true) return
    if (file !== name && this.file?.hasUsers !== true) return
    const message = `Cannot truncate "${file}": only SQLite may do that, while clients use it, use litefs import --name ${name} FILE to bring a database here`
    this.#context.refusals.say(message, file)
    throw new LitefsError("unsupported", message)
  }

  /**
   * Says once in the log what a user can do about a write that a replica refuses. `thread` is the kernel's id of the
   * thread that writes, 0 if unknown.
   */
  complainAboutWrite(thread: number): void {
    const isOnItsWay = this.role.isPrimary && !this.#isLent
    if (this.#hasComplained || isOnItsWay) return
    this.#hasComplained = true
    if (this.#isLent) {
      return warnings.warn("refused a write: the write lock is lent to another node", {
        db: this.name,
        process: describeThread(thread),
      })
    }
    this.#context.refusals.tellPrimary(
      "refused a write: this node is a replica, write on the primary",
      { db: this.name, process: describeThread(thread) },
    )
  }

  /** A client has written a part of a transaction to the WAL again. */
  walRepeated(): void {
    const capture = this.#capture
    if (capture !== undefined) {
      this.#context.acknowledgements.repeating(this.#commit(capture.history))
    }
  }

  #commit({ pos }: History): Commit {
    const { name: database, isBorrowed } = this
    return { database, pos, isBorrowed, thread: this.#context.refusals.thread }
  }

  /** Also of a capture that is about to end. */
  #setPosition(history: History): void {
    const { positions, acknowledgements } = this.#context
    positions.write(this.slot, history, undefined)
    this.#context.onCommit(this.name, this.slot)
    acknowledgements.committed(this.#commit(history))
  }
}
