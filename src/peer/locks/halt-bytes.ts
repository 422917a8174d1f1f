/**
 * The locks that this thread has on the files `<db>-lock`, so that the kernel grants none to a client before the write
 * lock of the database is there: mount/files/halt-bytes.ts says why.
 *
 *   hold() ─▶ held ── a client waits for a lock ──▶ asked ── granted(): let go ──▶ with the client
 *              ▲  └──────────── granted(): not to be had ──────────┘                  │
 *              └───────────────── it has given its lock up ──────────────────────────┘
 *
 * The kernel reports none of this. While clients have such a file open to write, this thread polls it.
 */
import { join } from "node:path"
import { type Clock, sleep } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import type { Sender } from "../../lib/port.ts"
import type { FsThreadOfPeer } from "../../mount/contract.ts"
import { closeFile, type Fd, O_RDWR } from "../../sys/file.ts"
import { openOwnFile } from "../../sys/file-access.ts"
import {
  isAwaited,
  isLockedByOther,
  lockedName,
  locksIfKnown,
  readLocks,
  tryLock,
  unlock,
} from "../../sys/locks.ts"
import { untilLocked } from "./lock-wait.ts"

const POLL_MS = 10
/** A client that was refused and waits on asks again after this time. */
const RETRY_MS = 500
/** A client that should have the lock takes it at once, unless it was killed. */
const TAKE_MS_MAX = 500
/** A client's lock goes when its last descriptor is closed, before the fs thread hears of that. */
const HOLD_MS_MAX = 1000

export interface HaltBytesContext {
  readonly fuseDir: string
  readonly clock: Clock
  /** Aborted when the node stops. */
  readonly signal: AbortSignal
  readonly fs: Pick<Sender<FsThreadOfPeer>, "tell">
}

type State =
  | { readonly kind: "held"; readonly untilMs: number } // whoever waits
  | { readonly kind: "asked" }
  | { readonly kind: "granted"; readonly sinceMs: number; isTaken: boolean }

interface LockFile {
  readonly fd: Fd
  readonly name: string // in /proc/locks
  state: State
}

export class HaltBytes {
  readonly #context: HaltBytesContext
  readonly #files = new Map<string, LockFile>()
  #isPolling = false

  constructor(context: HaltBytesContext) {
    this.#context = context
  }

  /** Locks the file of the database before anybody else. */
  async hold(database: string): Promise<void> {
    const { fuseDir, clock, signal } = this.#context
    readLocks() // nothing is granted if this fails
    const fd = openOwnFile("mount:open", join(fuseDir, `${database}-lock`), O_RDWR)
    try {
      const waited = (waitedMs: number) => {
        if (waitedMs > HOLD_MS_MAX) throw new LitefsError("no-lock", "others have locked it")
      }
      await untilLocked({ clock, signal, waited }, () => tryLockWhole(fd))
      this.#files.set(database, { fd, name: lockedName(fd), state: { kind: "held", untilMs: 0 } })
    } catch (error) {
      closeFile(fd)
      throw error
    }
    if (!this.#isPolling) void this.#poll()
  }

  /** Whether the client that waits for a lock of the file may have it. */
  granted(database: string, isGranted: boolean): void {
    const file = this.#files.get(database)
    if (file === undefined) return
    const nowMs = this.#context.clock.monotonicMs()
    if (isGranted) unlock(file.fd, 0, 0)
    file.state = isGranted
      ? { kind: "granted", sinceMs: nowMs, isTaken: false }
      : { kind: "held", untilMs: nowMs + RETRY_MS }
  }

  /** Nobody can lock it any more. */
  letGo(database: string): void {
    const file = this.#files.get(database)
    if (file !== undefined) closeFile(file.fd)
    this.#files.delete(database)
  }

  close(): void {
    for (const database of [...this.#files.keys()]) this.letGo(database)
  }

  async #poll(): Promise<void> {
    const { clock, signal } = this.#context
    this.#isPolling = true
    try {
      while (this.#files.size > 0 && !signal.aborted) {
        this.#look()
        await sleep(clock, POLL_MS, signal)
      }
    } catch {
      // The node stops.
    } finally {
      this.#isPolling = false
    }
  }

  #look(): void {
    const { clock, fs } = this.#context
    const nowMs = clock.monotonicMs()
    let locks: string | undefined
    for (const [database, file] of this.#files) {
      const { fd, state } = file
      if (state.kind === "held" && nowMs >= state.untilMs) {
        locks ??= locksIfKnown()
        if (locks === undefined) continue // the next look may tell
        if (!isAwaited(locks, file.name)) continue
        file.state = { kind: "asked" }
        fs.tell("lockFileWanted", database)
      } else if (state.kind === "granted") {
        if (isLockedByOther(fd, "exclusive", 0, 0)) state.isTaken = true
        else if (state.isTaken || nowMs - state.sinceMs > TAKE_MS_MAX) {
          if (!tryLockWhole(fd)) continue
          file.state = { kind: "held", untilMs: 0 }
          fs.tell("lockFileUnwanted", database)
        }
      }
    }
  }
}

function tryLockWhole(fd: Fd): boolean {
  return tryLock(fd, "exclusive", 0, 0)
}
