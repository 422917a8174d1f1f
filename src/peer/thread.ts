/**
 * The peer thread: a Worker that acts on databases as one more SQLite process.
 *
 *   new Worker ── start ──▶ ready ── mounted ──▶ serving ── detach ──▶ detached
 *
 * It applies transactions to its databases, which change while it serves (capture/ownership.ts).
 *
 * The thread itself only takes its orders (contract.ts), and starts and ends. Its work is in replica-databases.ts,
 * incoming-files.ts, held-locks.ts, snapshots.ts and imports.ts.
 *
 * Work on one database is done in order. A wait for a client's lock holds up no work on other databases. A system call
 * holds up everything: while the thread reads through the mount, writes or syncs, all databases wait.
 */
import { join } from "node:path"
import type { MessagePort } from "node:worker_threads"
import type { DatabaseHandover } from "../capture/handover.ts"
import type { LastTransaction } from "../capture/wal-tracker.ts"
import { must } from "../lib/assert.ts"
import { sleep, systemClock } from "../lib/clock.ts"
import { LitefsError, messageOf } from "../lib/errors.ts"
import { configureLog, logger, onLine } from "../lib/log.ts"
import { type Message, type Offers, Port } from "../lib/port.ts"
import type { FsPeer, FsThreadOfPeer } from "../mount/contract.ts"
import { mailable } from "../mount/fs-mailbox.ts"
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
import type {
  KeptWrites,
  PeerHost,
  PeerThread,
  PeerThreadOptions,
  RecoveredDatabase,
  UpkeepRequest,
} from "./contract.ts"
import { MountCache } from "./files/mount-cache.ts"
import { HaltBytes } from "./locks/halt-bytes.ts"
import { HeldLocks } from "./locks/held-locks.ts"
import { IncomingFiles } from "./receive/incoming-files.ts"
import { ReplicaDatabases } from "./receive/replica-databases.ts"
import { Imports } from "./serve/imports.ts"
import { Maintenance } from "./serve/maintenance.ts"
import { Snapshots } from "./serve/snapshots.ts"
import { publish } from "./wal/wal-publisher.ts"

declare const self: Worker

const log = logger("peer")

const SPARES_AT_ONCE = 8

/** A database that changes hands needs four; connections share the table. */
const SPARE_DESCRIPTORS = 32

class Peer {
  readonly #options: PeerThreadOptions
  readonly fs: Port<FsPeer, FsThreadOfPeer>
  readonly #stopping = new AbortController()
  readonly cache: MountCache
  readonly locks: HeldLocks
  readonly haltBytes: HaltBytes
  readonly #maintenance: Maintenance
  readonly databases: ReplicaDatabases
  readonly incoming: IncomingFiles
  readonly snapshots: Snapshots
  readonly imports: Imports
  readonly #spares: SpareFiles
  readonly counters: Counters
  readonly #garbage = new Garbage(systemClock)
  #isCollecting = false // or about to

  constructor(options: PeerThreadOptions, fromFs: MessagePort) {
    this.#options = options
    configureLog(options.log)
    onLine((line) => main.tell("logged", line))
    const { fuseDir, hostname, nodeId } = options
    const filter = options.databases && DatabaseFilter.of(options.databases)
    const dataDir = new DataDir(options.dataDir, filter, options.access)
    const positions = new Positions(options.positions)
    const flags = new SharedFlags(options.flags)
    flags.peerThreadId = threadId()
    const mailbox = new MailboxSender<Message>(options.mailboxFd)
    const fs = new Port<FsPeer, FsThreadOfPeer>({
      send: (message) => mailbox.send(mailable(message)),
      offers: {
        publish: (database, last) => this.publishLast(database, last),
        rewritten: (database) => this.cache.forgetFile(database),
        walRemoved: (database) => this.databases.rejoin(database),
        holdLockFile: (database) => this.haltBytes.hold(database),
        lockFileGranted: (database, isGranted) => this.haltBytes.granted(database, isGranted),
        letLockFileGo: (database) => this.haltBytes.letGo(database),
      },
      defect: fail,
    })
    this.fs = fs
    const { signal } = this.#stopping
    const cache = new MountCache(fuseDir, log)
    const locks = new HeldLocks({ fuseDir, hostname, dataDir, signal })
    const maintenance = new Maintenance({
      ...{ dataDir, clock: systemClock, log },
      onUsage: (database, count, size) => main.tell("ltxUsage", database, count, size),
    })
    const databases = new ReplicaDatabases({
      replacing: (database) => maintenance.replacing(database),
      ...{ fuseDir, dataDir, positions, flags, locks, cache, log, signal, main, fs },
    })
    this.cache = cache
    this.locks = locks
    this.haltBytes = new HaltBytes({ fuseDir, clock: systemClock, signal, fs })
    this.#maintenance = maintenance
    this.databases = databases
    this.incoming = new IncomingFiles({ databases, locks, main })
    this.snapshots = new Snapshots({ dataDir, nodeId, positions, databases, log, main })
    this.imports = new Imports({ fuseDir, dataDir, databases, cache, log, signal, main })
    this.#spares = new SpareFiles(flags.spareFiles, dataDir.root)
    this.#spares.removeLeftovers()
    this.counters = new Counters(options.counters)
    watchFullDisk(() => {
      flags.noteFull()
      if (flags.raiseChanged()) main.tell("changed")
    })
    keepSpareDescriptors({
      count: SPARE_DESCRIPTORS,
      isUrgent: () => true,
      onShort: (isShort) => {
        flags.setShort("peer", isShort)
        if (isShort) log.warn("no more files can be opened, raise the limit (ulimit -n)")
      },
    })
    if (!options.isPrimary) databases.recover(options.lastRun)
    fromFs.onmessage = ({ data }: { data: Message }) => {
      this.collectSoon()
      fs.receive(data)
    }
  }

  /** Messages from the main thread do not count as this thread's heap, and its collector does not see them fill it. */
  collectSoon(): void {
    const waitMs = this.#garbage.worked()
    if (this.#isCollecting || waitMs === undefined) return
    this.#isCollecting = true
    systemClock.after(waitMs, () => {
      this.#isCollecting = false
      const leftMs = this.#garbage.idle()
      if (leftMs !== undefined) this.collectSoon()
    })
  }

  recover(name: string): RecoveredDatabase {
    return this.databases.recoverAgain(name, this.#options.lastRun)
  }

  setPrimary(name: string | undefined): void {
    this.databases.setPrimary(name)
    this.fs.tell("primary", name)
    this.cache.forgetName(".primary")
  }

  async maintain(request: UpkeepRequest): Promise<number> {
    const { database: name } = request
    this.databases.mendIndex(name)
    const written = request.written ?? this.databases.known(name)?.written
    try {
      return await this.#maintenance.maintain({
        ...request,
        writtenTxid: written?.txid ?? 0n,
        state: written?.state,
      })
    } catch (error) {
      log.warn("cannot sync a database and remove old LTX files", { db: name, error })
      return 0
    }
  }

  makeDatabase(name: string): void {
    try {
      closeFile(openFile("mount:open", join(this.#options.fuseDir, name), O_RDWR | O_CREAT))
    } catch (error) {
      throw new LitefsError("unavailable", `Cannot make database "${name}": ${messageOf(error)}`)
    }
  }

  publishLast(name: string, last: LastTransaction): void {
    try {
      if (publish(this.#options.fuseDir, name, last)) {
        log.info("published the last transaction of a client that died", { db: name })
      }
    } catch (error) {
      // The next writer does not know of it then, and it is taken back.
      log.warn("cannot publish the last transaction of a client that died", { db: name, error })
    }
  }

  /** Makes a few at a time: in between the thread does its other work. */
  async makeSpares(): Promise<void> {
    try {
      while (this.#spares.make(SPARES_AT_ONCE)) await sleep(systemClock, 0)
    } catch (error) {
      // The fs thread then makes its files itself, and says so if it cannot.
      log.debug("cannot make files for transactions in advance", { error })
    }
  }

  /** A failure changes nothing. */
  async handOver(): Promise<DatabaseHandover[]> {
    try {
      this.incoming.discard()
      return await this.databases.handOver()
    } catch (error) {
      throw new LitefsError("unavailable", messageOf(error))
    }
  }

  async inherit(handovers: readonly DatabaseHandover[], kept?: KeptWrites): Promise<void> {
    if (kept !== undefined) this.locks.keep(kept.databases, kept.lock)
    await this.databases.inherit(handovers)
    this.locks.unlockAll()
  }

  async detach(): Promise<void> {
    this.#stopping.abort(new LitefsError("unavailable", "Cannot go on: the node is stopping"))
    this.locks.unlockAll()
    this.locks.letAllGo()
    this.haltBytes.close()
    this.databases.detach()
    await this.imports.ended()
  }
}

let started: Peer | undefined

function peer(): Peer {
  return must(started, "peer thread")
}

const offers: Offers<PeerThread> = {
  start: (...given) =>
    orFail(() => {
      started = new Peer(...given)
      return started.databases.believed
    }),
  recover: (database) => peer().recover(database),
  mounted: (...mount) => peer().cache.mounted(...mount),
  primary: (name) => peer().setPrimary(name),
  judge: (...verdict) => peer().incoming.judge(...verdict),
  ltx: (...part) => peer().incoming.receive(...part),
  abort: (file) => peer().incoming.abort(file),
  freeze: (snapshot, database) => peer().snapshots.freeze(snapshot, database),
  thaw: (snapshot) => peer().snapshots.thaw(snapshot),
  snapshot: (...asked) => peer().snapshots.send(...asked),
  snapshotCredit: (snapshot, size) => peer().snapshots.addCredit(snapshot, size),
  cancelSnapshot: (snapshot) => peer().snapshots.cancel(snapshot),
  lockWrites: (...asked) => peer().locks.lockWrites(...asked),
  checkWrites: (...asked) => peer().locks.checkWrites(...asked),
  unlockWrites: (lock) => peer().locks.unlockWrites(lock),
  handOver: () => peer().handOver(),
  inherit: (...given) =>
    peer()
      .inherit(...given)
      .catch(failAndThrow),
  unpassed: (database) => peer().databases.unpassed(database),
  lend: (database) => peer().databases.lend(database),
  borrow: (handover, lock) => peer().databases.borrow(handover, lock),
  giveBack: (database) => peer().databases.giveBack(database),
  takeBack: (handover, lock) => peer().databases.takeBack(handover, lock),
  letGo: (database) => peer().databases.letGo(database),
  letGoAll: () => orFail(() => peer().databases.letGoAll()),
  makeDatabase: (database) => peer().makeDatabase(database),
  import: (database, file) => peer().imports.import(database, file),
  vanished: (name) => peer().cache.forgetName(name),
  writeRefused: (range) => peer().cache.forgetRange(range),
  maintain: (request) => peer().maintain(request),
  retire: (database) => peer().databases.retire(database),
  releaseSegment: (segment) => peer().databases.releaseSegment(segment),
  makeSpares: () => peer().makeSpares(),
  measure: () => {
    refillSpares()
    peer().counters.measureHeap("peer")
  },
  detach: () => peer().detach().catch(failAndThrow),
  settle: () =>
    orFail(() => {
      peer().snapshots.close()
      peer().databases.settle()
    }),
}

const main = new Port<PeerThread, PeerHost>({
  send: (message) => self.postMessage(message),
  offers,
  defect: fail,
})

self.onmessage = ({ data }: MessageEvent<Message>) => {
  started?.collectSoon()
  main.receive(data)
}

/** The thread cannot go on without what `act` does. */
function orFail<T>(act: () => T): T {
  try {
    return act()
  } catch (error) {
    return failAndThrow(error)
  }
}

function failAndThrow(error: unknown): never {
  fail(error)
  throw error
}

function fail(error: unknown): void {
  main.tell("failed", messageOf(error))
}
