/**
 * The locks that keep clients of this node from writing (client-locks.ts), by the numbers that the main thread uses,
 * and the databases for which they stay:
 *
 *   lent   while another node writes: on a primary
 *   kept   while clients of a replica have the WAL open past the fs thread, from when this node was the primary
 *          (mount/files/passed-entry.ts): from keep() to letKeptGo(). SHARED stays as well: who got the database for
 *          itself (locking_mode=EXCLUSIVE) would need no WRITE
 *
 * Readers are not disturbed, and clients that want to write wait, as for any writer.
 */
import { systemClock } from "../../lib/clock.ts"
import { formatDuration } from "../../lib/duration.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { syncFileSystem } from "../../sys/file.ts"
import { ClientLocks } from "./client-locks.ts"
import { usesWal } from "./wal-mode.ts"

export interface HeldLocksContext {
  readonly fuseDir: string
  readonly hostname: string
  readonly dataDir: DataDir
  /** Aborted when the node stops. */
  readonly signal: AbortSignal
}

export class HeldLocks {
  readonly #context: HeldLocksContext
  readonly #held = new Map<number, ReadonlyMap<string, ClientLocks>>()
  #nextLock = 1
  /**
   * Locks of databases that another node writes to, or that change hands: they keep clients of this node from writing.
   */
  readonly #lent = new Map<string, ClientLocks>()
  readonly #kept = new Map<string, ClientLocks>()

  constructor(context: HeldLocksContext) {
    this.#context = context
  }

  /**
   * Takes all of them or, on a rejection, none. Gives up after `limitMs`, for all of them together. `passed` are those
   * whose WAL clients have open past the fs thread, whatever their files say.
   */
  async lockWrites(
    databases: readonly string[],
    limitMs: number,
    isApplying: boolean,
    passed: readonly string[] = [],
  ): Promise<number> {
    const kept = databases.find((name) => this.#kept.has(name))
    if (kept !== undefined) throw keptFrom(kept)
    const held = new Map(
      databases.map((name) => [name, this.#locksOf(name, limitMs, passed.includes(name))]),
    )
    try {
      await Promise.all([...held.values()].map((locks) => locks.take()))
      // A sync now spares one when the commit log is closed, which everybody waits for.
      if (!isApplying) syncFileSystem("log:syncfs", this.#context.dataDir.root)
      const lock = this.#nextLock++
      this.#held.set(lock, held)
      return lock
    } catch (error) {
      for (const locks of held.values()) locks.release()
      throw new LitefsError("unavailable", messageOf(error))
    }
  }

  #locksOf(database: string, limitMs: number, isPassed: boolean): ClientLocks {
    const { fuseDir: directory, hostname, dataDir, signal } = this.#context
    return new ClientLocks({
      ...{ directory, database, clock: systemClock, limitMs, signal },
      isWalMode: () => isPassed || usesWal(dataDir, database),
      refusal: (process) =>
        `Cannot stop writes to database "${database}": a client has been in a write transaction for ${formatDuration(limitMs)}, process ${process} on "${hostname}", try again when it is done`,
    })
  }

  unlockWrites(lock: number): void {
    for (const [name, locks] of this.#held.get(lock) ?? []) {
      if (this.#lent.get(name) === locks) this.#lent.delete(name)
      locks.release()
    }
    this.#held.delete(lock)
  }

  unlockAll(): void {
    for (const lock of [...this.#held.keys()]) this.unlockWrites(lock)
  }

  /** From here on this thread applies transactions to the database, under the lock if there is one. */
  applying(name: string, lock: number | undefined): void {
    const locks = lock === undefined ? undefined : this.#held.get(lock)?.get(name)
    if (locks !== undefined) this.#lent.set(name, locks)
  }

  /** What applies has SHARED of its own, if it needs that: until then no client gets the database for itself. */
  attached(name: string): void {
    this.#lent.get(name)?.applying()
  }

  /** This thread applies no more transactions to a lent database. The lock itself stays. */
  letGoOf(name: string): void {
    this.#lent.delete(name)
  }

  /** Throws unless the lock keeps clients from writing to the WALs of all these databases. */
  checkWrites(lock: number, names: readonly string[]): void {
    const held = this.#held.get(lock)
    const open = names.find((name) => held?.get(name)?.holdsWrite !== true)
    if (open === undefined) return
    const problem = "clients have just opened its WAL past LiteFS, try again"
    throw new LitefsError("unavailable", `Cannot stop writes to database "${open}": ${problem}`)
  }

  /** From here on this thread applies transactions to these databases, and clients cannot write to their WALs. */
  keep(names: readonly string[], lock: number): void {
    this.checkWrites(lock, names)
    const held = new Map(this.#held.get(lock))
    for (const name of names) {
      this.#kept.set(name, held.get(name) as ClientLocks)
      held.delete(name)
    }
    this.#held.set(lock, held)
  }

  /** No client can write to the WAL of a kept database any more, or one may again. */
  letKeptGo(name: string): void {
    this.#kept.get(name)?.release()
    this.#kept.delete(name)
  }

  letAllGo(): void {
    for (const name of [...this.#kept.keys()]) this.letKeptGo(name)
  }

  /** Whether this thread keeps clients from writing to the WAL of a database, which is lent or kept. */
  holdsWrite(name: string): boolean {
    return this.#locks(name)?.holdsWrite === true
  }

  /** The locks of a kept database. */
  kept(name: string): ClientLocks | undefined {
    return this.#kept.get(name)
  }

  /** The locks of a lent database in a rollback mode. */
  reserved(name: string): ClientLocks | undefined {
    const locks = this.#lent.get(name)
    return locks?.holdsReserved === true ? locks : undefined
  }

  #locks(name: string): ClientLocks | undefined {
    return this.#lent.get(name) ?? this.#kept.get(name)
  }

  /**
   * Runs work of this thread that locks every client out, and would wait for the locks that are held here. They are
   * there again afterwards.
   */
  async without(name: string, work: () => Promise<void>): Promise<void> {
    this.letKeptGo(name) // its files have lost their names, and its clients write to nowhere
    const held = this.#locksOn(name)
    for (const locks of held) locks.suspend()
    await work()
    for (const locks of held) await locks.resume()
  }

  /** Throws when without() could not take them again. */
  checkHeld(name: string): void {
    if (this.#locksOn(name).every((locks) => locks.isHeld)) return
    throw new LitefsError("unavailable", `Cannot keep clients from writing to "${name}"`)
  }

  #locksOn(name: string): ClientLocks[] {
    return [...this.#held.values()].flatMap((databases) => databases.get(name) ?? [])
  }

  /** After a transaction of a database that may be lent. */
  async coverWal(name: string): Promise<void> {
    await this.#lent.get(name)?.coverWal()
  }
}

function keptFrom(name: string): LitefsError {
  return new LitefsError(
    "unavailable",
    `Cannot write to database "${name}" here: clients have it open past LiteFS since this node was the primary, close them first`,
  )
}
