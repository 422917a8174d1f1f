/**
 * fcntl(2) locks: ranges of bytes, as Linux keeps them (fs/locks.c, posix_lock_inode), for a mount whose locks are
 * requests. POSIX locks and open file description locks differ only in their owner: a process, or an open file.
 *
 * 1. On a byte an owner has at most one lock, its latest: ranges are split and merged as needed, and a change of kind
 *    is a change in place. A byte has many shared locks or one exclusive lock.
 * 2. A lock is granted for all of its range or, on a conflict, for none of it; the owner's earlier locks then stay.
 * 3. When a lock goes or becomes shared, waiters are asked again in order of arrival. A lock without a conflict is
 *    granted at once, even when others wait.
 * 4. Nobody begins to wait for somebody who waits for it, directly or through others: EDEADLK. Linux exempts open file
 *    descriptions; the protocol does not tell which owners these are, so here they are not exempt.
 *
 * The kernel sends no request to unlock when a descriptor is closed: POSIX locks go at the FLUSH of their owner, those
 * of open file descriptions at the RELEASE of the handle they were made through (as do the former, when the kernel
 * could not flush). A node without locks and waiters takes no memory.
 */
import { Errno } from "../sys/errno.ts"
import { Deferred } from "./deferred.ts"
import type { LockOwner, PosixLock, PosixLockRequest } from "./filesystem.ts"
import { FuseError } from "./fuse-error.ts"
import { intersection, overlaps } from "./lock-range.ts"

interface Waiter {
  readonly request: PosixLockRequest
  readonly deferred: Deferred
}

interface NodeLocks {
  held: readonly PosixLock[] // by start
  waiters: readonly Waiter[] // by arrival
}

export class PosixLockTable {
  readonly #nodes = new Map<number, NodeLocks>()
  readonly #onLost: (nodeId: number, lock: PosixLock) => void

  /** `onLost` hears of every range that is no longer locked exclusively, after the change of the table. */
  constructor(onLost: (nodeId: number, lock: PosixLock) => void = () => {}) {
    this.#onLost = onLost
  }

  /** The first conflicting lock of another owner. */
  conflict(nodeId: number, request: PosixLockRequest): PosixLock | undefined {
    return this.#nodes.get(nodeId)?.held.find((lock) => isInTheWay(lock, request))
  }

  exclusiveOf(nodeId: number, owner: LockOwner): PosixLock[] {
    const held = this.#nodes.get(nodeId)?.held ?? []
    return held.filter((lock) => lock.owner === owner && lock.kind === "exclusive")
  }

  /**
   * Locks, or unlocks, a range. A conflict is EAGAIN, or, with `wait`, a Deferred that is done when the lock is
   * granted. A signal to the client ends the wait.
   */
  set(nodeId: number, request: PosixLockRequest, wait: boolean): Deferred | undefined {
    if (this.conflict(nodeId, request) !== undefined) {
      if (!wait) throw FuseError.of(Errno.EAGAIN)
      if (this.#wouldDeadlock(nodeId, request)) throw FuseError.of(Errno.EDEADLK)
      return this.#wait(nodeId, request)
    }
    const locks = this.#at(nodeId)
    const lost: PosixLock[] = []
    locks.held = changed(locks.held, request, lost)
    this.#changed(nodeId, locks, lost)
    return undefined
  }

  /** The owner has closed a descriptor of the file, and thereby, says POSIX, loses all its locks on the file. */
  releaseOwner(nodeId: number, owner: LockOwner): void {
    this.#drop(nodeId, (lock) => lock.owner === owner)
  }

  /** The open file description is gone. */
  releaseHandle(nodeId: number, handle: number): void {
    this.#drop(nodeId, (lock) => lock.handle === handle)
  }

  #drop(nodeId: number, isGone: (lock: PosixLock) => boolean): void {
    const locks = this.#nodes.get(nodeId)
    if (locks === undefined || !locks.held.some(isGone)) return
    const lost = locks.held.filter((lock) => lock.kind === "exclusive" && isGone(lock))
    locks.held = locks.held.filter((lock) => !isGone(lock))
    this.#changed(nodeId, locks, lost)
  }

  #changed(nodeId: number, locks: NodeLocks, lost: PosixLock[]): void {
    const granted = grantWaiting(locks, lost)
    this.#forgetIfUnused(nodeId, locks)
    // Not before the table is in its final state: whoever hears of this may ask for locks.
    for (const lock of lost) this.#onLost(nodeId, lock)
    for (const deferred of granted) deferred.done()
  }

  #wait(nodeId: number, request: PosixLockRequest): Deferred {
    const locks = this.#at(nodeId)
    const deferred = new Deferred(() => {
      locks.waiters = locks.waiters.filter((waiter) => waiter.deferred !== deferred)
      this.#forgetIfUnused(nodeId, locks)
    })
    locks.waiters = [...locks.waiters, { request, deferred }]
    return deferred
  }

  #wouldDeadlock(nodeId: number, request: PosixLockRequest): boolean {
    const owners = new Set<LockOwner>() // the owners to wait for
    const waits = [{ locks: this.#at(nodeId), request }]
    for (const wait of waits) {
      for (const lock of wait.locks.held) {
        if (!isInTheWay(lock, wait.request)) continue
        if (lock.owner === request.owner) return true
        if (owners.has(lock.owner)) continue
        owners.add(lock.owner)
        waits.push(...this.#waitsOf(lock.owner))
      }
    }
    return false
  }

  #waitsOf(owner: LockOwner): { locks: NodeLocks; request: PosixLockRequest }[] {
    return [...this.#nodes.values()].flatMap((locks) =>
      locks.waiters
        .filter(({ request }) => request.owner === owner)
        .map(({ request }) => ({ locks, request })),
    )
  }

  #at(nodeId: number): NodeLocks {
    const locks = this.#nodes.get(nodeId) ?? { held: [], waiters: [] }
    this.#nodes.set(nodeId, locks)
    return locks
  }

  #forgetIfUnused(nodeId: number, { held, waiters }: NodeLocks): void {
    if (held.length === 0 && waiters.length === 0) this.#nodes.delete(nodeId)
  }
}

function isInTheWay(lock: PosixLock, request: PosixLockRequest): boolean {
  const canShare =
    request.kind === "unlock" || (request.kind === "shared" && lock.kind === "shared")
  return !canShare && lock.owner !== request.owner && overlaps(lock, request)
}

/** The locks after a request without a conflict. Adds what is no longer exclusive to `lost`. */
function changed(
  held: readonly PosixLock[],
  request: PosixLockRequest,
  lost: PosixLock[],
): readonly PosixLock[] {
  const { owner, kind } = request
  let { start, end } = request
  const left: PosixLock[] = []
  for (const lock of held) {
    if (lock.owner !== owner) {
      left.push(lock)
    } else if (overlaps(lock, request)) {
      if (lock.start < request.start) left.push({ ...lock, end: request.start - 1n })
      if (lock.end > request.end) left.push({ ...lock, start: request.end + 1n })
      if (lock.kind === "exclusive" && kind !== "exclusive") {
        lost.push({ ...lock, ...intersection(lock, request) })
      }
    } else {
      left.push(lock)
    }
  }
  if (kind === "unlock") return left

  // Merges the lock with its neighbours. The release of a handle takes the locks made through it, and no others.
  const apart = left.filter((lock) => {
    const isAlike = lock.owner === owner && lock.kind === kind && lock.handle === request.handle
    if (!isAlike || (lock.end + 1n !== request.start && request.end + 1n !== lock.start))
      return true
    if (lock.start < start) start = lock.start
    if (lock.end > end) end = lock.end
    return false
  })
  const next = apart.findIndex((lock) => lock.start > start)
  apart.splice(next < 0 ? apart.length : next, 0, { ...request, kind, start, end })
  return apart
}

/** Takes out the waiters who can have their lock now. */
function grantWaiting(locks: NodeLocks, lost: PosixLock[]): Deferred[] {
  const granted: Deferred[] = []
  for (;;) {
    const waiter = locks.waiters.find(
      ({ request }) => !locks.held.some((lock) => isInTheWay(lock, request)),
    )
    if (waiter === undefined) return granted
    locks.waiters = locks.waiters.filter((other) => other !== waiter)
    locks.held = changed(locks.held, waiter.request, lost)
    granted.push(waiter.deferred)
  }
}
