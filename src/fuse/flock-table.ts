/**
 * flock(2) locks: whole files, held by open file descriptions, as Linux keeps them (fs/locks.c,
 * flock_lock_inode).
 *
 * 1. An owner has at most one lock on a node. A node has many shared locks or one exclusive lock.
 * 2. A change of a lock gives it up first: a change that is refused, or has to wait, has lost it (flock(2): "converting
 *    a lock is not guaranteed to be atomic").
 * 3. When a lock goes, waiters are asked again in order of arrival. A shared lock that is free at once is granted at
 *    once, even when others wait for an exclusive one.
 *
 * A node without locks and waiters takes no memory.
 */
import { Errno } from "../sys/errno.ts"
import { Deferred } from "./deferred.ts"
import type { FlockKind, LockOwner } from "./filesystem.ts"
import { FuseError } from "./fuse-error.ts"

type HeldKind = Exclude<FlockKind, "unlock">

interface Waiter {
  owner: LockOwner
  kind: HeldKind
  deferred: Deferred
}

interface NodeLocks {
  held: Map<LockOwner, HeldKind>
  waiters: Waiter[]
}

export class FlockTable {
  readonly #nodes = new Map<number, NodeLocks>()

  /**
   * Locks, or unlocks, the node. A conflict with others' locks is EAGAIN, or, with `wait`, a Deferred that is done when
   * the lock is granted. A signal to the client ends the wait.
   */
  set(nodeId: number, owner: LockOwner, kind: FlockKind, wait: boolean): Deferred | undefined {
    const locks = this.#nodes.get(nodeId) ?? { held: new Map(), waiters: [] }
    this.#nodes.set(nodeId, locks)
    if (locks.held.get(owner) === kind) return undefined

    const hadOne = locks.held.delete(owner)
    const isGranted = kind !== "unlock" && isFree(locks, owner, kind)
    if (isGranted) locks.held.set(owner, kind)
    if (hadOne) grantWaiting(locks)

    if (kind === "unlock" || isGranted) {
      this.#forgetIfUnused(nodeId, locks)
      return undefined
    }
    if (!wait) {
      this.#forgetIfUnused(nodeId, locks)
      throw FuseError.of(Errno.EAGAIN)
    }
    return this.#wait(nodeId, locks, owner, kind)
  }

  /** The open file description is gone, and its lock with it. */
  release(nodeId: number, owner: LockOwner): void {
    this.set(nodeId, owner, "unlock", false)
  }

  #wait(nodeId: number, locks: NodeLocks, owner: LockOwner, kind: HeldKind): Deferred {
    const deferred = new Deferred(() => {
      locks.waiters = locks.waiters.filter((waiter) => waiter.deferred !== deferred)
      this.#forgetIfUnused(nodeId, locks)
    })
    locks.waiters.push({ owner, kind, deferred })
    return deferred
  }

  #forgetIfUnused(nodeId: number, { held, waiters }: NodeLocks): void {
    if (held.size === 0 && waiters.length === 0) this.#nodes.delete(nodeId)
  }
}

function isFree({ held }: NodeLocks, owner: LockOwner, kind: HeldKind): boolean {
  for (const [other, otherKind] of held) {
    if (other !== owner && (kind === "exclusive" || otherKind === "exclusive")) return false
  }
  return true
}

function grantWaiting(locks: NodeLocks): void {
  const { waiters } = locks
  locks.waiters = []
  const granted: Waiter[] = []
  for (const waiter of waiters) {
    if (isFree(locks, waiter.owner, waiter.kind)) {
      locks.held.set(waiter.owner, waiter.kind)
      granted.push(waiter)
    } else {
      locks.waiters.push(waiter)
    }
  }
  for (const { deferred } of granted) deferred.done()
}
