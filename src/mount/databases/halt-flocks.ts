/**
 * flock(2) on `<db>-lock`: an exclusive lock holds for the cluster, not only for this node. Its holder on a replica may
 * write to the database there.
 *
 *   set() ─▶ nobody on this node has it (fuse/flock-table.ts) ─▶ borrow: asked for ─▶ granted, the client goes on
 *                                                                     └── refused: the client's flock(2) fails
 *   unlocked, closed, or changed into a shared lock ─▶ give back
 */
import { Deferred } from "../../fuse/deferred.ts"
import type { FlockKind, LockOwner } from "../../fuse/filesystem.ts"
import type { FlockTable } from "../../fuse/flock-table.ts"
import { type ErrorCode, LitefsError } from "../../lib/errors.ts"
import { Errno } from "../../sys/errno.ts"
import { errnoOf } from "./errno.ts"

export interface HaltFlocksContext {
  readonly flocks: FlockTable
  /** Calls `then` with why the lock is unavailable; undefined when the client has it. */
  ask(database: string, waits: boolean, then: (code: ErrorCode | undefined) => void): void
  giveBack(database: string): void
}

interface Lock {
  readonly database: string
  readonly owner: LockOwner
  readonly nodeId: number
  isGranted: boolean
  isGone: boolean // before it was granted
}

interface Asking {
  readonly lock: Lock
  readonly deferred: Deferred
  readonly waits: boolean
}

export class HaltFlocks {
  readonly #context: HaltFlocksContext
  readonly #locks = new Map<number, Lock>() // by node, exclusive ones

  constructor(context: HaltFlocksContext) {
    this.#context = context
  }

  set(
    database: string,
    nodeId: number,
    owner: LockOwner,
    kind: FlockKind,
    waits: boolean,
  ): Deferred | undefined {
    const held = this.#locks.get(nodeId)
    if (held?.owner === owner && !held.isGone && kind === "exclusive") return undefined
    if (held?.owner === owner) this.#leave(held)
    const locking = this.#context.flocks.set(nodeId, owner, kind, waits)
    if (kind !== "exclusive") return locking
    const deferred = new Deferred()
    if (locking === undefined) {
      this.#ask(database, nodeId, owner, deferred, waits)
      return deferred
    }
    deferred.onInterrupt = () => locking.interrupt()
    locking.bind((errno) => {
      if (!deferred.isWaiting) return
      deferred.onInterrupt = undefined
      if (errno !== 0) deferred.fail(errno)
      else this.#ask(database, nodeId, owner, deferred, waits)
    })
    return deferred
  }

  /** The open file description is gone. */
  release(nodeId: number, owner: LockOwner): void {
    const held = this.#locks.get(nodeId)
    if (held?.owner === owner) this.#leave(held)
    this.#context.flocks.release(nodeId, owner)
  }

  #answer({ lock, deferred, waits }: Asking, code: ErrorCode | undefined): void {
    if (code === undefined && !lock.isGone) {
      lock.isGranted = true
      if (deferred.isWaiting) return deferred.done()
    }
    if (code === undefined) this.#context.giveBack(lock.database)
    if (lock.isGone) return
    this.#locks.delete(lock.nodeId)
    this.#context.flocks.release(lock.nodeId, lock.owner)
    if (!deferred.isWaiting) return
    if (code === "no-lock" && !waits) deferred.fail(Errno.EAGAIN)
    else if (code === "no-lock" || code === "unavailable") deferred.fail(Errno.ENOLCK)
    else deferred.fail(code === undefined ? Errno.EINTR : errnoOf(new LitefsError(code, "")))
  }

  #ask(
    database: string,
    nodeId: number,
    owner: LockOwner,
    deferred: Deferred,
    waits: boolean,
  ): void {
    const lock = { database, nodeId, owner, isGranted: false, isGone: false }
    this.#locks.set(nodeId, lock)
    deferred.onInterrupt = () => {
      this.#leave(lock)
      this.#context.flocks.release(nodeId, owner)
    }
    const asking = { lock, deferred, waits }
    this.#context.ask(database, waits, (code) => this.#answer(asking, code))
  }

  #leave(lock: Lock): void {
    if (this.#locks.get(lock.nodeId) === lock) this.#locks.delete(lock.nodeId)
    if (lock.isGranted) this.#context.giveBack(lock.database)
    else lock.isGone = true // given back when it comes
  }
}
