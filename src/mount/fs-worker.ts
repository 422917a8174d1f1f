/** The fs thread as the main thread sees it. */
import { MessageChannel } from "node:worker_threads"
import type { FrozenState } from "../capture/frozen-view.ts"
import type { DatabaseHandover } from "../capture/handover.ts"
import type { LastTransaction } from "../capture/wal-tracker.ts"
import { unreachable } from "../lib/assert.ts"
import { Caller } from "../lib/calls.ts"
import { type ErrorCode, LitefsError, messageOf } from "../lib/errors.ts"
import { logger } from "../lib/log.ts"
import type { Txid } from "../ltx/pos.ts"
import { closeFile, type Fd } from "../sys/file.ts"
import { createMailbox, MailboxSender } from "../sys/mailbox.ts"
import type { Mount } from "../sys/mount.ts"
import type {
  Borrower,
  CachedRange,
  FsCalls,
  FsCommand,
  FsEvent,
  FsMessage,
  FsThreadOptions,
} from "./messages.ts"
import type { ReplaceOutcome } from "./names/replace.ts"

const log = logger("mount")

export interface FsListener {
  /** Positions have changed. */
  changed(): void
  /** The daemon has changed the database file without the kernel's knowledge. */
  rewritten(database: string): void
  /** The daemon has taken a file out of the mount without the kernel's knowledge. */
  vanished(name: string): void
  /** A client's write was refused, and the kernel may have its bytes. */
  writeRefused(range: CachedRange): void
  /** Somebody died who may not have published this transaction. */
  publish(database: string, last: LastTransaction): Promise<void>
  /** What has become of a `replace` that the peer thread has asked for. */
  replaced(request: number, outcome: ReplaceOutcome): void
  /** A segment of the commit log is full. */
  segmentFull(segment: number): void
  /** One is not there. */
  segmentMissing(segment: number): void
  /** Files for transactions are running out. */
  sparesWanted(): void
  /** A transaction of a database whose write lock is borrowed. Resolves with why it is refused, if it is. */
  propose(database: string, bytes: Uint8Array): Promise<ErrorCode | undefined>
  /** A client wants the write lock of a database. Resolves with why it is not to be had. */
  borrowForFlock(database: string, waits: boolean): Promise<ErrorCode | undefined>
  /** The same for a writer with its own locks. `late` is called when that takes longer than it can wait. */
  borrowForWriter(
    database: string,
    isPatient: boolean,
    late: () => void,
  ): Promise<ErrorCode | undefined>
  /** Locks `<db>-lock` before any client can. */
  holdLockFile(database: string): Promise<void>
  /** Whether a client may have the lock of it that it waits for. */
  lockFileGranted(database: string, isGranted: boolean): void
  letLockFileGo(database: string): void
  /** What is borrowed has a writer again. */
  inUse(database: string): void
  giveBack(database: string, user: Borrower, isUnused: boolean): Promise<void>
  /** The primary has taken a transaction of a borrowed database that could not be made here. */
  behind(database: string): void
  /** A database is damaged. */
  refused(database: string, problem: string): void
  failed(error: Error): void
}

/** A database that is kept as it was, for a snapshot. */
export interface FrozenDatabase {
  readonly snapshot: number // tells it apart from others that are frozen
  readonly state: FrozenState
  thaw(): void
}

export class FsWorker {
  /** The write end of the thread's mailbox, for the peer thread. */
  readonly mailboxFd: Fd
  readonly #worker: Worker
  readonly #readFd: Fd
  readonly #mailbox: MailboxSender<FsMessage>
  readonly #calls = new Caller<FsCalls>((call) => this.#send(call))
  readonly #ready = Promise.withResolvers<readonly string[]>()
  readonly #serving = Promise.withResolvers<boolean>()
  readonly #unmounted = Promise.withResolvers<void>()
  readonly #stopped = Promise.withResolvers<void>()
  readonly #on: FsListener
  /** Through it handovers go, which share memory: the mailbox cannot carry that. */
  readonly #channel = new MessageChannel()
  #nextSnapshot = 1
  #hasFailed = false

  constructor(worker: Worker, on: FsListener) {
    this.#on = on
    const { readFd, writeFd } = createMailbox()
    this.mailboxFd = writeFd
    this.#readFd = readFd
    this.#mailbox = new MailboxSender(writeFd)
    this.#worker = worker
    worker.onmessage = ({ data }: MessageEvent<FsEvent>) => this.#handle(data)
    worker.onerror = (event) => this.#fail(event.message)
    worker.addEventListener("close", () => this.#fail("the fs thread has ended"))
  }

  /** Recovers the databases, on a primary. Resolves with those whose saved checksums were believed. */
  async start(options: Omit<FsThreadOptions, "mailboxFd">): Promise<readonly string[]> {
    const { port2: handovers } = this.#channel
    const given = { ...options, mailboxFd: this.#readFd }
    this.#worker.postMessage({ type: "start", options: given, handovers } satisfies FsCommand, [
      handovers,
    ])
    return this.#ready.promise
  }

  /**
   * Answers the mount from now on, until it is taken away. Resolves with whether the descriptors are the thread's alone,
   * and closed here.
   */
  async serve({ device, directory }: Mount, unwanted: readonly Fd[]): Promise<boolean> {
    this.#tell({ type: "serve", device, directory, unwanted })
    const isOwner = await this.#serving.promise
    if (!isOwner) return false
    closeFile(device)
    closeFile(directory)
    return true
  }

  /** Resolves when the mount is gone: no client has a file of it open. */
  get unmounted(): Promise<void> {
    return this.#unmounted.promise
  }

  /** Resolves when, after that, the databases are left ready for a quick start. */
  get stopped(): Promise<void> {
    return this.#stopped.promise
  }

  /** The database as it is now, kept until thaw(). */
  async freeze(database: string): Promise<FrozenDatabase | undefined> {
    const snapshot = this.#nextSnapshot++
    const state = await this.#calls.call("freeze", { snapshot, database })
    if (state === undefined) return undefined
    return { snapshot, state, thaw: () => this.#send({ type: "thaw", snapshot }) }
  }

  measure(): void {
    this.#send({ type: "measure" })
  }

  /** On a primary: takes no transaction from here on. */
  shut(): Promise<void> {
    return this.#calls.call("shut")
  }

  /** Of a database that was dropped: it need not be known any more, if nothing is kept of it but that. */
  retire(database: string): void {
    this.#send({ type: "retire", database })
  }

  /** Takes transactions again. */
  open(): void {
    this.#send({ type: "open" })
  }

  /** Ends being the primary. What it resolves with is for the peer thread. */
  handOver(): Promise<readonly DatabaseHandover[]> {
    return this.#calls.call("hand-over")
  }

  /** Begins to be the primary, with what the peer thread has handed over. */
  takeOver(handovers: readonly DatabaseHandover[]): Promise<void> {
    this.#channel.port1.postMessage(handovers)
    return this.#calls.call("take-over")
  }

  /** On the primary: whether another node is to have the write lock, and clients that write all the time let it. */
  lending(database: string, isWanted: boolean): void {
    this.#send({ type: "lending", database, isWanted })
  }

  /** On the primary: gives one database up, for the peer thread. Rejects when nothing has changed. */
  lend(database: string): Promise<DatabaseHandover> {
    return this.#calls.call("lend", { database })
  }

  /** The same on a replica, of a database whose write lock was borrowed. */
  giveBack(database: string): Promise<DatabaseHandover> {
    return this.#calls.call("give-back", { database })
  }

  /** On a replica: takes one database, whose write lock is borrowed. */
  borrow(handover: DatabaseHandover): Promise<void> {
    this.#channel.port1.postMessage(handover)
    return this.#calls.call("borrow")
  }

  /** On the primary: takes back what was lent. */
  takeBack(handover: DatabaseHandover): Promise<void> {
    this.#channel.port1.postMessage(handover)
    return this.#calls.call("take-back")
  }

  /** A write lock that is borrowed is about to be given back: nobody begins to write. */
  closing(database: string): void {
    this.#send({ type: "closing", database })
  }

  /** A write lock that was borrowed is lost: clients commit nothing from here on. */
  lost(database: string): void {
    this.#send({ type: "lost", database })
  }

  async #borrowForFlock({
    request,
    database,
    waits,
  }: Extract<FsEvent, { type: "borrow-for-flock" }>): Promise<void> {
    const code = await this.#on.borrowForFlock(database, waits)
    this.#send({ type: "flock-answer", request, code })
  }

  async #borrowForWriter(database: string, isPatient: boolean): Promise<void> {
    const tell = (code: ErrorCode | undefined, isLate: boolean) => {
      this.#send({ type: "writer-answer", database, code, isLate })
    }
    const code = await this.#on.borrowForWriter(database, isPatient, () => tell(undefined, true))
    tell(code, false)
  }

  async #holdLockFile(database: string): Promise<void> {
    const isHeld = await this.#on.holdLockFile(database).then(
      () => true,
      (error) => {
        log.warn("cannot see locks on a file, so nobody may open it to write", {
          ...{ file: `${database}-lock`, problem: messageOf(error) },
        })
        return false
      },
    )
    this.#mailbox.send({ type: "lock-file-held", database, isHeld })
  }

  async #propose(request: number, database: string, bytes: Uint8Array): Promise<void> {
    const code = await this.#on.propose(database, bytes).catch((): ErrorCode => "unavailable")
    this.#send({ type: "proposal-answer", request, database, code })
  }

  /** The last transaction of which everything is in the database file; undefined when there is none. */
  writtenTxid(database: string): Promise<Txid | undefined> {
    return this.#calls.call("written-txid", { database })
  }

  #publish(request: number, database: string, last: LastTransaction): void {
    // Answered whatever happens, or a process that has died can never be reaped.
    const done = () => this.#send({ type: "published", request })
    this.#on.publish(database, last).then(done, done)
  }

  #tell(command: FsCommand): void {
    this.#worker.postMessage(command)
  }

  #handle(event: FsEvent): void {
    switch (event.type) {
      case "ready":
        return this.#ready.resolve(event.believed)
      case "refused-database":
        return this.#on.refused(event.database, event.problem)
      case "changed":
        return this.#on.changed()
      case "answered":
        return this.#calls.answered(event)
      case "propose":
        void this.#propose(event.request, event.database, event.bytes)
        return
      case "borrow-for-flock":
        void this.#borrowForFlock(event)
        return
      case "borrow-for-writer":
        void this.#borrowForWriter(event.database, event.isPatient)
        return
      case "hold-lock-file":
        void this.#holdLockFile(event.database)
        return
      case "lock-file-granted":
        return this.#on.lockFileGranted(event.database, event.isGranted)
      case "let-lock-file-go":
        return this.#on.letLockFileGo(event.database)
      case "in-use":
        return this.#on.inUse(event.database)
      case "give-back":
        void this.#on.giveBack(event.database, event.user, event.isUnused)
        return
      case "behind":
        return this.#on.behind(event.database)
      case "rewritten":
        return this.#on.rewritten(event.database)
      case "vanished":
        return this.#on.vanished(event.name)
      case "write-refused":
        return this.#on.writeRefused(event)
      case "publish":
        this.#publish(event.request, event.database, event.last)
        return
      case "replaced":
        return this.#on.replaced(event.request, event.outcome)
      case "segment-full":
        return this.#on.segmentFull(event.segment)
      case "segment-missing":
        return this.#on.segmentMissing(event.segment)
      case "spares-wanted":
        return this.#on.sparesWanted()
      case "serving":
        return this.#serving.resolve(event.isOwner)
      case "unmounted":
        return this.#unmounted.resolve()
      case "stopped":
        return this.#stopped.resolve()
      case "failed":
        return this.#fail(event.message)
      default:
        unreachable(event)
    }
  }

  /** Nothing is sent to a thread that reads no more: a pipe that is full would stop this one, too. */
  #send(message: FsMessage): void {
    if (!this.#hasFailed) this.#mailbox.send(message)
  }

  #fail(message: string): void {
    if (this.#hasFailed) return
    this.#hasFailed = true
    const error = new LitefsError("io", `Cannot go on without the mount: ${message}`)
    this.#calls.fail(error)
    this.#ready.reject(error)
    this.#serving.resolve(false)
    this.#unmounted.resolve()
    this.#stopped.resolve()
    this.#on.failed(error)
  }
}
