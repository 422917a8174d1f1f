/**
 * fcntl(2) locks on `<db>-lock`, as programs written for the original take them: a write lock of byte 72 is its halt
 * lock (litefs-go: Halt). A lock of any other bytes means the same here.
 *
 * The kernel keeps these locks, and would grant one without asking anybody. The peer thread therefore locks the file
 * before any client has it open to write. A client that waits for a lock waits for the peer thread's, and the peer
 * thread sees it (peer/locks/halt-bytes.ts). A client that does not wait (F_SETLK) is refused.
 *
 *   opening() ─▶ the peer thread locks the file ─▶ held(): the open is answered
 *   wanted(): a client waits for a lock ─▶ the write lock of the database, as for flock(2) ─▶ the peer thread lets go
 *   unwanted(): the client has given it up, and the peer thread has it again ─▶ the write lock goes back
 *   released() by the last one ─▶ the peer thread closes the file
 */
import { Deferred } from "../../fuse/deferred.ts"
import { Errno } from "../../sys/errno.ts"
import type { HaltFlocks } from "../databases/halt-flocks.ts"
import type { LockEntry } from "./lock.ts"

export interface HaltBytesContext {
  readonly flocks: Pick<HaltFlocks, "set" | "release">
  /** Has the peer thread lock the file. Answered by held(). */
  hold(database: string): void
  /** A client that waits for a lock of the file gets it, or keeps waiting. */
  granted(database: string, isGranted: boolean): void
  letGo(database: string): void
}

interface LockFile {
  readonly nodeId: number
  readonly handles: Set<number>
  readonly opening: Map<Deferred, number>
  isHeld: boolean
}

/** Owner of these locks among those of flock(2). The kernel has no such number. */
const OWNER = -1n

export class HaltBytes {
  readonly #context: HaltBytesContext
  readonly #files = new Map<string, LockFile>()

  constructor(context: HaltBytesContext) {
    this.#context = context
  }

  /** A client opens the file to write. */
  opening({ database, nodeId }: LockEntry, handle: number): Deferred | undefined {
    const known = this.#files.get(database)
    const file = known ?? { nodeId, handles: new Set(), opening: new Map(), isHeld: false }
    file.handles.add(handle)
    if (file.isHeld) return undefined
    const deferred = new Deferred()
    file.opening.set(deferred, handle)
    if (known === undefined) {
      this.#files.set(database, file)
      this.#context.hold(database)
    }
    return deferred
  }

  held(database: string, isHeld: boolean): void {
    const file = this.#files.get(database)
    if (file === undefined) return
    file.isHeld = isHeld
    const opening = [...file.opening]
    file.opening.clear()
    for (const [deferred, handle] of opening) {
      if (!isHeld) file.handles.delete(handle)
      if (isHeld) deferred.done()
      else deferred.fail(Errno.ENOLCK)
    }
    if (!isHeld) this.#forgetUnused(database, file)
  }

  wanted(database: string): void {
    const file = this.#files.get(database)
    if (file === undefined) return
    const answer = (errno: number) => this.#context.granted(database, errno === 0)
    const locking = this.#context.flocks.set(database, file.nodeId, OWNER, "exclusive", true)
    if (locking === undefined) answer(0)
    else locking.bind(answer)
  }

  unwanted(database: string): void {
    const file = this.#files.get(database)
    if (file !== undefined) this.#context.flocks.release(file.nodeId, OWNER)
  }

  released({ database }: LockEntry, handle: number): void {
    const file = this.#files.get(database)
    if (file?.handles.delete(handle) === true) this.#forgetUnused(database, file)
  }

  #forgetUnused(database: string, file: LockFile): void {
    if (file.handles.size > 0) return
    this.#files.delete(database)
    this.#context.letGo(database)
    this.#context.flocks.release(file.nodeId, OWNER)
  }
}
