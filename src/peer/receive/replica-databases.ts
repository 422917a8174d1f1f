/**
 * The databases that the peer thread has (capture/ownership.ts): on a replica all but the lent ones, and on a primary
 * the lent ones. It owns what the start has found of them, the commit log that makes incoming transactions durable, and
 * the order of work on each.
 *
 *   recovered, or taken ── database(): first needed ──▶ ReplicaDatabase ── given, let go ──▶ gone
 *
 * incoming-files.ts knows what arrives for them and from where, and held-locks.ts who may write meanwhile. It is one
 * file because each way of a database goes through the same three maps.
 */
import { join } from "node:path"
import {
  type DatabaseHandover,
  damagedHandover,
  historyState,
  sharedState,
} from "../../capture/handover.ts"
import { emptyHistoryState, type HistoryState } from "../../capture/history.ts"
import { Ownership } from "../../capture/ownership.ts"
import { sleep, systemClock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import type { Logger } from "../../lib/log.ts"
import type { Sender } from "../../lib/port.ts"
import type { Pos } from "../../ltx/pos.ts"
import type { FsThreadOfPeer } from "../../mount/contract.ts"
import { isOnlyDrop } from "../../recovery/dropped-database.ts"
import { removeEmptyDatabase } from "../../recovery/empty-database.ts"
import { openCommitLog } from "../../recovery/log/commit-log-recovery.ts"
import { believed, type LastRun, recoverAgain, recoverDatabases } from "../../recovery/recover.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { type CommitLog, directLog } from "../../store/log/commit-log.ts"
import type { Positions } from "../../store/positions.ts"
import type { SharedFlags } from "../../store/shared-flags.ts"
import { fileExists, syncFileSystem } from "../../sys/file.ts"
import { validateDatabaseName } from "../../wire/database-name.ts"
import type { PeerHost, RecoveredDatabase } from "../contract.ts"
import type { MountCache } from "../files/mount-cache.ts"
import type { HeldLocks } from "../locks/held-locks.ts"
import { untilDone } from "../locks/until-done.ts"
import { touchWhenFree } from "../wal/wal-touch.ts"
import { DatabaseApplier } from "./database-applier.ts"
import { switchFiles } from "./file-switch.ts"
import { type ClientView, ReplicaDatabase } from "./replica-database.ts"

const ATTACH_MS_MAX = 1000
/** Between two attempts to let readers see the last transaction of a client. */
const SHOW_AGAIN_MS = 100

export interface ReplicaDatabasesContext {
  readonly fuseDir: string
  readonly dataDir: DataDir
  readonly positions: Positions
  readonly flags: SharedFlags
  readonly locks: HeldLocks
  readonly cache: MountCache
  readonly log: Logger
  /** Aborted when the node stops. */
  readonly signal: AbortSignal
  /** Files of another history are about to replace the files of a database, including LTX files. */
  replacing(database: string): void
  readonly main: Pick<Sender<PeerHost>, "tell">
  readonly fs: Pick<Sender<FsThreadOfPeer>, "tell">
}

export class ReplicaDatabases {
  readonly #context: ReplicaDatabasesContext
  #commitLog: CommitLog | undefined // of a replica
  #recovered: Map<string, HistoryState | undefined> = new Map()
  readonly #databases = new Map<string, ReplicaDatabase>()
  readonly #queues = new Map<string, Promise<void>>()
  /** For this thread, whose home databases are here while the node is a replica. */
  readonly #ownership = new Ownership(false)
  /** Databases with a client that held WRITE while transactions were applied. */
  readonly #staleWriters = new Set<string>()
  /** Databases for which unpassed() is about to do its work. */
  readonly #unpassed = new Set<string>()
  #primaryName: string | undefined

  constructor(context: ReplicaDatabasesContext) {
    this.#context = context
  }

  /** On a replica, at the start. */
  recover(lastRun: LastRun): void {
    const { dataDir, positions, log, main } = this.#context
    this.#openLog()
    this.#recovered = new Map(
      recoverDatabases(dataDir, positions, log, (...refusal) => main.tell("refused", ...refusal), {
        ...lastRun,
        unplaced: this.#commitLog?.problems(),
      }),
    )
    this.#ownership.inherit()
  }

  /** See PeerThread. */
  recoverAgain(name: string, lastRun: LastRun): RecoveredDatabase {
    const { dataDir, log } = this.#context
    this.#commitLog?.makeFiles(true)
    const unplaced = this.#commitLog?.problems()
    const outcome = recoverAgain(name, dataDir, log, { ...lastRun, unplaced })
    if (outcome.kind === "refused") return outcome
    const { state } = outcome
    const isBelieved = state?.isBelieved === true
    if (!this.isHere(name)) return { kind: "found", state: state && sharedState(state), isBelieved }
    this.#recovered.delete(name)
    if (state !== undefined) {
      this.#recovered.set(name, state)
      this.#setPosition(name, state, state.pos)
    }
    return { kind: "taken", isBelieved }
  }

  #openLog(): void {
    const { dataDir, flags, log, main } = this.#context
    this.#commitLog = openCommitLog(dataDir, log, {
      isFree: (segment) => flags.isSegmentFree(segment),
      onFull: (segment) => {
        flags.setSegmentFree(segment, false)
        this.#releaseLater(segment)
      },
      onMissing: (segment) => {
        flags.setSegmentFree(segment, false)
        main.tell("segmentMissing", segment)
      },
      onUnmade: () => this.#tellUnmade(),
    })
    this.#tellUnmade()
  }

  #tellUnmade(): void {
    if (this.#commitLog === undefined) return // it is being opened
    this.#context.main.tell("unmade", this.#commitLog.problemTexts())
  }

  /** Waits until everything under way is applied: its clients would wait for the disk, and there is another segment. */
  #releaseLater(segment: number): void {
    void Promise.allSettled(this.#queues.values()).then(() => this.releaseSegment(segment))
  }

  releaseSegment(segment: number): void {
    const { dataDir, flags, log } = this.#context
    try {
      syncFileSystem("log:syncfs", dataDir.root)
      flags.setSegmentFree(segment, true)
    } catch (error) {
      // Until it works, commits go directly to LTX files.
      log.error("cannot free a segment of the commit log", { error })
    }
  }

  /** Databases whose saved checksums were believed. */
  get believed(): string[] {
    return believed(this.#recovered)
  }

  /** undefined: the last name stays. */
  setPrimary(name: string | undefined): void {
    this.#primaryName = name ?? this.#primaryName
  }

  /** Whether this thread has it. An object for a database of the fs thread would become outdated, and live on. */
  isHere(name: string): boolean {
    return this.#ownership.has(name)
  }

  /** Throws when this thread may not apply anything to it. */
  checkHere(name: string): void {
    if (this.isHere(name)) return
    const problem = "clients of this node write to it"
    throw new LitefsError("unavailable", `Cannot apply to "${name}": ${problem}`)
  }

  /** A database that has been needed before. */
  known(name: string): ReplicaDatabase | undefined {
    return this.#databases.get(name)
  }

  database(name: string, view?: ClientView): ReplicaDatabase {
    const known = this.#databases.get(name)
    if (known !== undefined) return known
    validateDatabaseName(name)
    this.checkHere(name)
    if (this.#recovered.has(name) && this.#recovered.get(name) === undefined) {
      throw new LitefsError("damaged", `Cannot apply to "${name}": it is damaged, see the log`)
    }
    const { dataDir, positions, locks, cache, log, fs } = this.#context
    const state = this.#recovered.get(name) ?? emptyHistoryState()
    if (state.pos.txid === 0n) positions.checkRoom(name)
    const database = new ReplicaDatabase(
      name,
      {
        dataDir,
        clock: systemClock,
        transactions: this.#commitLog ?? directLog,
        acknowledges: () => this.#context.flags.acknowledges,
        log,
        makeApplier: (database, view) =>
          new DatabaseApplier({
            ...{ ...this.#surroundings(), ...view, name, database },
            isWriteHeld: () => locks.holdsWrite(name),
            kept: () => locks.kept(name),
            withoutLocks: (work) => locks.without(name, work),
            onStaleWriter: () => this.#refuseWrites(name),
          }),
        switchFiles: (files) =>
          switchFiles(
            {
              ...this.#surroundings(),
              held: (name) => locks.reserved(name) ?? locks.kept(name),
              fs,
            },
            {
              ...files,
              change: () => {
                this.#context.replacing(name)
                return files.change()
              },
            },
          ),
        primaryName: () => this.#primaryName,
        stored: (pos) => {
          if (this.#context.flags.acknowledges) this.#context.main.tell("stored", name, pos)
        },
        setPosition: (_, state) => this.#setPosition(name, state, undefined),
        completed: () => {
          const slot = positions.find(name)
          if (slot !== undefined) positions.markStored(slot)
        },
        dropped: () => {
          fs.tell("dropped", name)
          cache.forgetName(name)
        },
      },
      state,
      view,
    )
    this.#databases.set(name, database)
    return database
  }

  /** Nobody may write here until that client has released WRITE, and cannot take what it remembers for new. */
  #refuseWrites(name: string): void {
    if (this.#staleWriters.has(name)) return
    const { fuseDir, signal, fs } = this.#context
    this.#staleWriters.add(name)
    fs.tell("staleWriter", name, true)
    const isOver = () => {
      this.#staleWriters.delete(name)
      fs.tell("staleWriter", name, false)
    }
    touchWhenFree(join(fuseDir, `${name}-shm`), systemClock, signal).then(isOver, () => {})
  }

  #surroundings() {
    const { dataDir, fuseDir, cache, log, signal, main } = this.#context
    const onWaiting = (database: string, process: string | undefined) =>
      main.tell("waiting", database, process)
    return { dataDir, fuseDir, cache: cache.kernel, clock: systemClock, log, signal, onWaiting }
  }

  /** `stored`: see Positions.write(). */
  #setPosition(name: string, state: HistoryState, stored: Pos | undefined): void {
    const { positions, flags, cache, main } = this.#context
    const isNew = positions.find(name) === undefined
    const slot = positions.add(name)
    const comes = isNew || positions.read(slot).commit === 0
    // Before and after: whoever sees the position finds the file, and the kernel never keeps saying that there is none.
    if (comes) cache.forgetName(name)
    positions.write(slot, state, stored)
    if (comes) cache.forgetName(name)
    if (flags.raiseChanged()) main.tell("changed")
  }

  /** After all work on the database so far. */
  enqueue(name: string, work: () => Promise<void>): void {
    const before = this.#queues.get(name) ?? Promise.resolve()
    this.#queues.set(name, before.then(work))
  }

  /** Nothing arrives for it now. What was refused of a database that is nowhere else leaves nothing behind. */
  forgetIfNothing(name: string): void {
    const { dataDir, positions, log } = this.#context
    const isNothing = this.isHere(name) && this.#databases.get(name)?.isNothing === true
    if (!isNothing || positions.find(name) !== undefined) return
    if (this.#commitLog?.isPending(name) === true) return
    this.#close(name)
    this.#queues.delete(name)
    try {
      if (fileExists("data:look", dataDir.databaseDir(name))) removeEmptyDatabase(dataDir, name)
    } catch (error) {
      log.warn("cannot remove the directory of a database that came to nothing", {
        db: name,
        error,
      })
    }
  }

  /** After everything that has arrived for it is applied. Its files stay open until letGo(). */
  async lend(name: string): Promise<DatabaseHandover> {
    const handover = await this.#give(name)
    this.#ownership.lend(name)
    return handover
  }

  /** As lend(). */
  async giveBack(name: string): Promise<DatabaseHandover> {
    const handover = await this.#give(name)
    this.#ownership.giveBack(name)
    return handover
  }

  async #give(name: string): Promise<DatabaseHandover> {
    await this.#queues.get(name)
    await this.#applyRest(name)
    this.#context.locks.checkHeld(name)
    if (this.#context.positions.find(name) === undefined) {
      throw new LitefsError("not-found", `database not found: "${name}"`)
    }
    const handover = this.#handOverOne(name)
    if (handover.state === undefined) throw damaged(name)
    return handover
  }

  /** `lock` keeps clients from writing to the database. */
  async borrow(handover: DatabaseHandover, lock: number | undefined): Promise<void> {
    const { name } = handover
    this.#ownership.borrow(name)
    try {
      await this.#take(handover, lock)
    } catch (error) {
      this.#ownership.giveBack(name)
      throw error
    }
  }

  /** As borrow(). */
  async takeBack(handover: DatabaseHandover, lock: number | undefined): Promise<void> {
    this.#ownership.takeBack(handover.name)
    await this.#take(handover, lock)
  }

  async #take(handover: DatabaseHandover, lock: number | undefined): Promise<void> {
    const { locks, cache } = this.#context
    const { name, state } = handover
    await this.#forgetUndone(handover)
    this.#close(name)
    if (state === undefined) {
      this.#recovered.set(name, undefined)
      throw damaged(name)
    }
    this.#recovered.set(name, historyState(state))
    locks.applying(name, lock)
    await this.#attach(this.database(name, handover))
    locks.attached(name)
    cache.forgetRole()
  }

  /** The fs thread has the database now. */
  letGo(name: string): void {
    const { locks, cache } = this.#context
    this.#close(name)
    this.#recovered.delete(name)
    locks.letGoOf(name)
    cache.forgetRole()
  }

  /**
   * No client can write to the WAL past the fs thread any more, from when this node was the primary: others may write
   * again, and the files are opened as new clients do.
   */
  unpassed(name: string): void {
    if (this.#unpassed.has(name)) return
    this.#unpassed.add(name)
    this.enqueue(name, async () => {
      this.#unpassed.delete(name)
      if (!this.isHere(name)) return
      this.#context.locks.letKeptGo(name)
      try {
        await this.#databases.get(name)?.reopen()
      } catch (error) {
        this.#context.log.warn("cannot keep the WAL of a database", { db: name, error })
      }
    })
  }

  /** A client has taken the WAL or its index away: goes over to files that new clients find. */
  rejoin(name: string): void {
    if (this.known(name) === undefined || !this.isHere(name)) return
    this.enqueue(name, async () => {
      if (!this.isHere(name)) return
      // The kernel has the name until it gets the answer to its unlink, which keeps the directory: this waits for that.
      for (const suffix of ["-wal", "-shm"]) this.#context.cache.forgetName(name + suffix)
      await this.#applyRest(name)
    })
  }

  /** Looks whether a client has left a wrong index of the database's WAL, when nothing else is under way for it. */
  mendIndex(name: string): void {
    if (this.known(name) === undefined || !this.isHere(name)) return
    this.enqueue(name, async () => {
      if (!this.isHere(name)) return
      try {
        await this.#databases.get(name)?.mendIndex()
      } catch (error) {
        this.#context.log.warn("cannot look at the index of a WAL", { db: name, error })
      }
    })
  }

  /** The database was dropped long ago: forgets it once nothing is under way for it. */
  retire(name: string): void {
    this.enqueue(name, async () => {
      const { dataDir, positions } = this.#context
      const slot = positions.find(name)
      if (slot === undefined || !this.isHere(name)) return
      const { pos, commit } = positions.read(slot)
      if (pos.txid === 0n || commit > 0 || !isOnlyDrop(dataDir, name)) return
      if (dataDir.hasFiles(name)) return // clients still have them open
      this.#close(name)
      this.#recovered.delete(name)
      this.#queues.delete(name)
      positions.free(slot)
    })
  }

  /** After everything that has arrived is applied. Their files stay open until letGoAll(). */
  async handOver(): Promise<DatabaseHandover[]> {
    await Promise.all(this.#queues.values())
    for (const name of this.#databases.keys()) await this.#applyRest(name)
    const names = new Set([...this.#recovered.keys(), ...this.#databases.keys()])
    const handovers = [...names].map((name) => this.#handOverOne(name))
    this.#commitLog?.clear()
    this.#commitLog?.close()
    this.#commitLog = undefined
    this.#recovered = new Map()
    this.#ownership.handOver()
    return handovers
  }

  /** If it still cannot be applied, the handover is refused. */
  async #applyRest(name: string): Promise<void> {
    try {
      await this.#databases.get(name)?.applyRest()
    } catch (error) {
      this.#context.log.warn("cannot apply the last transaction", { db: name, error })
    }
  }

  #handOverOne(name: string): DatabaseHandover {
    const isDamaged = this.#recovered.has(name) && this.#recovered.get(name) === undefined
    return isDamaged ? damagedHandover(name) : this.database(name).handOver()
  }

  letGoAll(): void {
    for (const name of this.#databases.keys()) this.#close(name)
    this.#queues.clear()
    this.#unpassed.clear()
    this.#context.locks.letAllGo()
    this.#context.cache.forgetRole()
  }

  async inherit(handovers: readonly DatabaseHandover[]): Promise<void> {
    const { cache, positions } = this.#context
    for (const handover of handovers) await this.#forgetUndone(handover)
    const problem = "cannot open the commit log, nothing is applied until it is open"
    await untilDone(this.#surroundings(), undefined, problem, () => this.#openLog())
    for (const { name } of handovers) {
      const slot = positions.find(name)
      // Opening the log has made the missing files.
      if (slot !== undefined && this.#commitLog?.isPending(name) !== true)
        positions.markStored(slot)
    }
    this.#ownership.inherit()
    this.#recovered = new Map(
      handovers.map(({ name, state }) => [name, state && historyState(state)]),
    )
    for (const handover of handovers) {
      const { name, state } = handover
      this.#close(name)
      if (state === undefined) continue
      await this.#attach(this.database(name, handover))
    }
    cache.forgetRole()
  }

  /** Call it before the journal goes: until then the journal keeps clients from reading uncommitted pages. */
  async #forgetUndone({ name, isUndone }: DatabaseHandover): Promise<void> {
    if (!isUndone) return
    const { cache, fs } = this.#context
    const problem =
      "cannot drop a transaction that was undone from the kernel's cache, clients wait"
    await untilDone(this.#surroundings(), name, problem, () => cache.mustForgetFile(name))
    fs.tell("undoneForgotten", name)
    // Two requests: before it takes the second one, the fs thread has read its mailbox. Otherwise a start after a crash
    // would undo by that journal what is applied from here on.
    cache.forgetFile(name)
    cache.forgetFile(name)
    const journal = this.#context.dataDir.path(name, "journal")
    const stays =
      "the journal of a transaction that was undone stays, nothing is applied until it is gone"
    await untilDone(this.#surroundings(), name, stays, () => {
      if (fileExists("journal:look", journal)) {
        throw new LitefsError("unavailable", `"${journal}" is still there`)
      }
    })
  }

  /** The object is outdated: it has the state, the view and the commit log of its time. */
  #close(name: string): void {
    this.#databases.get(name)?.close()
    this.#databases.delete(name)
  }

  /** Does not wait for a client that has the database for itself (locking_mode): transactions do. */
  async #attach(database: ReplicaDatabase): Promise<void> {
    const { name } = database
    const attached = Promise.withResolvers<void>()
    this.enqueue(name, async () => {
      try {
        await database.attach()
      } catch (error) {
        const { log } = this.#context
        log.warn("cannot keep the WAL of a database", { db: name, error }) // the next transaction tries again
      }
      attached.resolve()
    })
    await Promise.race([attached.promise, sleep(systemClock, ATTACH_MS_MAX)])
    void attached.promise.then(() => this.#show(database)).catch(() => {}) // the node stops
  }

  /** A client that holds WRITE keeps readers from the last transaction: until it lets go, and not until the next one. */
  async #show(database: ReplicaDatabase): Promise<void> {
    const { log, signal } = this.#context
    const { name } = database
    const isHere = () => this.#databases.get(name) === database
    while (isHere() && !database.isShown) {
      await sleep(systemClock, SHOW_AGAIN_MS, signal)
      this.enqueue(name, async () => {
        try {
          if (isHere()) await database.attach()
        } catch (error) {
          log.debug("cannot publish the last transaction, trying again", { db: name, error })
        }
      })
      await this.#queues.get(name)
    }
  }

  /** Closes everything that is open in the mount. */
  detach(): void {
    for (const database of this.#databases.values()) database.detach()
  }

  /** After the mount has gone. */
  settle(): void {
    const { log } = this.#context
    const healthy = [...this.#recovered].filter(([, state]) => state !== undefined)
    for (const name of new Set([...healthy.map(([name]) => name), ...this.#databases.keys()])) {
      try {
        this.database(name).settle()
      } catch (error) {
        log.warn("cannot prepare a database for a quick start", { db: name, error })
      }
    }
    closeLog(this.#commitLog, log)
  }
}

function damaged(name: string): LitefsError {
  return new LitefsError("damaged", `Cannot lend "${name}": it is damaged, see the log`)
}

function closeLog(commitLog: CommitLog | undefined, log: Logger): void {
  try {
    commitLog?.clear()
  } catch (error) {
    log.warn("cannot empty the commit log, the next start will", { error })
  }
  commitLog?.close()
}
