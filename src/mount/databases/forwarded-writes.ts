/**
 * Clients of a replica that write as if it were the primary (`--forward-writes`): when one asks for the lock of a
 * writer, the primary's is borrowed before it gets an answer. There is one of these for each database.
 *
 *   locking(): RESERVED of the database, or WRITE of the wal-index
 *        │ borrowed already                     asked for
 *        ▼                                          │
 *     granted ◀──────────── here it is ─────────────┤
 *     "busy": SQLite asks again, or gives up ◀──────┤ another node has it for too long; this node has to catch up,
 *                                                   │ which in a rollback mode the client itself is in the way of
 *     granted, and its first write fails as on any replica ◀── there is no primary
 *
 * The last one since it may be a reader: one that finds no valid wal-index makes one, and locks WRITE for that.
 *
 * When nobody writes any more the lock is given back, a moment later: a burst of transactions pays once. From closing()
 * on, whoever comes waits until it has been, and is borrowed anew: else those who write all the time would keep it.
 */
import { Deferred } from "../../fuse/deferred.ts"
import type { LockOwner } from "../../fuse/filesystem.ts"
import { FuseError } from "../../fuse/fuse-error.ts"
import type { ErrorCode } from "../../lib/errors.ts"
import { Errno } from "../../sys/errno.ts"

export interface ForwardedWritesContext {
  /** Asks for the lock of the primary. `isPatient`: the client is in nobody's way while it waits. */
  ask(database: string, isPatient: boolean): void
  /** It is borrowed already, and in use again. */
  use(database: string): void
  /** `isUnused`: who has asked for it was told to ask again, and is about to. */
  giveBack(database: string, isUnused: boolean): void
}

export class ForwardedWrites {
  readonly #context: ForwardedWritesContext
  readonly #database: string
  readonly #writers = new Set<LockOwner>()
  readonly #waiting = new Map<Deferred, LockOwner>()
  #isAsking = false
  #isClosing = false // what is borrowed is about to be given back
  #isAnswering = false // who does not get the client's own lock in the end asks again
  #isLate = false // those who are in the way were told so

  constructor(database: string, context: ForwardedWritesContext) {
    this.#database = database
    this.#context = context
  }

  locking(owner: LockOwner, isBorrowed: boolean, isPatient: boolean): Deferred | undefined {
    // A writer that always waited here would keep out what has to be applied before the lock is borrowed.
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
    // While it is asked for, it is for others; but what is about to be given back was for this one.
    if (!this.#isAsking || this.#isClosing) this.#context.giveBack(this.#database, false)
  }

  closing(): void {
    this.#isClosing = true
  }

  /** It is borrowed anew. */
  opened(): void {
    this.#isClosing = false
  }

  /** It takes longer: those who are in the way are to ask again. */
  late(): void {
    this.#isLate = this.#isAsking
    const waiting = [...this.#waiting.keys()]
    this.#waiting.clear()
    for (const deferred of waiting) if (deferred.isWaiting) deferred.fail(Errno.EAGAIN)
  }

  /** `code` is why the lock of the primary is not to be had; undefined when it is. */
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
