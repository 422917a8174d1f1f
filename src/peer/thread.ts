/**
 * The peer thread: a Worker that acts on databases as one more SQLite process.
 *
 *   new Worker ── start ──▶ ready ── mounted ──▶ serving commands ── detach ──▶ detached
 *
 * On a replica it applies transactions. Roles change while it serves (cluster/role/member.ts):
 *
 *   replica ─▶ primary   hand-over: finish what has come, close the commit log ─▶ (fs thread takes over)
 *                        ─▶ let-go: close files, tell the kernel
 *   primary ─▶ replica   lock-writes ─▶ (fs thread hands over)
 *                        ─▶ take-over: open the commit log, hold the files, tell the kernel, unlock
 *
 * The thread itself only takes commands, and starts and ends: what it has is in replica-databases.ts,
 * incoming-files.ts, held-locks.ts, snapshots.ts and imports.ts.
 *
 * It may wait for locks, for the mount and for the disk; commands for one database are done in order, those
 * for different databases do not wait for each other.
 */
import { join } from "node:path"
import type { DatabaseHandover } from "../capture/handover.ts"
import type { LastTransaction } from "../capture/wal-tracker.ts"
import { must, unreachable } from "../lib/assert.ts"
import { Callee } from "../lib/calls.ts"
import { sleep, systemClock } from "../lib/clock.ts"
import { LitefsError, messageOf } from "../lib/errors.ts"
import { configureLog, logger } from "../lib/log.ts"
import type { FsMessage } from "../mount/messages.ts"
import { Counters } from "../store/counters.ts"
import { DataDir } from "../store/data-dir.ts"
import { Positions } from "../store/positions.ts"
import { SharedFlags } from "../store/shared-flags.ts"
import { SpareFiles } from "../store/spare-files.ts"
import { watchFullDisk } from "../sys/errno.ts"
import { closeFile, O_CREAT, O_RDWR, openFile } from "../sys/file.ts"
import { MailboxSender } from "../sys/mailbox.ts"
import { Garbage } from "../sys/process/garbage.ts"
import { keepSpareDescriptors, refillSpares } from "../sys/spare-descriptors.ts"
import { threadId } from "../sys/thread.ts"
import { DatabaseFilter } from "../wire/database-filter.ts"
import { MountCache } from "./files/mount-cache.ts"
import { HaltBytes } from "./locks/halt-bytes.ts"
import { HeldLocks } from "./locks/held-locks.ts"
import type {
  PeerCalls,
  PeerCommand,
  PeerEvent,
  PeerThreadOptions,
  UpkeepRequest,
} from "./messages.ts"
import { IncomingFiles } from "./receive/incoming-files.ts"
import { ReplicaDatabases } from "./receive/replica-databases.ts"
import { Imports } from "./serve/imports.ts"
import { Maintenance } from "./serve/maintenance.ts"
import { Snapshots } from "./serve/snapshots.ts"
import { publish } from "./wal/wal-publisher.ts"

declare const self: Worker

const log = logger("peer")
const callee = new Callee<PeerCalls>(tell)

const SPARES_AT_ONCE = 8

/** A database that changes hands needs four; connections have the same table. */
const SPARE_DESCRIPTORS = 32

class PeerThread {
  readonly #options: PeerThreadOptions
  readonly #fs: MailboxSender<FsMessage>
  readonly #stopping = new AbortController()
  readonly #cache: MountCache
  readonly #locks: HeldLocks
  readonly #haltBytes: HaltBytes
  readonly #maintenance: Maintenance
  readonly #databases: ReplicaDatabases
  readonly #incoming: IncomingFiles
  readonly #snapshots: Snapshots
  readonly #imports: Imports
  readonly #spares: SpareFiles
  readonly #counters: Counters
  readonly #garbage = new Garbage(systemClock)
  #isCollecting = false // or about to

  constructor(options: PeerThreadOptions) {
    this.#options = options
    configureLog(options.log)
    const { fuseDir, hostname, nodeId } = options
    const filter = options.databases && DatabaseFilter.of(options.databases)
    const dataDir = new DataDir(options.dataDir, filter, options.access)
    const positions = new Positions(options.positions)
    const flags = new SharedFlags(options.flags)
    flags.peerThreadId = threadId()
    this.#fs = new MailboxSender<FsMessage>(options.mailboxFd)
    const tellFs = (message: FsMessage) => this.#fs.send(message)
    const { signal } = this.#stopping
    const cache = new MountCache(fuseDir, log)
    const locks = new HeldLocks({ fuseDir, hostname, dataDir, signal })
    const maintenance = new Maintenance({
      ...{ dataDir, clock: systemClock, log },
      onUsage: (database, count, size) => tell({ type: "ltx-usage", database, count, size }),
    })
    const databases = new ReplicaDatabases({
      replacing: (database) => maintenance.replacing(database),
      ...{ fuseDir, dataDir, positions, flags, locks, cache, log, signal, tell, tellFs },
    })
    this.#cache = cache
    this.#locks = locks
    this.#haltBytes = new HaltBytes({ fuseDir, clock: systemClock, signal, tellFs })
    this.#maintenance = maintenance
    this.#databases = databases
    this.#incoming = new IncomingFiles({ databases, locks, tell })
    this.#snapshots = new Snapshots({ dataDir, nodeId, positions, databases, log, tell })
    this.#imports = new Imports({ fuseDir, dataDir, databases, cache, log, signal, tellFs })
    this.#spares = new SpareFiles(flags.spareFiles, dataDir.root)
    this.#spares.removeLeftovers()
    this.#counters = new Counters(options.counters)
    watchFullDisk(() => {
      flags.noteFull()
      if (flags.raiseChanged()) tell({ type: "changed" })
    })
    keepSpareDescriptors({
      count: SPARE_DESCRIPTORS,
      isUrgent: () => true,
      onShort: (isShort) => {
        flags.setShort("peer", isShort)
        if (isShort) log.warn("no more files can be opened, raise the limit (ulimit -n)")
      },
    })
    if (!options.isPrimary) databases.recover()
  }

  /** Databases whose saved checksums were believed. */
  get believed(): string[] {
    return this.#databases.believed
  }

  handle(command: Exclude<PeerCommand, { type: "start" }>): void {
    this.#collectSoon()
    switch (command.type) {
      case "mounted":
        return this.#cache.mounted(command.device)
      case "ltx":
        return this.#incoming.receive(command)
      case "ltx-abort":
        return this.#incoming.abort(command.file)
      case "verdict":
        return this.#incoming.takeVerdict(command.file, command.database, command.verdict)
      case "primary":
        this.#databases.setPrimary(command.name)
        this.#fs.send({ type: "primary", name: command.name })
        return this.#cache.forgetName(".primary")
      case "freeze":
        return callee.answer(command, this.#snapshots.freeze(command.snapshot, command.database))
      case "thaw":
        return this.#snapshots.thaw(command.snapshot)
      case "import":
        return callee.answerLater(command, this.#imports.import(command.database, command.file))
      case "replaced":
        return this.#imports.replaced(command.request, command.outcome)
      case "snapshot":
        return this.#snapshots.send(command)
      case "snapshot-credit":
        return this.#snapshots.addCredit(command.snapshot, command.size)
      case "snapshot-cancel":
        return this.#snapshots.cancel(command.snapshot)
      case "maintain":
        return callee.answerLater(command, this.#maintain(command.request))
      case "rewritten":
        return this.#cache.forgetFile(command.database)
      case "retire":
        return this.#databases.retire(command.database)
      case "vanished":
        return this.#cache.forgetName(command.name)
      case "write-refused":
        return this.#cache.forgetRange(command)
      case "publish":
        return callee.answer(command, this.#publishLast(command.database, command.last))
      case "make-database":
        return callee.attempt(command, () => this.#makeDatabase(command.database))
      case "hold-lock-file":
        return callee.answerLater(command, this.#haltBytes.hold(command.database))
      case "lock-file-granted":
        return this.#haltBytes.granted(command.database, command.isGranted)
      case "let-lock-file-go":
        return this.#haltBytes.letGo(command.database)
      case "lock-writes":
        return callee.answerLater(command, this.#locks.lockWrites(command))
      case "unlock-writes":
        return this.#locks.unlockWrites(command.lock)
      case "give":
        return callee.answerLater(command, this.#databases.give(command.database))
      case "take":
        return callee.answerLater(command, this.#databases.take(command.handover, command.lock))
      case "let-go-of":
        return callee.attempt(command, () => this.#databases.letGoOf(command.database))
      case "hand-over":
        return callee.answerLater(command, this.#handOver())
      case "let-go":
        return callee.answer(command, this.#databases.letGo())
      case "take-over":
        this.#takeOver(command.handovers).then(() => callee.answer(command, undefined), fail)
        return
      case "release-segment":
        return this.#databases.releaseSegment(command.segment)
      case "measure":
        refillSpares()
        return this.#counters.measureHeap("peer")
      case "make-spares":
        return void this.#makeSpares()
      case "settle":
        this.#databases.settle()
        return tell({ type: "settled" })
      case "detach":
        void this.#detach().then(() => tell({ type: "detached" }))
        return
      default:
        unreachable(command)
    }
  }

  /** What comes from the main thread is not of this thread's heap, and is not seen to fill it. */
  #collectSoon(): void {
    const waitMs = this.#garbage.worked()
    if (this.#isCollecting || waitMs === undefined) return
    this.#isCollecting = true
    systemClock.after(waitMs, () => {
      this.#isCollecting = false
      const leftMs = this.#garbage.idle()
      if (leftMs !== undefined) this.#collectSoon()
    })
  }

  async #maintain(request: UpkeepRequest): Promise<number> {
    const { database: name } = request
    const writtenTxid = request.writtenTxid ?? this.#databases.known(name)?.writtenTxid ?? 0n
    try {
      return await this.#maintenance.maintain({ ...request, writtenTxid })
    } catch (error) {
      log.warn("cannot sync a database and remove old LTX files", { db: name, error })
      return 0
    }
  }

  #makeDatabase(name: string): void {
    try {
      closeFile(openFile("mount:open", join(this.#options.fuseDir, name), O_RDWR | O_CREAT))
    } catch (error) {
      throw new LitefsError("unavailable", `Cannot make database "${name}": ${messageOf(error)}`)
    }
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
  }

  /** A few at a time: between them the thread does what else there is. */
  async #makeSpares(): Promise<void> {
    try {
      while (this.#spares.make(SPARES_AT_ONCE)) await sleep(systemClock, 0)
    } catch (error) {
      // Then the fs thread makes its files itself, and says so if it cannot.
      log.debug("cannot make files for transactions in advance", { error })
    }
  }

  /** When it fails, nothing has changed. */
  async #handOver(): Promise<DatabaseHandover[]> {
    try {
      this.#incoming.discard()
      return await this.#databases.handOver()
    } catch (error) {
      throw new LitefsError("unavailable", messageOf(error))
    }
  }

  async #takeOver(handovers: readonly DatabaseHandover[]): Promise<void> {
    await this.#databases.takeOver(handovers)
    this.#locks.unlockAll()
  }

  async #detach(): Promise<void> {
    this.#stopping.abort(new LitefsError("unavailable", "Cannot go on: the node is stopping"))
    this.#locks.unlockAll()
    this.#haltBytes.close()
    this.#databases.detach()
    await this.#imports.ended()
  }
}

function fail(error: unknown): void {
  tell({ type: "failed", message: messageOf(error) })
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
