/**
 * The peer thread: a Worker that acts on databases as one more SQLite process.
 *
 *   new Worker ── start ──▶ ready ── mounted ──▶ serving commands ── detach ──▶ detached
 *
 * On a replica it applies transactions. Roles change while it serves (cluster/member.ts): to become the primary,
 *
 *   hand-over: finish what has come, close the commit log ─▶ (fs thread takes over) ─▶ let-go: close files, tell the kernel
 *
 * and to become a replica,
 *
 *   lock-writes ─▶ (fs thread hands over) ─▶ take-over: open the commit log, hold the files, tell the kernel, unlock
 *
 * It may wait for locks, for the mount and for the disk; commands for one database are done in order, those
 * for different databases do not wait for each other.
 */
import { type DatabaseHandover, damagedHandover, historyState } from "../capture/handover.ts"
import type { HistoryState } from "../capture/history.ts"
import { emptyHistoryState } from "../capture/history.ts"
import type { LastTransaction } from "../capture/wal-tracker.ts"
import { must, unreachable } from "../lib/assert.ts"
import { sleep, systemClock } from "../lib/clock.ts"
import { LitefsError, messageOf } from "../lib/errors.ts"
import { configureLog, logger } from "../lib/log.ts"
import { outcomeOf } from "../lib/outcome.ts"
import type { FsMessage } from "../mount/messages.ts"
import type { ReplaceOutcome, ReplaceRequest } from "../mount/replace.ts"
import { openCommitLog } from "../recovery/commit-log-recovery.ts"
import { believed, recoverDatabases } from "../recovery/recover.ts"
import { type CommitLog, directLog } from "../store/commit-log.ts"
import { DataDir } from "../store/data-dir.ts"
import { FileSource } from "../store/file-source.ts"
import { readJournalMode } from "../store/journal-mode.ts"
import { Positions } from "../store/positions.ts"
import { SharedFlags } from "../store/shared-flags.ts"
import { syncFileSystem } from "../sys/file.ts"
import { MailboxSender } from "../sys/mailbox.ts"
import { threadId } from "../sys/thread.ts"
import { DatabaseFilter } from "../wire/database-filter.ts"
import { validateDatabaseName } from "../wire/database-name.ts"
import { DatabaseApplier } from "./database-applier.ts"
import { switchFiles } from "./file-switch.ts"
import type { HistoryVerdict } from "./history-verdict.ts"
import { importDatabase } from "./importer.ts"
import type { IncomingFile } from "./incoming-file.ts"
import { KernelCache } from "./kernel-cache.ts"
import { maintain } from "./maintenance.ts"
import type { PeerCommand, PeerEvent, PeerThreadOptions } from "./messages.ts"
import { nodeIdAt } from "./mounted-files.ts"
import { type ClientView, ReplicaDatabase } from "./replica-database.ts"
import { SnapshotReader } from "./snapshot-reader.ts"
import { publish } from "./wal-publisher.ts"
import { WriteLocks } from "./write-locks.ts"

declare const self: Worker

const log = logger("peer")

const ATTACH_MS_MAX = 1000

class PeerThread {
  readonly #options: PeerThreadOptions
  readonly #dataDir: DataDir
  readonly #positions: Positions
  readonly #flags: SharedFlags
  readonly #fs: MailboxSender<FsMessage>
  #commitLog: CommitLog | undefined // of a replica
  #recovered: Map<string, HistoryState | undefined> = new Map()
  readonly #databases = new Map<string, ReplicaDatabase>()
  readonly #queues = new Map<string, Promise<void>>()
  readonly #incoming = new Map<number, IncomingFile>()
  readonly #snapshots = new Map<number, SnapshotReader>()
  readonly #thaws = new Map<number, () => void>()
  readonly #imports = new Set<Promise<void>>()
  readonly #stopping = new AbortController()
  readonly #replacing = new Map<number, (outcome: ReplaceOutcome) => void>()
  readonly #writeLocks = new Map<number, WriteLocks>()
  /** Databases with the locks that keep clients of this node from writing: another one does, or they change hands. */
  readonly #lent = new Map<string, WriteLocks>()
  /** Databases that the fs thread has, or is about to have. */
  readonly #given = new Set<string>()
  #nextReplace = 1
  #cache: KernelCache | undefined
  #primaryName: string | undefined

  constructor(options: PeerThreadOptions) {
    this.#options = options
    configureLog(options.log)
    const filter = options.databases && DatabaseFilter.of(options.databases)
    this.#dataDir = new DataDir(options.dataDir, filter)
    this.#positions = new Positions(options.positions)
    this.#flags = new SharedFlags(options.flags)
    this.#flags.peerThreadId = threadId()
    this.#fs = new MailboxSender<FsMessage>(options.mailboxFd)
    if (options.isPrimary) return
    this.#openLog()
    this.#recovered = new Map(recoverDatabases(this.#dataDir, this.#positions, log))
  }

  #openLog(): void {
    this.#commitLog = openCommitLog(this.#dataDir, log, {
      isFree: (segment) => this.#flags.isSegmentFree(segment),
      onFull: (segment) => {
        this.#flags.setSegmentFree(segment, false)
        this.#releaseSegment(segment)
      },
    })
  }

  /** Databases whose saved checksums were believed. */
  get believed(): string[] {
    return believed(this.#recovered)
  }

  handle(command: Exclude<PeerCommand, { type: "start" }>): void {
    switch (command.type) {
      case "mounted":
        this.#cache = new KernelCache(command.device)
        return
      case "ltx":
        return this.#receive(command)
      case "ltx-abort":
        this.#incoming.get(command.file)?.discard()
        this.#incoming.delete(command.file)
        return
      case "verdict":
        return this.#takeVerdict(command.file, command.database, command.verdict)
      case "primary":
        this.#primaryName = command.name ?? this.#primaryName
        this.#fs.send({ type: "primary", name: command.name })
        this.#cache?.forgetName(".primary")
        return
      case "freeze":
        return this.#freeze(command.snapshot, command.database)
      case "thaw":
        this.#thaws.get(command.snapshot)?.()
        this.#thaws.delete(command.snapshot)
        return
      case "import":
        return this.#import(command)
      case "replaced":
        this.#replacing.get(command.request)?.(command.outcome)
        this.#replacing.delete(command.request)
        return
      case "snapshot":
        return this.#sendSnapshot(command)
      case "snapshot-credit":
        this.#snapshots.get(command.snapshot)?.addCredit(command.size)
        return
      case "snapshot-cancel":
        this.#snapshots.get(command.snapshot)?.cancel()
        return
      case "maintain":
        return this.#maintain(command.request)
      case "rewritten":
        return this.#forgetFile(command.database)
      case "publish":
        return this.#publishLast(command.database, command.last)
      case "lock-writes":
        return void this.#lockWrites(command)
      case "unlock-writes":
        return this.#unlockWrites(command.lock)
      case "give":
        return void this.#give(command.request, command.database)
      case "take":
        return void this.#take(command.request, command.handover, command.lock)
      case "let-go-of":
        return this.#letGoOf(command.request, command.database)
      case "hand-over":
        return void this.#handOver()
      case "let-go":
        return this.#letGo()
      case "take-over":
        return void this.#takeOver(command.handovers).catch(fail)
      case "release-segment":
        return this.#releaseSegment(command.segment)
      case "settle":
        this.#settle()
        return tell({ type: "settled" })
      case "detach":
        void this.#detach().then(() => tell({ type: "detached" }))
        return
      default:
        unreachable(command)
    }
  }

  #receive({ file, database: name, bytes, isLast }: Extract<PeerCommand, { type: "ltx" }>): void {
    try {
      if (this.#given.has(name)) throw isGiven(name)
      const database = this.#database(name)
      const incoming = this.#incoming.get(file) ?? database.receive()
      this.#incoming.set(file, incoming)
      incoming.push(bytes)
      if (!isLast) return tell({ type: "taken", size: bytes.length })
      this.#incoming.delete(file)
      incoming.finish()
      this.#enqueue(name, async () => {
        try {
          await database.accept(incoming)
          await this.#lent.get(name)?.coverWal(name)
          tell({ type: "applied", file, database: name })
        } catch (error) {
          incoming.discard()
          this.#refuse(file, name, error)
        }
        tell({ type: "taken", size: bytes.length })
      })
    } catch (error) {
      this.#incoming.delete(file)
      this.#refuse(file, name, error)
      tell({ type: "taken", size: bytes.length })
    }
  }

  #takeVerdict(file: number, name: string, verdict: HistoryVerdict): void {
    try {
      const incoming = this.#database(name).receive()
      incoming.verdict = verdict
      this.#incoming.set(file, incoming)
    } catch {
      // The first part of the file finds the same, and tells it.
    }
  }

  /** Between two commands file and state belong together: an apply changes both in one go. */
  #freeze(snapshot: number, name: string): void {
    try {
      const isHere = this.#positions.find(name) !== undefined && !this.#given.has(name)
      const database = isHere ? this.#database(name) : undefined
      const view = database?.freeze(`${this.#dataDir.databaseDir(name)}/snapshot-${snapshot}`)
      if (view !== undefined) this.#thaws.set(snapshot, () => database?.thaw(view))
      tell({ type: "frozen", snapshot, state: view?.state })
    } catch (error) {
      log.warn("cannot freeze a database", { db: name, error })
      tell({ type: "frozen", snapshot, state: undefined })
    }
  }

  async #detach(): Promise<void> {
    this.#stopping.abort(new LitefsError("unavailable", "Cannot go on: the node is stopping"))
    for (const lock of [...this.#writeLocks.keys()]) this.#unlockWrites(lock)
    for (const database of this.#databases.values()) database.detach()
    await Promise.all(this.#imports)
  }

  #import({ request, database, file }: Extract<PeerCommand, { type: "import" }>): void {
    const done = Promise.withResolvers<void>()
    this.#imports.add(done.promise)
    this.#enqueue(database, async () => {
      try {
        const pos = await importDatabase(
          {
            fuseDir: this.#options.fuseDir,
            dataDir: this.#dataDir,
            cache: must(this.#cache, "mount"),
            clock: systemClock,
            log,
            signal: this.#stopping.signal,
            replace: (replace) => this.#replace(replace),
          },
          database,
          file,
        )
        tell({ type: "imported", request, result: { kind: "done", pos } })
      } catch (error) {
        const code = error instanceof LitefsError ? error.code : "io"
        const result = { kind: "failed", code, message: messageOf(error) } as const
        tell({ type: "imported", request, result })
      }
      this.#imports.delete(done.promise)
      done.resolve()
    })
  }

  #replace(replace: ReplaceRequest): Promise<ReplaceOutcome> {
    const request = this.#nextReplace++
    const { promise, resolve } = Promise.withResolvers<ReplaceOutcome>()
    this.#replacing.set(request, resolve)
    this.#fs.send({ type: "replace", request, replace })
    return promise
  }

  #sendSnapshot(command: Extract<PeerCommand, { type: "snapshot" }>): void {
    const { snapshot, database, state, format } = command
    const { nodeId } = this.#options
    const end = (problem: string | undefined) => {
      this.#snapshots.delete(snapshot)
      tell({ type: "snapshot-end", snapshot, problem })
    }
    let reader: SnapshotReader
    try {
      reader = new SnapshotReader(this.#dataDir, database, state, format, nodeId)
    } catch (error) {
      return end(messageOf(error))
    }
    this.#snapshots.set(snapshot, reader)
    reader
      .send((bytes) => tell({ type: "snapshot-data", snapshot, bytes }))
      .then(
        () => end(undefined),
        (error) => end(messageOf(error)),
      )
  }

  #forgetFile(name: string): void {
    try {
      this.#cache?.forgetFile(nodeIdAt(this.#options.fuseDir, name))
    } catch (error) {
      // What is not there any more is not cached. Otherwise clients may read pages that have changed.
      log.warn("cannot have the kernel forget a database", { db: name, error })
    }
  }

  #maintain(request: Extract<PeerCommand, { type: "maintain" }>["request"]): void {
    const { database: name } = request
    const writtenTxid = request.writtenTxid ?? this.#databases.get(name)?.writtenTxid ?? 0n
    let removed = 0
    try {
      const onUsage = (count: number, size: number) => {
        tell({ type: "ltx-usage", database: name, count, size })
      }
      const nowMs = systemClock.wallMs()
      removed = maintain({ ...request, writtenTxid }, this.#dataDir, nowMs, log, onUsage)
    } catch (error) {
      log.warn("cannot sync a database and remove old LTX files", { db: name, error })
    }
    tell({ type: "maintained", database: name, removed })
  }

  #publishLast(name: string, last: LastTransaction): void {
    try {
      if (publish(this.#options.fuseDir, name, last)) {
        log.info("published the last transaction of a client that died", { db: name })
      }
    } catch (error) {
      // Then the next writer does not know of it, and it is taken back.
      log.warn("cannot publish the last transaction of a client that died", { db: name, error })
    }
    tell({ type: "published", database: name })
  }

  #releaseSegment(segment: number): void {
    try {
      syncFileSystem("log:syncfs", this.#dataDir.root)
      this.#flags.setSegmentFree(segment, true)
    } catch (error) {
      // Until it works, commits are written to LTX files directly.
      log.error("cannot set a segment of the commit log free", { error })
    }
  }

  #settle(): void {
    const healthy = [...this.#recovered].filter(([, state]) => state !== undefined)
    for (const name of new Set([...healthy.map(([name]) => name), ...this.#databases.keys()])) {
      try {
        this.#database(name).settle()
      } catch (error) {
        log.warn("cannot leave a database ready for a quick start", { db: name, error })
      }
    }
    closeLog(this.#commitLog)
  }

  async #lockWrites({
    lock,
    databases,
    limitMs,
    isApplying,
  }: Extract<PeerCommand, { type: "lock-writes" }>): Promise<void> {
    try {
      const locks = await WriteLocks.acquire({
        directory: this.#options.fuseDir,
        databases,
        clock: systemClock,
        limitMs,
        signal: this.#stopping.signal,
        isWalMode: (name) => usesWal(this.#dataDir, name),
      })
      this.#writeLocks.set(lock, locks)
      // What is synced now need not be when the commit log is closed, which everybody waits for.
      if (!isApplying) syncFileSystem("log:syncfs", this.#dataDir.root)
      tell({ type: "locked", lock, problem: undefined })
    } catch (error) {
      this.#unlockWrites(lock)
      tell({ type: "locked", lock, problem: messageOf(error) })
    }
  }

  #unlockWrites(lock: number): void {
    const locks = this.#writeLocks.get(lock)
    for (const [name, held] of this.#lent) if (held === locks) this.#lent.delete(name)
    locks?.release()
    this.#writeLocks.delete(lock)
  }

  /** One database, when what has come for it is applied. Its files stay open until `let-go-of`. */
  async #give(request: number, name: string): Promise<void> {
    await this.#queues.get(name)
    const result = outcomeOf(() => {
      if (this.#positions.find(name) === undefined) {
        throw new LitefsError("not-found", `database not found: "${name}"`)
      }
      const handover = this.#handOverOne(name)
      if (handover.state === undefined) throw damaged(name)
      if (handover.disguise === 0) {
        this.#given.add(name)
        return handover
      }
      const advice = "restart this node first"
      throw new LitefsError(
        "unsupported",
        `Cannot borrow "${name}": its clients have seen another history of it, ${advice}`,
      )
    })
    tell({ type: "given", request, result })
  }

  #letGoOf(request: number, name: string): void {
    const result = outcomeOf(() => {
      this.#databases.get(name)?.detach()
      this.#databases.delete(name)
      this.#recovered.delete(name)
      this.#lent.delete(name)
      this.#forgetRole([name])
      return undefined
    })
    tell({ type: "exchanged", request, result })
  }

  async #take(
    request: number,
    handover: DatabaseHandover,
    lock: number | undefined,
  ): Promise<void> {
    const { name, state, isUndone } = handover
    const result = outcomeOf(() => {
      this.#given.delete(name)
      this.#databases.get(name)?.detach() // what it was before
      this.#databases.delete(name)
      if (state === undefined) {
        this.#recovered.set(name, undefined)
        throw damaged(name)
      }
      if (isUndone) this.#forgetTransaction(name)
      this.#recovered.set(name, historyState(state))
      const locks = lock === undefined ? undefined : this.#writeLocks.get(lock)
      if (locks !== undefined) this.#lent.set(name, locks)
      locks?.applying(name)
      this.#database(name, handover)
      return undefined
    })
    const database = this.#databases.get(name)
    if (database !== undefined) {
      await this.#attach(database)
      this.#forgetRole([name])
    }
    tell({ type: "exchanged", request, result })
  }

  async #handOver(): Promise<void> {
    try {
      for (const incoming of this.#incoming.values()) incoming.discard()
      this.#incoming.clear()
      await Promise.all(this.#queues.values())
      const names = new Set([...this.#recovered.keys(), ...this.#databases.keys()])
      const handovers = [...names].map((name) => this.#handOverOne(name))
      this.#commitLog?.clear()
      this.#commitLog?.close()
      this.#commitLog = undefined
      this.#recovered = new Map()
      tell({ type: "handed-over", result: { kind: "done", handovers } })
    } catch (error) {
      tell({ type: "handed-over", result: { kind: "failed", message: messageOf(error) } })
    }
  }

  #handOverOne(name: string): DatabaseHandover {
    const isDamaged = this.#recovered.has(name) && this.#recovered.get(name) === undefined
    return isDamaged ? damagedHandover(name) : this.#database(name).handOver()
  }

  #letGo(): void {
    const names = [...this.#databases.keys()]
    for (const database of this.#databases.values()) database.detach()
    this.#databases.clear()
    this.#given.clear()
    this.#queues.clear()
    this.#forgetRole(names)
    tell({ type: "switched" })
  }

  async #takeOver(handovers: readonly DatabaseHandover[]): Promise<void> {
    this.#openLog()
    this.#given.clear()
    this.#recovered = new Map(
      handovers.map(({ name, state }) => [name, state && historyState(state)]),
    )
    for (const handover of handovers) {
      if (handover.state === undefined) continue
      const { name, isUndone } = handover
      // Before anybody reads what was not committed: he would take it for what has the same counters later.
      if (isUndone) this.#forgetTransaction(name)
      await this.#attach(this.#database(name, handover))
    }
    this.#forgetRole([...this.#databases.keys()])
    for (const lock of [...this.#writeLocks.keys()]) this.#unlockWrites(lock)
    tell({ type: "switched" })
  }

  /** What the kernel has of a transaction that came to nothing. */
  #forgetTransaction(name: string): void {
    this.#forgetFile(name)
    this.#cache?.forgetName(`${name}-journal`)
  }

  /** A client that has the database for itself (locking_mode) is not waited for: transactions are, then. */
  async #attach(database: ReplicaDatabase): Promise<void> {
    const { name } = database
    const attached = Promise.withResolvers<void>()
    this.#enqueue(name, async () => {
      try {
        await database.attach()
      } catch (error) {
        log.warn("cannot keep the WAL of a database", { db: name, error }) // the next transaction tries again
      }
      attached.resolve()
    })
    await Promise.race([attached.promise, sleep(systemClock, ATTACH_MS_MAX)])
  }

  /** What the kernel knows of the permissions of databases and of the directory, and of `.primary`. */
  #forgetRole(names: readonly string[]): void {
    this.#cache?.forgetName(".primary")
    for (const name of names) {
      try {
        this.#cache?.forgetAttributes(nodeIdAt(this.#options.fuseDir, name))
      } catch {
        // A database that was dropped, or has no content yet, has no file.
      }
    }
  }

  #refuse(file: number, database: string, error: unknown): void {
    const code = error instanceof LitefsError ? error.code : "io"
    tell({ type: "refused", file, database, code, message: messageOf(error) })
  }

  #enqueue(name: string, work: () => Promise<void>): void {
    const before = this.#queues.get(name) ?? Promise.resolve()
    this.#queues.set(name, before.then(work))
  }

  #database(name: string, view?: ClientView): ReplicaDatabase {
    const known = this.#databases.get(name)
    if (known !== undefined) return known
    validateDatabaseName(name)
    if (this.#given.has(name)) throw isGiven(name)
    if (this.#recovered.has(name) && this.#recovered.get(name) === undefined) {
      throw new LitefsError("damaged", `Cannot apply to "${name}": it is damaged, see the log`)
    }
    this.#dataDir.createDatabase(name)
    const database = new ReplicaDatabase(
      name,
      {
        dataDir: this.#dataDir,
        clock: systemClock,
        transactions: this.#commitLog ?? directLog,
        log,
        makeApplier: (database, view) =>
          new DatabaseApplier({
            ...{ ...this.#surroundings(), ...view, name, database },
            isWriteHeld: () => this.#lent.get(name)?.holdsWrite(name) === true,
          }),
        switchFiles: (files) =>
          switchFiles(
            { ...this.#surroundings(), tellFs: (message) => this.#fs.send(message) },
            files,
          ),
        primaryName: () => this.#primaryName,
        diverged: () => tell({ type: "diverged", database: name }),
        publish: (_, state) => this.#publish(name, state),
        dropped: () => {
          this.#fs.send({ type: "dropped", database: name })
          this.#cache?.forgetName(name)
        },
      },
      this.#recovered.get(name) ?? emptyHistoryState(),
      view,
    )
    this.#databases.set(name, database)
    return database
  }

  #surroundings() {
    return {
      dataDir: this.#dataDir,
      fuseDir: this.#options.fuseDir,
      cache: must(this.#cache, "mount"),
      clock: systemClock,
      log,
      signal: this.#stopping.signal,
    }
  }

  #publish(name: string, state: HistoryState): void {
    const isNew = this.#positions.find(name) === undefined
    const slot = this.#positions.add(name)
    const wasDropped = this.#positions.read(slot).commit === 0
    this.#positions.write(slot, state, state.pos)
    if (isNew || wasDropped) this.#cache?.forgetName(name)
    if (this.#flags.raiseChanged()) tell({ type: "changed" })
  }
}

/** The file tells it, but for clients that go on with a WAL. From RESERVED on that does not change. */
function usesWal(dataDir: DataDir, name: string): boolean {
  using wal = FileSource.open(dataDir.path(name, "wal"))
  return (wal?.size ?? 0) > 0 || readJournalMode(dataDir.path(name, "database")) === "wal"
}

function damaged(name: string): LitefsError {
  return new LitefsError("damaged", `Cannot lend "${name}": it is damaged, see the log`)
}

function isGiven(name: string): LitefsError {
  return new LitefsError(
    "unavailable",
    `Cannot apply to "${name}": clients of this node write to it`,
  )
}

function fail(error: unknown): void {
  tell({ type: "failed", message: messageOf(error) })
}

function closeLog(commitLog: CommitLog | undefined): void {
  try {
    commitLog?.clear()
  } catch (error) {
    log.warn("cannot empty the commit log, the next start does", { error })
  }
  commitLog?.close()
}

function tell(event: PeerEvent): void {
  self.postMessage(event)
}

let thread: PeerThread | undefined

self.onmessage = ({ data }: MessageEvent<PeerCommand>) => {
  try {
    if (data.type === "start") {
      thread = new PeerThread(data.options)
      tell({ type: "ready", believed: thread.believed })
    } else {
      must(thread, "peer thread").handle(data)
    }
  } catch (error) {
    tell({ type: "failed", message: messageOf(error) })
  }
}
