/**
 * Clients of a replica that write as if it were the primary (`--forward-writes`). When a client asks for a writer's
 * lock, the primary's lock is borrowed before the client gets an answer. Each database has one of these.
 *
 *   locking(): RESERVED of the database, or WRITE of the wal-index
 *        │ borrowed already                     asked for
 *        ▼                                          │
 *     granted ◀──────────── here it is ─────────────┤
 *     "busy": SQLite asks again, or gives up ◀──────┤ another node has it for too long; this node has to catch up,
 *                                                   │ which the client itself blocks in a rollback mode
 *     granted, and its first write fails as on any replica ◀── there is no primary
 *
 * Without a primary the lock is granted because the client may be a reader: a reader that finds no valid wal-index
 * locks WRITE to make one.
 *
 * When nobody writes any more the lock goes back a moment later: a burst of transactions pays once. After closing() a
 * newcomer waits until the lock is back and then borrows it anew. Otherwise clients that write all the time would keep
 * it.
 */
import { Deferred } from "../../fuse/deferred.ts"
import type { LockOwner } from "../../fuse/filesystem.ts"
import { FuseError } from "../../fuse/fuse-error.ts"
import type { ErrorCode } from "../../lib/errors.ts"
import { Errno } from "../../sys/errno.ts"

export interface ForwardedWritesContext {
  /** Asks for the lock of the primary. `isPatient`: the client blocks nobody while it waits. */
  ask(database: string, isPatient: boolean): void
  /** The lock is borrowed already, and in use again. */
  use(database: string): void
  /** `isUnused`: the client that asked for it was told to ask again, and is about to. */
  giveBack(database: string, isUnused: boolean): void
}

export class ForwardedWrites {
  readonly #context: ForwardedWritesContext
  readonly #database: string
  readonly #writers = new Set<LockOwner>()
  readonly #waiting = new Map<Deferred, LockOwner>()
  #isAsking = false
  #isClosing = false // the borrowed lock is about to go back
  #isAnswering = false // a client that does not get its own lock after all asks again
  #isLate = false // the clients that block others were told so

  constructor(database: string, context: ForwardedWritesContext) {
    this.#database = database
    this.#context = context
  }

  locking(owner: LockOwner, isBorrowed: boolean, isPatient: boolean): Deferred | undefined {
    // A writer that kept waiting here would block the apply that has to come before the lock is borrowed.
    if (this.#isLate && !isPatient) throw FuseError.of(Errno.EAGAIN)
    if (isBorrowed && !this.#isClosing) {
      const isFirst = this.#writers.size === 0
      this.#writers.add(owner)
      if (isFirst) this.#context.use(this.#database)
      return undefined
    }
    const deferred = new Deferred()
    deferred.onInterrupt = () => {
      this.#waiting.delete(deferred)
    }
    this.#waiting.set(deferred, owner)
    if (!this.#isAsking) this.#context.ask(this.#database, isPatient)
    this.#isAsking = true
    return deferred
  }

  unlocked(owner: LockOwner): void {
    if (!this.#writers.delete(owner) || this.#writers.size > 0 || this.#isAnswering) return
    // While the lock is asked for, others need it. A lock that is about to go back was this client's.
    if (!this.#isAsking || this.#isClosing) this.#context.giveBack(this.#database, false)
  }

  closing(): void {
    this.#isClosing = true
  }

  /** The lock is borrowed anew. */
  opened(): void {
    this.#isClosing = false
  }

  /** It takes longer: clients that block others must ask again. */
  late(): void {
    this.#isLate = this.#isAsking
    const waiting = [...this.#waiting.keys()]
    this.#waiting.clear()
    for (const deferred of waiting) if (deferred.isWaiting) deferred.fail(Errno.EAGAIN)
  }

  /** `code` is why the lock of the primary is unavailable; undefined when it is borrowed. */
  answer(code: ErrorCode | undefined): void {
    this.#isAsking = false
    this.#isLate = false
    if (code === "no-lock") return this.late()
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const [deferred, owner] of waiting) if (deferred.isWaiting) this.#writers.add(owner)
    this.#isAnswering = true
    for (const [deferred] of waiting) if (deferred.isWaiting) deferred.done()
    this.#isAnswering = false
    if (code === undefined && this.#writers.size === 0) {
      this.#context.giveBack(this.#database, true)
    }
  }
}
