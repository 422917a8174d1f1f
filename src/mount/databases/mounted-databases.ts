/**
 * The databases of the mount, and how they move between this thread and the peer thread (capture/ownership.ts).
 *
 * A damaged database belongs to nobody: every use of its name is EIO, and its files stay as they are.
 */
import {
  type DatabaseHandover,
  damagedHandover,
  historyState,
  type SharedHistoryState,
} from "../../capture/handover.ts"
import { emptyHistoryState, type HistoryState } from "../../capture/history.ts"
import { FuseError } from "../../fuse/fuse-error.ts"
import { must } from "../../lib/assert.ts"
import { LitefsError } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { droppedState, isOnlyDrop } from "../../recovery/dropped-database.ts"
import { Errno } from "../../sys/errno.ts"
import type { EntryTable } from "../files/entry-table.ts"
import { JournalEntry } from "../files/journal.ts"
import { MountedDatabase, type MountedDatabaseContext } from "./mounted-database.ts"

const log = logger("mount")

export const CANNOT_FOLLOW = "cannot capture what clients have committed, it is tried again"

/** Suffixes of the files that we make up beside a database. */
const MADE_UP = ["-pos", "-lock"]

/** Nobody tells us when a disk lets a file go. */
const RETRY_MS = 500

export class MountedDatabases {
  readonly #context: MountedDatabaseContext
  readonly #entries: EntryTable
  readonly #databases = new Map<string, MountedDatabase>()
  readonly #damaged = new Set<string>()
  /** Databases with an undone transaction of which the kernel may still have pages. */
  readonly #undone = new Set<string>()
  /** The same when the kernel has none: its journal is to go. */
  readonly #over = new Set<string>()
  /** Of a role that goes, while it has not gone. */
  readonly #handovers = new Map<string, DatabaseHandover>()
  #hasComplained = false

  /** `states` are what recovery found, undefined for damaged databases; on a replica the peer thread has them. */
  constructor(
    context: MountedDatabaseContext,
    entries: EntryTable,
    states: ReadonlyMap<string, HistoryState | undefined>,
  ) {
    this.#context = context
    this.#entries = entries
    for (const [name, state] of states) {
      if (state === undefined) this.#damaged.add(name)
      else this.add(name, state)
    }
  }

  isDamaged(name: string): boolean {
    return this.#damaged.has(name)
  }

  find(name: string): MountedDatabase | undefined {
    if (this.#damaged.has(name)) throw FuseError.of(Errno.EIO)
    const known = this.#databases.get(name)
    const { role, positions } = this.#context
    if (role.isPrimary) return known
    // On a replica the peer thread makes and frees databases. The slot of a database is the first of it to appear.
    const slot = positions.find(name)
    if (slot !== undefined && known?.slot === slot) return known
    if (known !== undefined) this.#forget(known)
    return slot === undefined ? undefined : this.add(name, undefined)
  }

  /** False when every use of the name is an error. */
  isUsable(name: string): boolean {
    return !this.#damaged.has(name)
  }

  get(name: string): MountedDatabase {
    const database = this.find(name)
    if (database !== undefined) return database
    throw new LitefsError("not-found", `database not found: "${name}"`)
  }

  /** A database that a client makes. It continues a dropped one of the same name. */
  addNew(name: string): MountedDatabase {
    const { dataDir, positions } = this.#context
    const state = droppedState(dataDir, name)
    const database = this.add(name, state ?? emptyHistoryState())
    if (state !== undefined) positions.write(database.slot, state, state.pos)
    return database
  }

  /** Forgets a database that was dropped long ago. */
  retire(name: string): void {
    const { dataDir, positions } = this.#context
    const database = this.#databases.get(name)
    const history = database?.capture?.history
    if (database === undefined || history === undefined || database.hasFiles) return
    if (history.pos.txid === 0n || history.commit > 0 || !isOnlyDrop(dataDir, name)) return
    this.#forget(database)
    positions.free(database.slot)
  }

  /** On the primary: a database that was refused can be used; without a state there is nothing of it. */
  recovered(name: string, shared: SharedHistoryState | undefined): void {
    if (!this.#context.role.isPrimary || !this.#damaged.delete(name)) {
      throw new LitefsError("unavailable", `Cannot take "${name}": it is not this thread's`)
    }
    if (shared === undefined) return
    const state = historyState(shared)
    const { slot } = this.add(name, state)
    this.#context.positions.write(slot, state, state.pos)
  }

  add(name: string, state: HistoryState | undefined): MountedDatabase {
    const database = new MountedDatabase(name, this.#context, state)
    this.#databases.set(name, database)
    return database
  }

  /** Forgets a database that never had a transaction and has no files left: its name and its directory go. */
  forgetNew(database: MountedDatabase): void {
    const { dataDir, positions } = this.#context
    const { capture, name, slot } = database
    if (capture === undefined || capture.history.pos.txid > 0n || database.hasFiles) return
    this.#forget(database)
    positions.free(slot)
    try {
      dataDir.removeDatabase(name)
    } catch (error) {
      log.warn("cannot remove the directory of a database that came to nothing", {
        ...{ db: name, error },
      })
    }
  }

  #forgetFreed(): void {
    const { positions } = this.#context
    for (const database of this.#databases.values()) {
      if (positions.find(database.name) !== database.slot) this.#forget(database)
    }
  }

  #forget({ name, database }: MountedDatabase): void {
    this.#databases.delete(name)
    this.#undone.delete(name)
    this.#over.delete(name)
    database.close()
    for (const suffix of MADE_UP) {
      const entry = this.#entries.named(name + suffix)
      if (entry !== undefined) this.#entries.removeName(entry)
    }
  }

  /** Whether clients may write to any database, or make files. */
  get areWritable(): boolean {
    if (this.#context.role.isPrimary || this.#context.forwarding !== undefined) return true
    for (const database of this.#databases.values()) if (database.isBorrowed) return true
    return false
  }

  /** This node becomes the primary, from what the peer thread has applied so far. */
  inherit(handovers: readonly DatabaseHandover[]): void {
    this.#forgetFreed()
    for (const handover of handovers) this.#take(handover)
  }

  /**
   * This node becomes a replica. Clients write nothing from here on. Throws "unavailable" when it is worth asking again:
   * what has been handed over by then is in the next answer.
   */
  handOver(): DatabaseHandover[] {
    let failed: unknown
    for (const database of this.#databases.values()) {
      const { name, isLent } = database
      if (isLent || this.#handovers.has(name)) continue
      try {
        this.#handovers.set(name, this.#noteUndone(database.handOver()))
      } catch (error) {
        failed = error
      }
    }
    if (failed !== undefined) throw failed
    const handovers = [...[...this.#damaged].map(damagedHandover), ...this.#handovers.values()]
    this.#damaged.clear()
    this.#handovers.clear()
    return handovers
  }

  #take(handover: DatabaseHandover): void {
    const { name, state } = handover
    if (state === undefined) return void this.#damaged.add(name)
    this.endUndone(name)
    const database = this.#databases.get(name) ?? this.add(name, undefined)
    database.inherit(handover, historyState(state))
  }

  /** On the primary: another node borrows the write lock of the database. */
  lend(name: string): DatabaseHandover {
    return this.#noteUndone(this.get(name).lend())
  }

  /** On the primary: it has the write lock back. */
  takeBack(handover: DatabaseHandover): void {
    this.#forgetFreed()
    this.#take(handover)
  }

  /** Captures what clients have written past the daemon. Returns a database for which that has failed. */
  follow(): string | undefined {
    let failed: string | undefined
    for (const database of this.#databases.values()) {
      try {
        database.follow()
      } catch (error) {
        log.error(CANNOT_FOLLOW, { db: database.name, error })
        failed = database.name
      }
    }
    return failed
  }

  /** Of one whose index cannot be written, clients may go on until the next start. */
  bar(): void {
    for (const database of this.#databases.values()) {
      try {
        database.bar()
      } catch (error) {
        log.error("cannot keep clients of the time before from writing", {
          db: database.name,
          error,
        })
      }
    }
  }

  /** Databases that clients may write to past the daemon. */
  get passed(): string[] {
    const all = [...this.#databases.values()]
    return all.filter(({ isWrittenPast }) => isWrittenPast).map(({ name }) => name)
  }

  /** Whether another node waits for the write lock. */
  setLending(name: string, isWanted: boolean): void {
    const database = this.#databases.get(name)
    if (database !== undefined) database.isWanted = isWanted
  }

  /**
   * On a replica: clients may write to the database, and every transaction goes to the primary first. See
   * MountedDatabase.borrow().
   */
  borrow(handover: DatabaseHandover): () => void {
    const state = historyState(must(handover.state, "state of a borrowed database"))
    this.endUndone(handover.name)
    return this.get(handover.name).borrow(handover, state)
  }

  /** Returns a borrowed database. */
  giveBack(name: string): DatabaseHandover {
    return this.#noteUndone(this.get(name).giveBack())
  }

  /**
   * A client in the middle of a transaction finds it undone. Its journal stays until undoneForgotten(): SQLite takes it
   * for hot, so nobody reads pages of the transaction that the kernel still has.
   */
  #noteUndone(handover: DatabaseHandover): DatabaseHandover {
    if (handover.isUndone) this.#undone.add(handover.name)
    return handover
  }

  /** The kernel no longer has anything of the undone transaction, if there was one. */
  undoneForgotten(name: string): void {
    if (this.#undone.delete(name)) this.#over.add(name)
    this.sweep()
  }

  /** Does what the disk has refused. Returns in how many milliseconds to call again. */
  sweep(): number | undefined {
    for (const name of this.#over) {
      try {
        this.#removeJournal(name)
      } catch (error) {
        const what = "cannot remove the journal of a transaction that was undone, trying again"
        if (!this.#hasComplained) log.warn(what, { db: name, error })
        this.#hasComplained = true
      }
    }
    if (this.#over.size > 0) return RETRY_MS
    this.#hasComplained = false
    return undefined
  }

  /** Throws when the journal stays: a client that may write would undo by it what was applied since. */
  endUndone(name: string): void {
    if (this.#undone.delete(name)) this.#over.add(name)
    if (this.#over.has(name)) this.#removeJournal(name)
  }

  #removeJournal(name: string): void {
    const journal = `${name}-journal`
    const entry = this.#entries.named(journal)
    if (entry === undefined) this.#databases.get(name)?.journal.remove().close()
    else {
      if (entry instanceof JournalEntry) entry.abandon()
      this.#entries.removeName(entry)
    }
    this.#over.delete(name)
    this.#context.onVanish(journal)
  }

  /** On a replica: the daemon has removed the file of the database. */
  fileRemoved(name: string): void {
    // This includes a name that the kernel has forgotten: its next file is another one.
    this.find(name)?.database.close()
    const entry = this.#entries.named(name)
    if (entry !== undefined) this.#entries.removeName(entry)
  }

  /** After the mount has gone. */
  settle(): boolean {
    let isSettled = true
    for (const database of this.#databases.values()) {
      try {
        isSettled = database.settle() && isSettled
      } catch (error) {
        isSettled = false
        log.warn("cannot prepare a database for a quick start", { db: database.name, error })
      }
    }
    return isSettled
  }
}
