/**
 * What a node has started, and how it ends: the other way round, each part for a limited time.
 *
 * Whoever starts a part adds it here at once. So a start that fails in the middle ends what it has started, and nothing
 * else.
 */
import type { Clock } from "../lib/clock.ts"
import { logger } from "../lib/log.ts"

const log = logger("litefs")

/** For each part of the node to end: longer than an honest one takes. */
const PART_MS_MAX = 10_000
/** The same when a thread has failed: it may be what the part waits for. */
const FAILED_PART_MS_MAX = 1000

export class Closing {
  readonly #clock: Clock
  readonly #stack = new AsyncDisposableStack()
  #hasFailed = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Whether the node cannot go on. */
  get hasFailed(): boolean {
    return this.#hasFailed
  }

  /** Nothing is waited for as long as otherwise. */
  failed(): void {
    this.#hasFailed = true
  }

  /** A part that does not end must not keep the others. */
  add(part: string, end: () => void | Promise<void> | undefined): void {
    this.#stack.defer(async () => {
      const late = Promise.withResolvers<boolean>()
      const limitMs = this.#hasFailed ? FAILED_PART_MS_MAX : PART_MS_MAX
      const cancel = this.#clock.after(limitMs, () => late.resolve(true))
      try {
        const ended = Promise.resolve(end()).then(() => false)
        const isLate = await Promise.race([ended, late.promise])
        if (isLate) log.warn("a part of the node does not end, stopping without it", { part })
      } finally {
        cancel()
      }
    })
  }

  /** What ends at once. */
  defer(end: () => void): void {
    this.#stack.defer(end)
  }

  /** Rejects with what the parts have thrown. Each of them is ended all the same. */
  async close(): Promise<void> {
    await this.#stack.disposeAsync()
  }
}
