/**
 * The fcntl(2) locks of the mount's files, when they are requests (`--forward-writes`). The peer thread asks for its
 * locks as SQLite does.
 *
 * An entry has a say in the exclusive locks of clients. The table asks it (`locking`) when no lock on this node
 * conflicts. The entry may let the client wait, and the table decides afterwards. For every ask that it does not
 * refuse, the entry hears the end (`unlocked`): when the lock is given up, or at once when the client does not get it.
 * An entry that counts owners then knows whether it is still needed:
 *
 *   locking(): refused ──▶ nothing follows
 *   locking(): granted, or done later ──▶ the lock is had ──▶ unlock, downgrade, death: unlocked()
 *                                     └─▶ somebody was faster, or the client was interrupted: unlocked()
 *
 * An interrupted client is answered at once and gets nothing.
 */
import { Deferred } from "../../fuse/deferred.ts"
import type { Caller, LockOwner, PosixLock, PosixLockRequest } from "../../fuse/filesystem.ts"
import { FuseError } from "../../fuse/fuse-error.ts"
import { type LockRange, overlaps, without } from "../../fuse/lock-range.ts"
import { PosixLockTable } from "../../fuse/posix-lock-table.ts"
import { Errno } from "../../sys/errno.ts"
import type { FileEntry } from "../files/entry.ts"
import { errnoOf } from "./errno.ts"

/** An ask that an entry has let pass, until the table has decided. */
interface Ask {
  readonly nodeId: number
  readonly request: PosixLockRequest
}

export class FileLocks {
  readonly #table = new PosixLockTable((nodeId, lock) => {
    if (!this.#peerHandles.has(lock.handle)) this.#tellUnlocked(nodeId, lock.owner, lock)
  })
  readonly #peerHandles = new Set<number>()
  readonly #asks = new Set<Ask>()
  readonly #entryOf: (nodeId: number) => FileEntry | undefined

  constructor(entryOf: (nodeId: number) => FileEntry | undefined) {
    this.#entryOf = entryOf
  }

  /** The peer thread has opened a file. Entries have no say in locks made through this handle. */
  openedByPeer(handle: number): void {
    this.#peerHandles.add(handle)
  }

  get(nodeId: number, request: PosixLockRequest): PosixLock | undefined {
    return this.#table.conflict(nodeId, request)
  }

  set(
    nodeId: number,
    request: PosixLockRequest,
    wait: boolean,
    caller: Caller,
  ): Deferred | undefined {
    const entry = this.#entryOf(nodeId)
    if (entry === undefined || !this.#mustAsk(nodeId, request)) {
      return this.#table.set(nodeId, request, wait)
    }
    if (!wait && this.#table.conflict(nodeId, request) !== undefined) {
      throw FuseError.of(Errno.EAGAIN)
    }
    const asked = entry.locking(request, request.owner, caller)
    const ask = { nodeId, request }
    this.#asks.add(ask)
    return asked === undefined ? this.#decide(ask, wait) : this.#decideAfter(asked, ask, wait)
  }

  /** A descriptor was closed. Its owner's locks go when the entry has answered, as `answer` says. */
  flushed(nodeId: number, owner: LockOwner, answer: Deferred | undefined): Deferred | undefined {
    if (answer === undefined) {
      this.#table.releaseOwner(nodeId, owner)
      return undefined
    }
    const deferred = new Deferred()
    answer.bind((errno) => {
      this.#table.releaseOwner(nodeId, owner)
      settle(deferred, errno)
    })
    return deferred
  }

  released(nodeId: number, handle: number): void {
    this.#table.releaseHandle(nodeId, handle)
    this.#peerHandles.delete(handle)
  }

  #mustAsk(nodeId: number, request: PosixLockRequest): boolean {
    if (request.kind !== "exclusive" || this.#peerHandles.has(request.handle)) return false
    return without(request, this.#table.exclusiveOf(nodeId, request.owner)).length > 0
  }

  #decide(ask: Ask, wait: boolean): Deferred | undefined {
    try {
      const waiting = this.#table.set(ask.nodeId, ask.request, wait)
      if (waiting === undefined) {
        this.#asks.delete(ask)
        return undefined
      }
      const deferred = new Deferred(() => waiting.interrupt())
      waiting.bind((errno) => {
        this.#ended(ask)
        settle(deferred, errno)
      })
      return deferred
    } catch (error) {
      this.#ended(ask)
      throw error
    }
  }

  #decideAfter(asked: Deferred, ask: Ask, wait: boolean): Deferred {
    let isInterrupted = false
    const deferred = new Deferred(() => {
      isInterrupted = true
      if (asked.isWaiting) asked.interrupt()
    })
    asked.bind((errno) => {
      if (errno !== 0) this.#asks.delete(ask)
      else if (isInterrupted) this.#ended(ask)
      if (isInterrupted) return
      if (errno !== 0) deferred.fail(errno)
      else this.#decideInto(deferred, ask, wait)
    })
    return deferred
  }

  #decideInto(deferred: Deferred, ask: Ask, wait: boolean): void {
    try {
      const waiting = this.#decide(ask, wait)
      if (waiting === undefined) return deferred.done()
      deferred.onInterrupt = () => waiting.interrupt()
      waiting.bind((errno) => settle(deferred, errno))
    } catch (error) {
      deferred.fail(errnoOf(error))
    }
  }

  /** The ask is over, with or without the lock. */
  #ended(ask: Ask): void {
    this.#asks.delete(ask)
    this.#tellUnlocked(ask.nodeId, ask.request.owner, ask.request)
  }

  /** Reports the parts of the range that the owner neither holds nor has asked for. */
  #tellUnlocked(nodeId: number, owner: LockOwner, range: LockRange): void {
    const entry = this.#entryOf(nodeId)
    if (entry === undefined) return
    const asked = [...this.#asks].filter(
      (ask) => ask.nodeId === nodeId && ask.request.owner === owner,
    )
    const held = [
      ...this.#table.exclusiveOf(nodeId, owner),
      ...asked.map(({ request }) => request),
    ].filter((other) => overlaps(other, range))
    for (const part of without(range, held)) entry.unlocked(part, owner)
  }
}

function settle(deferred: Deferred, errno: number): void {
  if (errno === 0) deferred.done()
  else deferred.fail(errno)
}
