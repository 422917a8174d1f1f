/**
 * What a node has started, and how it ends: in reverse order, each part within a limited time.
 *
 * Whoever starts a part adds it here at once. A start that fails in the middle thus ends what it has started, and
 * nothing else.
 */
import type { Clock } from "../lib/clock.ts"
import { logger } from "../lib/log.ts"

const log = logger("litefs")

/** Time for each part of the node to end: longer than a healthy one takes. */
const PART_MS_MAX = 10_000
/** The same when a thread has failed: the part may be waiting for it. */
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

  /** From here on the limits are shorter. */
  failed(): void {
    this.#hasFailed = true
  }

  /** A part that does not end must not hold up the others. */
  add(part: string, end: () => void | Promise<void> | undefined): void {
    this.#stack.defer(async () => {
      const late = Promise.withResolvers<boolean>()
      const limitMs = this.#hasFailed ? FAILED_PART_MS_MAX : PART_MS_MAX
      const cancel = this.#clock.after(limitMs, () => late.resolve(true))
      try {
        const ended = Promise.resolve(end()).then(() => false)
        const isLate = await Promise.race([ended, late.promise])
        if (isLate) log.warn("a part of the node does not stop, going on without it", { part })
      } finally {
        cancel()
      }
    })
  }

  /** For a part that ends at once. */
  defer(end: () => void): void {
    this.#stack.defer(end)
  }

  /** Rejects with the errors of the parts. Each part is ended all the same. */
  async close(): Promise<void> {
    await this.#stack.disposeAsync()
  }
}
