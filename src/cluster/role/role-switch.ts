/**
 * Makes all databases of this node change hands between its threads, under the clients of its mount
 * (capture/ownership.ts), and the commit log with them:
 *
 *   inherit()    stop following ─▶ peer: handOver              finishes what has come, closes the log
 *                               ─▶ fs: inherit                 opens the log, captures
 *                               ─▶ peer: letGoAll              closes the files
 *   handOver()   end the streams ─▶ peer: lockWrites           of WALs that clients write past the fs thread
 *                               ─▶ fs: handOver                undoes what is unfinished, closes the log
 *                               ─▶ peer: inherit ─▶ follow     opens the log, holds the files, keeps those locks
 *
 * A crash in between is like any other: the next start recovers the log and the databases.
 */
import type { DatabaseHandover } from "../../capture/handover.ts"
import { type Clock, sleep } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import type { Sender } from "../../lib/port.ts"
import type { Pos } from "../../ltx/pos.ts"
import type { FsThread } from "../../mount/contract.ts"
import type { KeptWrites, PeerThread } from "../../peer/contract.ts"
import type { Halting } from "../locks/halting.ts"
import type { RoleActions } from "./member.ts"

const log = logger("member")

/**
 * Time for the application to answer requests that write. New requests wait, by default not much longer than this.
 * Longer ones, like streams, are not waited for.
 */
const SETTLE_MS_MAX = 3000
/** A client that is in a write transaction of such a WAL for longer is named in the log. */
const PASSED_MS = 5000
const RETRY_MS = 50

export interface RoleSwitchContext {
  readonly fs: Sender<FsThread>
  readonly peer: Sender<PeerThread>
  readonly halting: Halting
  readonly clock: Clock
  positions(): ReadonlyMap<string, Pos>
  /** What others acknowledge from here on does not count: they may be on another primary's history. */
  lost(): void
  follow(): void
  /**
   * Waits for those who make clients write, and who begin nothing new once the node drains. Resolves when all they have
   * begun is done, or after the limit, with the number that is left.
   */
  settled(limitMs: number): Promise<number>
  /** Resolves when nothing arrives any more. */
  unfollow(): Promise<void>
  /** Ends the streams to replicas. */
  endStreams(): void
}

export class RoleSwitch implements RoleActions {
  readonly #context: RoleSwitchContext
  #lock: number | undefined // keeps clients from writing, from drain() on

  constructor(context: RoleSwitchContext) {
    this.#context = context
  }

  shut(): void {
    this.#context.lost()
    this.#context.fs.call("shut").catch(() => {}) // it takes no writes all the same
  }

  async drain(limitMs: number): Promise<ReadonlyMap<string, Pos>> {
    const { fs, peer, halting, positions, settled } = this.#context
    const left = await settled(SETTLE_MS_MAX)
    if (left > 0)
      log.warn("the application has not finished its writes, handing over", { writes: left })
    await halting.locks.pause(limitMs)
    const names = [...positions().keys()]
    const passed = await fs.call("passed")
    this.#lock = await peer.call("lockWrites", names, limitMs, false, passed)
    const unfollowed = await fs.call("follow")
    if (unfollowed !== undefined) {
      const problem = `what clients have committed to "${unfollowed}" cannot be captured, see the log`
      throw new LitefsError("unavailable", `Cannot hand over: ${problem}`)
    }
    await fs.call("shut")
    await peer.call("checkWrites", this.#lock, await fs.call("passed"))
    // A replica cannot have a database that is dropped, or has no transaction yet.
    return new Map(positions())
  }

  resume(): void {
    this.#context.fs.tell("open")
    this.#context.halting.locks.resume()
    if (this.#lock !== undefined) this.#context.peer.tell("unlockWrites", this.#lock)
    this.#lock = undefined
  }

  async handOver(signal: AbortSignal): Promise<void> {
    const { peer, halting, endStreams, follow } = this.#context
    endStreams()
    await halting.locks.revokeAll()
    const kept = await this.#lockPassed(signal)
    await peer.call("inherit", await this.#take(signal), kept)
    this.#lock = undefined
    follow()
  }

  /** What fails on the way is tried again, for as long as the fs thread finds it worth that. */
  async #take(signal: AbortSignal): Promise<readonly DatabaseHandover[]> {
    const { fs, clock } = this.#context
    for (;;) {
      try {
        return await fs.call("handOver")
      } catch (error) {
        signal.throwIfAborted()
        if (!(error instanceof LitefsError && error.code === "unavailable")) throw error
        await sleep(clock, RETRY_MS)
      }
    }
  }

  /**
   * Keeps clients from writing past the fs thread, and waits for those in write transactions. The fs thread is shut:
   * nobody begins to pass, and those that commit at a sync are refused.
   */
  async #lockPassed(signal: AbortSignal): Promise<KeptWrites | undefined> {
    const { fs, peer, clock } = this.#context
    const databases = await fs.call("passed")
    if (databases.length === 0) return undefined
    let isSaid = false
    for (;;) {
      try {
        this.#lock ??= await peer.call("lockWrites", databases, PASSED_MS, true, databases)
        await peer.call("checkWrites", this.#lock, databases)
        return { lock: this.#lock, databases }
      } catch (error) {
        signal.throwIfAborted()
        if (!(error instanceof LitefsError && error.code === "unavailable")) throw error
        if (this.#lock !== undefined) peer.tell("unlockWrites", this.#lock) // of a drain that has failed
        this.#lock = undefined
        const waits = "cannot step down while clients write past LiteFS, waiting for them"
        if (!isSaid) log.warn(waits, { problem: error.message })
        isSaid = true
        await sleep(clock, RETRY_MS)
      }
    }
  }

  async inherit(isWanted: () => boolean): Promise<void> {
    const { fs, peer, halting, follow, unfollow } = this.#context
    await halting.endBorrowing()
    await unfollow()
    try {
      const handovers = await peer.call("handOver")
      if (!isWanted()) {
        await peer.call("inherit", handovers)
        throw new LitefsError("no-primary", "another node has become the primary")
      }
      await fs.call("inherit", handovers)
    } catch (error) {
      follow()
      throw error
    }
    await peer.call("letGoAll")
    halting.locks.resume()
  }
}
