/**
 * Keeps the lag of a replica (store/shared-lag.ts) from the heartbeats of its primary.
 *
 * A heartbeat carries the time of the primary's clock. Our clock at its arrival minus that time is the difference of
 * the clocks plus the travel time. The two cannot be told apart, but the shortest travel time can stand for all: the
 * smallest of these numbers is the offset, and whatever a heartbeat takes longer than that, in a queue or on a slow
 * link, is lag.
 *
 * Our clock is the steady one. The primary's may be set. Set forward, it makes the number smaller at once. Set back, it
 * makes a heartbeat older than the one before, which otherwise never happens: earlier measurements are then forgotten.
 */
import type { Clock } from "../../lib/clock.ts"
import type { SharedLag } from "../../store/shared-lag.ts"

const WINDOW_MS = 30_000

export class LagTracker {
  readonly #lag: SharedLag
  readonly #clock: Clock
  readonly #onChange: () => void
  #windowStartMs = 0 // monotonic
  #smallestMs = Number.POSITIVE_INFINITY // of this window
  #smallestBeforeMs = Number.POSITIVE_INFINITY // of the one before
  #lastMs: number | undefined // of the last heartbeat

  constructor(lag: SharedLag, clock: Clock, onChange: () => void) {
    this.#lag = lag
    this.#clock = clock
    this.#onChange = onChange
  }

  /** A new connection: what the last one has taught about clocks may be outdated. */
  connected(): void {
    this.#lastMs = undefined
    this.#smallestMs = Number.POSITIVE_INFINITY
    this.#smallestBeforeMs = Number.POSITIVE_INFINITY
  }

  /** `applied` resolves when everything before the heartbeat is applied. */
  heartbeat(primaryMs: number, applied: Promise<unknown>): void {
    const nowMs = this.#clock.steadyMs()
    if (this.#lastMs !== undefined && primaryMs < this.#lastMs) this.connected()
    // A repeated time means that something cannot be sent yet: it tells nothing about the clocks.
    if (primaryMs !== this.#lastMs) this.#measure(nowMs - primaryMs)
    this.#lastMs = primaryMs
    const offsetMs = this.#offsetMs
    this.#lag.setOffset(offsetMs, nowMs)
    applied.then(
      () => {
        this.#lag.setSynced(primaryMs + offsetMs)
        this.#onChange()
      },
      () => {}, // the connection ends because of it
    )
  }

  #measure(differenceMs: number): void {
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - this.#windowStartMs >= WINDOW_MS) {
      this.#smallestBeforeMs = this.#smallestMs
      this.#smallestMs = Number.POSITIVE_INFINITY
      this.#windowStartMs = nowMs
    }
    this.#smallestMs = Math.min(this.#smallestMs, differenceMs)
  }

  get #offsetMs(): number {
    return Math.min(this.#smallestMs, this.#smallestBeforeMs)
  }
}
