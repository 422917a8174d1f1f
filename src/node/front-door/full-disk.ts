/**
 * Reports when the disk of the data directory is full, and when there is room again: once each.
 *
 * The disk is full from the first call that fails for it, on any thread. It has room again when no call has failed for
 * QUIET_MS, and either something was stored since, or more is free than at the failure: others may have filled the
 * disk, and a user's share of it (quota) can be full while the disk is not.
 */
import { statfsSync } from "node:fs"
import type { NodeProblems } from "../../cluster/node-problems.ts"
import { type Clock, every } from "../../lib/clock.ts"
import { logger } from "../../lib/log.ts"
import { formatSize } from "../../lib/size.ts"
import type { SharedFlags } from "../../store/shared-flags.ts"

const log = logger("litefs")

const LOOK_MS = 1000
const QUIET_MS = 5000
/** How often somebody looks whether writers that pass LiteFS have filled the disk. */
const WATCH_MS = 3000
/** So much more must be free than before; with less, the disk is full for those who pass. */
const ROOM_SIZE_MIN = 1024 * 1024

export interface FullDiskContext {
  readonly path: string
  readonly flags: Pick<SharedFlags, "fullCount" | "roomCount" | "noteFull">
  readonly problems: NodeProblems
  readonly clock: Clock
  /** Tells those who wait for a change of the node. */
  changed(): void
  /** Bytes; undefined when it is unknown. */
  free?(path: string): number | undefined
}

export class FullDisk {
  readonly #context: FullDiskContext
  #seenCount = 0
  #roomCount = 0
  #isFull = false
  #failedMs = 0
  #freeThen = 0
  #cancel = () => {}
  #unwatch = () => {}

  constructor(context: FullDiskContext) {
    this.#context = context
  }

  /** Call it when something may have changed. */
  look(): void {
    const { flags, clock } = this.#context
    const { fullCount, roomCount } = flags
    if (fullCount === this.#seenCount) return
    this.#seenCount = fullCount
    this.#roomCount = roomCount
    this.#failedMs = clock.monotonicMs()
    if (!this.#isFull) this.#begin()
  }

  /** Clients that pass LiteFS hear of a full disk from the kernel, and nobody tells us. */
  watch(arePassing: () => boolean): void {
    this.#unwatch = every(this.#context.clock, WATCH_MS, () => {
      if (!arePassing()) return
      const free = this.#free()
      if (free === undefined || free >= ROOM_SIZE_MIN) return
      this.#context.flags.noteFull()
      this.look()
    })
  }

  close(): void {
    this.#cancel()
    this.#unwatch()
  }

  #begin(): void {
    const { path, problems, changed } = this.#context
    const free = this.#free()
    this.#isFull = true
    this.#freeThen = free ?? 0
    log.error("the disk is full, transactions are refused or wait until there is room", {
      path,
      free: sizeOf(free),
    })
    problems.begin("disk", `the disk of the data directory is full, ${sizeOf(free)} are free`)
    this.#lookAgain()
    changed()
  }

  #lookAgain(): void {
    this.#cancel = this.#context.clock.after(LOOK_MS, () => {
      this.look()
      this.#endIfOver()
      if (this.#isFull) this.#lookAgain()
    })
  }

  #endIfOver(): void {
    const { path, flags, problems, clock, changed } = this.#context
    if (clock.monotonicMs() - this.#failedMs < QUIET_MS) return
    const free = this.#free()
    const hasRoom = free !== undefined && free >= this.#freeThen + ROOM_SIZE_MIN
    if (flags.roomCount === this.#roomCount && !hasRoom) return
    this.#isFull = false
    log.info("there is room on the disk again", { path, free: sizeOf(free) })
    problems.end("disk")
    changed()
  }

  #free(): number | undefined {
    const { path, free = freeSize } = this.#context
    return free(path)
  }
}

function freeSize(path: string): number | undefined {
  try {
    const { bavail, bsize } = statfsSync(path)
    return bavail * bsize
  } catch {
    return undefined
  }
}

function sizeOf(free: number | undefined): string {
  return free === undefined ? "unknown" : formatSize(free)
}
