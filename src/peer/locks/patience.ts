/**
 * How long short readers may keep a transaction waiting before new ones are kept out.
 *
 * Some readers come back at once. If every transaction were as patient with them as the first, a replica would fall
 * behind for good. Patience is therefore a budget, which refills with a share of the passing time.
 */
import type { Clock } from "../../lib/clock.ts"

export const PATIENCE_MS = 100
const SHARE = 0.2

export class Patience {
  readonly #clock: Clock
  #leftMs = PATIENCE_MS
  #atMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#atMs = clock.monotonicMs()
  }

  get leftMs(): number {
    const nowMs = this.#clock.monotonicMs()
    this.#leftMs = Math.min(PATIENCE_MS, this.#leftMs + (nowMs - this.#atMs) * SHARE)
    this.#atMs = nowMs
    return this.#leftMs
  }

  spend(waitedMs: number): void {
    this.#leftMs = Math.max(0, this.leftMs - waitedMs)
  }
}
