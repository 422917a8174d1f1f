/**
 * Bounds the lines of a log that somebody outside can cause: the same one has a line a minute, and all together have a
 * few at once and then one a second. A line says how many were left out before it.
 */
import type { Clock } from "./clock.ts"

const BURST = 20
const PERIOD_MS = 1000
const REPEAT_MS = 60_000

export class LineLimit {
  readonly #clock: Pick<Clock, "monotonicMs">
  readonly #repeatMs: number
  #left = BURST
  #sinceMs: number
  #leftOut = 0
  #last = ""
  #lastMs = 0

  /** What is the same as the last line is not said again for `repeatMs`. */
  constructor(clock: Pick<Clock, "monotonicMs">, repeatMs = REPEAT_MS) {
    this.#clock = clock
    this.#repeatMs = repeatMs
    this.#sinceMs = clock.monotonicMs()
  }

  /** Undefined when the line need not be said, else what it has to say of others. `key` is who and what. */
  take(key: string): { readonly "left-out": number | undefined } | undefined {
    const nowMs = this.#clock.monotonicMs()
    if (key === this.#last && nowMs < this.#lastMs + this.#repeatMs) return undefined
    this.#left = Math.min(BURST, this.#left + (nowMs - this.#sinceMs) / PERIOD_MS)
    this.#sinceMs = nowMs
    if (this.#left < 1) {
      this.#leftOut += 1
      return undefined
    }
    this.#left -= 1
    this.#last = key
    this.#lastMs = nowMs
    const leftOut = this.#leftOut === 0 ? undefined : this.#leftOut
    this.#leftOut = 0
    return { "left-out": leftOut }
  }
}
