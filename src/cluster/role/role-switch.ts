/**
 * Makes all databases of this node change hands between its threads, under the clients of its mount
 * (capture/ownership.ts), and the commit log with them:
 *
 *   inherit()    stop following ─▶ peer: handOver              finishes what has come, closes the log
 *                               ─▶ fs: inherit                 opens the log, captures
 *                               ─▶ peer: letGoAll              closes the files
 *   handOver()   end the streams ─▶ fs: handOver               undoes what is unfinished, closes the log
 *                               ─▶ peer: inherit ─▶ follow     opens the log, holds the files
 *
 * A crash in between is like any other: the next start recovers the log and the databases.
 */
import { LitefsError } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import type { Sender } from "../../lib/port.ts"
import type { Pos } from "../../ltx/pos.ts"
import type { FsThread } from "../../mount/contract.ts"
import type { PeerThread } from "../../peer/contract.ts"
import type { Halting } from "../locks/halting.ts"
import type { RoleActions } from "./member.ts"

const log = logger("member")

/**
 * Time for the application to answer requests that write. New requests wait, by default not much longer than this.
 * Longer ones, like streams, are not waited for.
 */
const SETTLE_MS_MAX = 3000

export interface RoleSwitchContext {
  readonly fs: Sender<FsThread>
  readonly peer: Sender<PeerThread>
  readonly halting: Halting
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
    const passed = await fs.call("passed")
    if (passed !== undefined) {
      throw new LitefsError(
        "unavailable",
        `Cannot hand over: clients of "${passed}" write past LiteFS (--capture behind), end them first`,
      )
    }
    const left = await settled(SETTLE_MS_MAX)
    if (left > 0)
      log.warn("the application has not finished its writes, handing over", { writes: left })
    await halting.locks.pause(limitMs)
    this.#lock = await peer.call("lockWrites", [...positions().keys()], limitMs, false)
    await fs.call("shut")
    // A replica cannot have a database that is dropped, or has no transaction yet.
    return new Map(positions())
  }

  resume(): void {
    this.#context.fs.tell("open")
    this.#context.halting.locks.resume()
    if (this.#lock !== undefined) this.#context.peer.tell("unlockWrites", this.#lock)
    this.#lock = undefined
  }

  async handOver(): Promise<void> {
    const { fs, peer, halting, endStreams, follow } = this.#context
    endStreams()
    await halting.locks.revokeAll()
    await peer.call("inherit", await fs.call("handOver"))
    follow()
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
