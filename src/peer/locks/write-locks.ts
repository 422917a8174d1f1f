/**
 * The write locks of databases of the primary, taken as a client takes them that writes: nobody else is in a write
 * transaction while they are held, and readers are not disturbed. Clients that want to write wait, as for any writer.
 *
 *   rollback modes   SHARED, RESERVED
 *   WAL mode         SHARED, RESERVED, DMS ─▶ WRITE
 *
 * From RESERVED on the journal mode cannot change. A client that holds EXCLUSIVE for good (locking_mode) is waited for
 * until the time is over.
 *
 * When the daemon itself applies transactions meanwhile (applying()), one may turn the WAL mode on: coverWal() takes
 * WRITE as well.
 */
import { join } from "node:path"
import { type Clock, sleep } from "../../lib/clock.ts"
import { formatDuration } from "../../lib/duration.ts"
import { LitefsError } from "../../lib/errors.ts"
import { closeFile, type Fd, O_CREAT, O_RDWR } from "../../sys/file.ts"
import { openOwnFile, openOwnIfExists } from "../../sys/file-access.ts"
import { describeProcess } from "../../sys/process/process.ts"
import * as access from "./exclusive-access.ts"

const WAIT_MS_MAX = 3

export interface WriteLocksOptions {
  readonly directory: string // of the mount
  readonly hostname: string // of this node, for whoever reads the error on another
  readonly databases: readonly string[]
  readonly clock: Clock
  /** Gives up after so long, for all of them together. */
  readonly limitMs: number
  readonly signal: AbortSignal
  /** Whether clients use the WAL of a database. Asked when the journal mode cannot change any more. */
  isWalMode(database: string): boolean
}

export class WriteLocks {
  readonly #options: WriteLocksOptions
  readonly #files: Fd[] = []
  readonly #databases = new Map<string, Fd>()
  readonly #withWrite = new Set<string>() // databases whose WRITE is held
  #deadlineMs: number

  /** All of them, or none: then it rejects. */
  static async acquire(options: WriteLocksOptions): Promise<WriteLocks> {
    const locks = new WriteLocks(options)
    try {
      await Promise.all(options.databases.map((name) => locks.#acquire(name)))
      return locks
    } catch (error) {
      locks.release()
      throw error
    }
  }

  private constructor(options: WriteLocksOptions) {
    this.#options = options
    this.#deadlineMs = options.clock.monotonicMs() + options.limitMs
  }

  /** Locks would go with the descriptors, but the kernel tells a mount that keeps them only some time after that. */
  release(): void {
    for (const fd of this.#files.splice(0)) {
      try {
        access.releaseAll(fd)
      } catch {
        // The mount is gone.
      }
      closeFile(fd)
    }
    this.#isReleased = true
  }

  #isReleased = false

  async #acquire(name: string): Promise<void> {
    const { directory, isWalMode } = this.#options
    const path = join(directory, name)
    const database = openOwnIfExists("mount:open", path, O_RDWR)
    if (database === undefined) return
    this.#files.push(database)
    this.#databases.set(name, database)
    const reserve = () => access.tryReserve(database, access.hasJournal(path))
    await this.#until(name, reserve, () => access.holderOfFile(database))
    if (isWalMode(name)) await this.#acquireWrite(name)
  }

  /**
   * The daemon applies transactions from here on. It lets go of what it would wait for: SHARED, and what keeps readers
   * out until an unfinished transaction is undone.
   */
  applying(name: string): void {
    const database = this.#databases.get(name)
    if (database !== undefined) access.releaseFile(database)
  }

  /** Whether clients are kept from writing to its WAL. */
  holdsWrite(name: string): boolean {
    return this.#withWrite.has(name)
  }

  /** The file whose RESERVED is held, outside of WAL mode. */
  reserved(name: string): Fd | undefined {
    return this.holdsWrite(name) ? undefined : this.#databases.get(name)
  }

  /** After a transaction: clients may use a WAL now. */
  async coverWal(name: string): Promise<void> {
    const { clock, limitMs, isWalMode } = this.#options
    if (this.holdsWrite(name) || !isWalMode(name)) return
    this.#deadlineMs = clock.monotonicMs() + limitMs
    await this.#acquireWrite(name)
  }

  async #acquireWrite(name: string): Promise<void> {
    const { directory } = this.#options
    this.#checkHeld()
    const shm = openOwnFile("mount:open", join(directory, `${name}-shm`), O_RDWR | O_CREAT)
    this.#files.push(shm)
    const holder = () => access.holderOfWal(shm)
    await this.#until(name, () => access.tryShareWalIndex(shm), holder)
    await this.#until(name, () => access.tryLockWrite(shm), holder)
    this.#withWrite.add(name)
  }

  #checkHeld(): void {
    if (this.#isReleased) throw new LitefsError("unavailable", "Cannot lock: given up")
  }

  async #until(
    name: string,
    attempt: () => boolean,
    holder: () => number | undefined,
  ): Promise<void> {
    const { clock, limitMs, signal, hostname } = this.#options
    for (let waitMs = 0; ; waitMs = Math.min(waitMs === 0 ? 1 : waitMs * 2, WAIT_MS_MAX)) {
      this.#checkHeld()
      if (attempt()) return
      if (clock.monotonicMs() > this.#deadlineMs) {
        const process = describeProcess(holder())
        throw new LitefsError(
          "unavailable",
          `Cannot stop writes to database "${name}": a client has been in a write transaction for ${formatDuration(limitMs)}, process ${process} on "${hostname}", try again when it is done`,
        )
      }
      await sleep(clock, waitMs, signal)
    }
  }
}
