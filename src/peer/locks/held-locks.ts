/**
 * The write locks that this thread holds (write-locks.ts), by the numbers that the main thread knows them by, and for
 * which databases they stay while another node writes.
 */
import { systemClock } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { readJournalMode } from "../../store/journal-mode.ts"
import { FileSource } from "../../store/ltx/file-source.ts"
import { type Fd, syncFileSystem } from "../../sys/file.ts"
import { WriteLocks } from "./write-locks.ts"

export interface HeldLocksContext {
  readonly fuseDir: string
  readonly hostname: string
  readonly dataDir: DataDir
  /** Aborted when the node stops. */
  readonly signal: AbortSignal
}

export class HeldLocks {
  readonly #context: HeldLocksContext
  readonly #writeLocks = new Map<number, WriteLocks>()
  #nextLock = 1
  /** Databases with the locks that keep clients of this node from writing: another one does, or they change hands. */
  readonly #lent = new Map<string, WriteLocks>()

  constructor(context: HeldLocksContext) {
    this.#context = context
  }

  async lockWrites(
    databases: readonly string[],
    limitMs: number,
    isApplying: boolean,
  ): Promise<number> {
    const { fuseDir, hostname, dataDir, signal } = this.#context
    const lock = this.#nextLock++
    try {
      const locks = await WriteLocks.acquire({
        directory: fuseDir,
        hostname,
        databases,
        clock: systemClock,
        limitMs,
        signal,
        isWalMode: (name) => usesWal(dataDir, name),
      })
      this.#writeLocks.set(lock, locks)
      // What is synced now need not be when the commit log is closed, which everybody waits for.
      if (!isApplying) syncFileSystem("log:syncfs", dataDir.root)
      return lock
    } catch (error) {
      this.unlockWrites(lock)
      throw new LitefsError("unavailable", messageOf(error))
    }
  }

  unlockWrites(lock: number): void {
    const locks = this.#writeLocks.get(lock)
    for (const [name, held] of this.#lent) if (held === locks) this.#lent.delete(name)
    locks?.release()
    this.#writeLocks.delete(lock)
  }

  unlockAll(): void {
    for (const lock of [...this.#writeLocks.keys()]) this.unlockWrites(lock)
  }

  /** From here on this thread applies transactions to the database, under the lock if there is one. */
  applying(name: string, lock: number | undefined): void {
    const locks = lock === undefined ? undefined : this.#writeLocks.get(lock)
    if (locks !== undefined) this.#lent.set(name, locks)
    locks?.applying(name)
  }

  /** It applies no more of them. The lock itself stays. */
  letGoOf(name: string): void {
    this.#lent.delete(name)
  }

  /** Whether clients are kept from writing to the WAL of a database that is lent. */
  holdsWrite(name: string): boolean {
    return this.#lent.get(name)?.holdsWrite(name) === true
  }

  /** The file of a database that is lent, whose RESERVED is held, and WRITE is not. */
  reserved(name: string): Fd | undefined {
    return this.#lent.get(name)?.reserved(name)
  }

  /** After a transaction of a database that may be lent. */
  async coverWal(name: string): Promise<void> {
    await this.#lent.get(name)?.coverWal(name)
  }
}

/** The file tells it, but for clients that go on with a WAL. From RESERVED on that does not change. */
function usesWal(dataDir: DataDir, name: string): boolean {
  using wal = FileSource.open(dataDir.path(name, "wal"))
  return (wal?.size ?? 0) > 0 || readJournalMode(dataDir.path(name, "database")) === "wal"
}
