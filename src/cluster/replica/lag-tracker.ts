/**
 * Keeps the lag of a replica (store/shared-lag.ts) from the heartbeats of its primary.
 *
 * A heartbeat carries the time of the primary's clock. How much later ours shows when it arrives is the difference of
 * the clocks and the way. The way cannot be told from the difference, but its shortest time can: the smallest
 * of these numbers is the offset, and whatever a heartbeat takes longer than that, in a queue or on a slow link, is
 * lag.
 *
 * Ours is the steady clock. That of the primary may be set: forward, and the number is smaller at once; back, and a
 * heartbeat says that it is older than the one before it, which none is. Then what was measured before is forgotten.
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

  /** There is a new connection: what the last one has taught about clocks may be old. */
  connected(): void {
    this.#lastMs = undefined
    this.#smallestMs = Number.POSITIVE_INFINITY
    this.#smallestBeforeMs = Number.POSITIVE_INFINITY
  }

  /** `applied` resolves when everything that came before the heartbeat is applied. */
  heartbeat(primaryMs: number, applied: Promise<unknown>): void {
    const nowMs = this.#clock.steadyMs()
    if (this.#lastMs !== undefined && primaryMs < this.#lastMs) this.connected()
    // The same time again means that something cannot be sent yet: it tells nothing of the clocks.
    if (primaryMs !== this.#lastMs) this.#measure(nowMs - primaryMs)
    this.#lastMs = primaryMs
    const offsetMs = this.#offsetMs
    this.#lag.setOffset(offsetMs, nowMs)
    applied.then(
      () => {
        this.#lag.setSynced(primaryMs + offsetMs)
        this.#onChange()
      },
      () => {}, // the connection ends for it
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
