/**
 * The locks of one database, taken as a client of the mount takes them: to keep others from writing, or from reading as
 * well. The daemon takes part in SQLite's locking like one more process, here and wherever else it does so:
 *
 *   file        byte             lock          many share it                      one has it alone
 *   <db>        0x40000000       PENDING       who begins to read, for a moment   who keeps new readers out
 *               0x40000001       RESERVED                                         who writes, in a rollback mode
 *               0x40000002-1ff   SHARED        who reads; in WAL mode all         EXCLUSIVE: who writes to the file
 *   <db>-shm    120              WRITE                                            who writes to the WAL
 *               121              CKPT                                             who checkpoints
 *               122              RECOVER       who waits for a recovery           who rebuilds the index
 *               123-127          READ0-READ4   who reads up to this mark          who moves the mark, starts over
 *               128              DMS           all who have the index open        who is the first
 *   <db>-lock   all                            who halts                          the daemon, until then
 *
 *   what the daemon does                  what it takes, in this order           how long it waits
 *   writes stop: handoff, halt lock       SHARED RESERVED ─▶ WAL: DMS ─▶ WRITE   `limitMs`, all databases together
 *   everybody stops: import, other files  SHARED RESERVED ─▶ PENDING EXCLUSIVE   `limitMs`
 *     in WAL mode                         … DMS ─▶ CKPT ─▶ WRITE ─▶ RECOVER ─▶ READ0-4
 *   a transaction comes, rollback mode    PENDING EXCLUSIVE                      for ever; a line in the log after 5 s
 *   the same in WAL mode                  WRITE ─▶ CKPT, a READ of its own       20 ms, then goes on without WRITE
 *     the index is not valid              CKPT RECOVER                           for ever
 *     the log starts over                 READ1-4                                not at all
 *   a checkpoint                          CKPT ─▶ READ0, each other READ         not at all
 *   clients are to look again             WRITE                                  for ever
 *   a replica in WAL mode, all the time   SHARED ─▶ DMS                          for ever; a line in the log after 5 s
 *   the same, when clients pass           SHARED RESERVED ─▶ DMS ─▶ WRITE        until they have let go; taken as for a handoff
 *   `<db>-lock`, before clients open it   all of it                              1 s
 *
 * "For ever" ends when the node stops, as everything does. Messages name the process that was waited for in vain, by
 * its lock.
 *
 * 1. Waiting follows the order in which SQLite takes the locks, so it never waits for a client that waits for it:
 *    RESERVED keeps other writers out before PENDING keeps them from their commit, and CKPT comes before WRITE as in a
 *    checkpoint.
 * 2. From RESERVED on the journal mode cannot change. Beside the journal of a dead writer EXCLUSIVE comes before. A
 *    client that holds EXCLUSIVE for good (locking_mode) makes it wait until the time is over.
 * 3. Readers are let in until waiting has taken long. Then new ones are kept out until the old ones are done, or for as
 *    long as lock-wait.ts says: by PENDING, and in WAL mode, where all readers share one mark, by a pretended recovery.
 * 4. When the daemon itself applies transactions while clients may not write (applying()), a transaction may turn the
 *    WAL mode on: coverWal() then takes WRITE as well.
 * 5. While SHARED and DMS are held in WAL mode, no client ever thinks that it is the first or the last, truncates the
 *    wal-index or removes the WAL.
 */
import { join } from "node:path"
import { must } from "../../lib/assert.ts"
import type { Clock } from "../../lib/clock.ts"
import { formatDuration } from "../../lib/duration.ts"
import { LitefsError } from "../../lib/errors.ts"
import { type Fd, O_CREAT, O_RDWR } from "../../sys/file.ts"
import { openOwnFile, openOwnIfExists } from "../../sys/file-access.ts"
import { describeProcess } from "../../sys/process/process.ts"
import { untilLocked } from "./lock-wait.ts"
import {
  CKPT,
  DMS,
  holderOfFile,
  holderOfWal,
  READERS,
  RECOVER,
  release,
  releaseAndClose,
  releaseFile,
  tryLockFile,
  tryReserve,
  tryTake,
  WRITE,
} from "./sqlite-locks.ts"
import type { WaitReport } from "./wait-report.ts"

/** Keeps out readers of a WAL, who all share one read mark. */
export interface ReaderGate {
  /** Keeps new readers out, while WRITE and RECOVER are held. Returns how to let them in again. */
  close(): () => void
}

export interface ClientLocksOptions {
  readonly directory: string // of the mount
  readonly database: string
  readonly clock: Clock
  /** Gives up after this time. */
  readonly limitMs: number
  /** Gives up when this is aborted, with its reason. */
  readonly signal: AbortSignal
  /** Whether clients use a WAL. Asked when the journal mode cannot change any more. */
  isWalMode(): boolean
  /** For a wal-index, to keep readers out as well. Undefined: readers are not disturbed. */
  readonly gateOf?: (shm: Fd) => ReaderGate
  /** Hears of the wait while it lasts. */
  readonly report?: WaitReport
  /** The message after too long a wait, about the process that holds a lock. */
  refusal(process: string): string
}

/** Files of the mount with locks on them, so that nobody reads or writes. */
export interface LockedOut {
  readonly database: Fd
  /** The wal-index, when the database is in WAL mode. */
  readonly shm: Fd | undefined
}

export interface ExclusiveLocks extends LockedOut, Disposable {}

export class ClientLocks implements ExclusiveLocks {
  readonly #options: ClientLocksOptions
  #deadlineMs: number
  #database: Fd | undefined
  #shm: Fd | undefined
  #holdsWrite = false
  #isReleased = false
  #isApplying = false

  /** Every client is locked out. Undefined when there is no such file in the mount. */
  static async lockOut(
    options: Omit<ClientLocksOptions, "refusal"> & Required<Pick<ClientLocksOptions, "gateOf">>,
  ): Promise<ClientLocks | undefined> {
    const { database, limitMs } = options
    const refusal = (process: string) =>
      `Cannot lock database "${database}": clients have been in transactions for ${formatDuration(limitMs)}, one is process ${process}, try again when they are done`
    const locks = new ClientLocks({ ...options, refusal })
    return (await locks.take()) ? locks : undefined
  }

  /** Starts the time limit. */
  constructor(options: ClientLocksOptions) {
    this.#options = options
    this.#deadlineMs = options.clock.monotonicMs() + options.limitMs
  }

  get database(): Fd {
    return must(this.#database, "database")
  }

  get shm(): Fd | undefined {
    return this.#shm
  }

  get isHeld(): boolean {
    return this.#database !== undefined
  }

  /** Clients are kept from writing to its WAL. */
  get holdsWrite(): boolean {
    return this.#holdsWrite
  }

  /** Clients are kept from writing in a rollback mode. */
  get holdsReserved(): boolean {
    return this.#database !== undefined && !this.#holdsWrite
  }

  /** Takes all of them or, on a rejection, none. False when there is no such file in the mount. */
  async take(): Promise<boolean> {
    const { isWalMode, gateOf } = this.#options
    const path = this.#path("")
    const database = openOwnIfExists("mount:open", path, O_RDWR)
    if (database === undefined) return false
    this.#database = database
    const holder = () => holderOfFile(database)
    try {
      await this.#until(() => tryReserve(database, path), holder)
      if (isWalMode()) await this.#takeWal()
      else if (gateOf) await this.#until((isLate) => tryLockFile(database, isLate), holder)
      return true
    } catch (error) {
      this.suspend()
      throw error
    }
  }

  async #takeWal(): Promise<void> {
    const { gateOf } = this.#options
    this.#checkHeld()
    const shm = this.#shm ?? openOwnFile("mount:open", this.#path("-shm"), O_RDWR | O_CREAT)
    this.#shm = shm
    const holder = () => holderOfWal(shm)
    for (const lock of gateOf ? [DMS, CKPT, WRITE, RECOVER] : [DMS, WRITE]) {
      await this.#until(() => tryTake(shm, lock), holder)
    }
    this.#holdsWrite = true
    if (gateOf) await this.#drain(shm, gateOf(shm))
  }

  async #drain(shm: Fd, gate: ReaderGate, until = this.#until): Promise<void> {
    let open: (() => void) | undefined
    const attempt = (isLate: boolean) => {
      if (isLate) {
        open ??= gate.close()
      } else {
        open?.()
        open = undefined
      }
      return tryTake(shm, READERS)
    }
    try {
      await until.call(this, attempt, () => holderOfWal(shm))
    } finally {
      open?.()
    }
  }

  /**
   * The daemon applies transactions from here on. Lets go of the locks that it would wait for: SHARED, and those that
   * keep readers out until an unfinished transaction is undone.
   */
  applying(): void {
    this.#isApplying = true
    if (this.#database !== undefined) releaseFile(this.#database)
  }

  /** After a transaction: clients may use a WAL now. When it rejects, the held locks stay. */
  async coverWal(): Promise<void> {
    const { clock, limitMs, isWalMode } = this.#options
    if (this.#holdsWrite || !isWalMode()) return
    this.#deadlineMs = clock.monotonicMs() + limitMs
    await this.#takeWal()
  }

  /**
   * With RESERVED, or with WRITE, keeps readers out as well, until the result is disposed. Waits without a limit.
   * `gateOf` is for those of a WAL.
   */
  async excludeReaders(
    report: WaitReport | undefined,
    gateOf: (shm: Fd) => ReaderGate,
  ): Promise<ExclusiveLocks> {
    const { clock, signal } = this.#options
    const { database, shm } = this
    const until = (attempt: (isLate: boolean) => boolean, holder: () => number | undefined) => {
      const waited = () => report?.waited(holder)
      return untilLocked({ clock, signal, isCrowded: true, waited }, (isLate) => {
        this.#checkHeld()
        return attempt(isLate)
      })
    }
    const ofFile = () => holderOfFile(database)
    if (shm === undefined) {
      await until((isLate) => tryLockFile(database, isLate), ofFile)
      return { database, shm, [Symbol.dispose]: () => this.applying() }
    }
    const dispose = () => {
      if (this.#shm === shm) release(shm, READERS, RECOVER, CKPT) // else all is released
    }
    try {
      for (const lock of [CKPT, RECOVER]) {
        await until(
          () => tryTake(shm, lock),
          () => holderOfWal(shm),
        )
      }
      await this.#drain(shm, gateOf(shm), until)
    } catch (error) {
      dispose()
      throw error
    }
    return { database, shm, [Symbol.dispose]: dispose }
  }

  release(): void {
    this.#isReleased = true
    this.suspend()
  }

  /** Gives them up for a while, until resume(). */
  suspend(): void {
    this.#holdsWrite = false
    if (this.#shm !== undefined) releaseAndClose(this.#shm)
    if (this.#database !== undefined) releaseAndClose(this.#database)
    this.#shm = undefined
    this.#database = undefined
  }

  /** Takes them again, of the files that have the names now. */
  async resume(): Promise<void> {
    const { clock, limitMs } = this.#options
    this.#checkHeld()
    this.#deadlineMs = clock.monotonicMs() + limitMs
    await this.take()
    if (this.#isApplying) this.applying()
  }

  [Symbol.dispose](): void {
    this.release()
  }

  #path(suffix: string): string {
    return join(this.#options.directory, this.#options.database + suffix)
  }

  #checkHeld(): void {
    if (this.#isReleased) throw new LitefsError("unavailable", "Cannot lock: given up")
  }

  #until(attempt: (isLate: boolean) => boolean, holder: () => number | undefined): Promise<void> {
    const { clock, signal, gateOf, report, refusal } = this.#options
    const waited = () => {
      report?.waited(holder)
      if (clock.monotonicMs() <= this.#deadlineMs) return
      throw new LitefsError("unavailable", refusal(describeProcess(holder())))
    }
    const how = gateOf === undefined ? { isSought: true } : { isCrowded: true }
    return untilLocked({ clock, signal, ...how, waited }, (isLate) => {
      this.#checkHeld()
      return attempt(isLate)
    })
  }
}
