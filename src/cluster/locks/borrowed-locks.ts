/**
 * The write locks that this node borrows from the primary (borrowed-lock.ts), one for each database that its clients
 * write to.
 *
 * Writers in succession keep a lock for a while, or until the primary says that others want it. Then it goes back after
 * the current transaction, and later writers borrow it anew, behind the others.
 */
import { type ErrorCode, LitefsError } from "../../lib/errors.ts"
import type { Pos } from "../../ltx/pos.ts"
import type { Borrower } from "../../mount/contract.ts"
import { BorrowedLock, type BorrowedLockContext } from "./borrowed-lock.ts"
import { type CallPrimary, Lender } from "./lender.ts"

export interface BorrowedLocksContext extends Omit<BorrowedLockContext, "lender" | "isStopping"> {
  readonly call: CallPrimary
  /** Throws when this node is not a replica, or is becoming something else. */
  checkReplica(): void
}

export class BorrowedLocks {
  readonly #context: BorrowedLocksContext & BorrowedLockContext
  readonly #locks = new Map<string, BorrowedLock>()
  #isClosed = false

  constructor(context: BorrowedLocksContext) {
    const lender = new Lender(context.clock, context.call)
    this.#context = { ...context, lender, isStopping: () => this.#isClosed }
  }

  isHeld(database: string): boolean {
    return this.#locks.get(database)?.isHeld === true
  }

  /** Resolves when clients of this node may write. A giveBack() must follow every call. */
  async borrow(database: string, user: Borrower, waits = true): Promise<void> {
    for (;;) {
      if (this.#isClosed) throw new LitefsError("unavailable", "the node is stopping")
      this.#context.checkReplica()
      const known = this.#locks.get(database)
      if (known === undefined) break
      if (!known.isLeaving) return known.join(user)
      await known.gone
    }
    const onGone = () => this.#locks.delete(database)
    const lock = new BorrowedLock(database, this.#context, waits, onGone)
    this.#locks.set(database, lock)
    await lock.join(user)
  }

  /** A user that has given back, or is about to, goes on. Does nothing when the lock is already on its way back. */
  use(database: string, user: Borrower): void {
    this.#locks.get(database)?.use(user)
  }

  /** A user that borrows the lock again within `lingerMs` has it at once. */
  async giveBack(database: string, user: Borrower, lingerMs = 0): Promise<void> {
    await this.#locks.get(database)?.giveBack(user, lingerMs)
  }

  /** A transaction of a client. Resolves with why it does not count; undefined when the primary has it. */
  async propose(database: string, bytes: Uint8Array): Promise<ErrorCode | undefined> {
    const lock = this.#locks.get(database)
    return lock === undefined ? "no-primary" : lock.propose(bytes)
  }

  /** Resolves when enough replicas have what the primary has taken; with false when the lock is lost before. */
  async synced(database: string, pos: Pos): Promise<boolean> {
    return (await this.#locks.get(database)?.synced(pos)) === true
  }

  /** Somebody else may write to the database. Resolves when this node follows the primary again. */
  async lost(database: string, reason: string): Promise<void> {
    await this.#locks.get(database)?.lost(reason)
  }

  /** This node becomes the primary, or stops. */
  async endAll(): Promise<void> {
    await Promise.all([...this.#locks.values()].map((lock) => lock.abandon()))
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.endAll()
  }
}
