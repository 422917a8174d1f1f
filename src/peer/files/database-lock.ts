/**
 * Every lock of a database, taken as a client of the mount takes them that writes, and that wants nobody to read
 * meanwhile: no client is in a transaction while one of these is held.
 *
 *   rollback modes   SHARED, RESERVED ─▶ PENDING, EXCLUSIVE
 *   WAL mode         SHARED, RESERVED, DMS ─▶ CKPT ─▶ WRITE ─▶ RECOVER ─▶ all read marks
 *
 * 1. Waiting is done in the order in which SQLite takes the locks, so it never waits for a client that waits for
 *    it: RESERVED keeps other writers out before PENDING keeps them from their commit, and CKPT comes before
 *    WRITE as in a checkpoint.
 * 2. From RESERVED on the journal mode cannot change. Beside the journal of a dead writer EXCLUSIVE comes before.
 * 3. Readers are let in until waiting has taken long; then new ones are kept out until the old ones are done, or for as
 *    long as lock-wait.ts says: by PENDING, and in WAL mode, where every reader shares the mark of the others, by a
 *    recovery that seems to run.
 */
import { join } from "node:path"
import type { Clock } from "../../lib/clock.ts"
import { formatDuration } from "../../lib/duration.ts"
import { LitefsError } from "../../lib/errors.ts"
import {
  DATABASE_HEADER_SIZE,
  decodeDatabaseHeader,
  isWalMode,
} from "../../sqlite/database-header.ts"
import { FileSource } from "../../store/ltx/file-source.ts"
import { closeFile, type Fd, O_CREAT, O_RDWR } from "../../sys/file.ts"
import { openOwnFile, openOwnIfExists } from "../../sys/file-access.ts"
import { describeProcess } from "../../sys/process/process.ts"
import * as access from "../locks/exclusive-access.ts"
import { untilLocked } from "../locks/lock-wait.ts"
import { WalIndexFile } from "../wal/wal-index-file.ts"

export interface LockOptions {
  readonly directory: string // of the mount
  readonly database: string
  readonly clock: Clock
  /** Gives up after so long. */
  readonly limitMs: number
  /** Gives up when it is aborted, with its reason. */
  readonly signal: AbortSignal
  /** Asked when the journal mode cannot change any more. */
  isWalMode(): boolean
}

export class DatabaseLock implements Disposable {
  readonly #options: LockOptions
  readonly #database: Fd
  readonly #deadlineMs: number
  #shm: Fd | undefined

  /** Undefined when there is no such file in the mount. */
  static async acquire(options: LockOptions): Promise<DatabaseLock | undefined> {
    const path = join(options.directory, options.database)
    const database = openOwnIfExists("mount:open", path, O_RDWR)
    if (database === undefined) return undefined
    const lock = new DatabaseLock(options, database)
    try {
      await lock.#acquire()
      return lock
    } catch (error) {
      lock.release()
      throw error
    }
  }

  private constructor(options: LockOptions, database: Fd) {
    this.#options = options
    this.#database = database
    this.#deadlineMs = options.clock.monotonicMs() + options.limitMs
  }

  get database(): Fd {
    return this.#database
  }

  /** The wal-index, when the database is in WAL mode. */
  get shm(): Fd | undefined {
    return this.#shm
  }

  release(): void {
    if (this.#shm !== undefined) closeFile(this.#shm)
    closeFile(this.#database)
  }

  [Symbol.dispose](): void {
    this.release()
  }

  async #acquire(): Promise<void> {
    const database = this.#database
    const mounted = join(this.#options.directory, this.#options.database)
    const holder = () => access.holderOfFile(database)
    await this.#until(() => access.tryReserve(database, access.hasJournal(mounted)), holder)
    if (!this.#options.isWalMode()) {
      await this.#until((isLate) => access.tryLockFile(database, isLate), holder)
      return
    }
    const shm = openOwnFile("mount:open", `${mounted}-shm`, O_RDWR | O_CREAT)
    this.#shm = shm
    const holderOfWal = () => access.holderOfWal(shm)
    await this.#until(() => access.tryShareWalIndex(shm), holderOfWal)
    await this.#until(() => access.tryLockCheckpoint(shm), holderOfWal)
    await this.#until(() => access.tryLockWrite(shm), holderOfWal)
    await this.#until(() => access.tryLockRecover(shm), holderOfWal)
    await this.#drain(shm)
  }

  async #drain(shm: Fd): Promise<void> {
    let open: (() => void) | undefined
    try {
      await this.#until(
        (isLate) => {
          if (isLate) {
            open ??= new WalIndexFile(shm).close()
          } else {
            open?.()
            open = undefined
          }
          return access.tryLockReaders(shm)
        },
        () => access.holderOfWal(shm),
      )
    } finally {
      open?.()
    }
  }

  #until(attempt: (isLate: boolean) => boolean, holder: () => number | undefined): Promise<void> {
    const { clock, signal, database, limitMs } = this.#options
    const waited = () => {
      if (clock.monotonicMs() <= this.#deadlineMs) return
      throw new LitefsError(
        "unavailable",
        `Cannot lock database "${database}": clients have been in transactions of it for ${formatDuration(limitMs)}, one is process ${describeProcess(holder())}, try again when they are done`,
      )
    }
    return untilLocked({ clock, signal, waited }, attempt)
  }
}

/** What the file of a database tells, also in WAL mode: only a rollback transaction changes the mode. */
export function isInWalMode(path: string): boolean {
  using file = FileSource.open(path)
  if (file === undefined) return false
  const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
  const header = decodeDatabaseHeader(bytes.subarray(0, file.readAt(0, bytes)))
  return header !== undefined && isWalMode(header)
}
