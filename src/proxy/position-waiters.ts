/**
 * Requests that wait until the cluster is as they need it: a position, a primary.
 *
 *   wait() ── it is so ─────────▶ "reached"
 *          ── the time is over ─▶ "late"
 *          ── the returned function is called: nothing more happens
 *
 * A change makes it check all of them; nothing else does. If they and the changes are so many that this would take all
 * the time of the thread, the checks become rarer. More than COUNT_MAX do not wait at all.
 */
import type { Clock } from "../lib/clock.ts"
import type { ProxyCluster } from "./cluster.ts"

export type Outcome = "reached" | "late"

/** Requests that wait at the same time. */
export const COUNT_MAX = 1000

/** A newcomer is then late at once, but not so soon that it could ask again and again. */
const CROWDED_MS = 100

/** After a check they are left alone for this many times its duration. */
const REST_FACTOR = 9
const REST_MS_MAX = 50

interface Waiter {
  isReached(): boolean
  end(outcome: Outcome): void
}

export class PositionWaiters {
  readonly #cluster: ProxyCluster
  readonly #clock: Clock
  readonly #waiters = new Set<Waiter>()
  readonly #unsubscribe: () => void
  #isResting = false
  #hasChanged = false // since the last check

  constructor(cluster: ProxyCluster, clock: Clock) {
    this.#cluster = cluster
    this.#clock = clock
    this.#unsubscribe = this.#cluster.onChange(() => this.#look())
  }

  get count(): number {
    return this.#waiters.size
  }

  wait(isReached: () => boolean, limitMs: number, then: (outcome: Outcome) => void): () => void {
    if (this.#waiters.size >= COUNT_MAX) {
      return this.#clock.after(Math.min(limitMs, CROWDED_MS), () => then("late"))
    }
    const waiter: Waiter = {
      isReached,
      end: (outcome) => {
        forget()
        then(outcome)
      },
    }
    const cancelTimer = this.#clock.after(limitMs, () => waiter.end("late"))
    const forget = () => {
      cancelTimer()
      this.#waiters.delete(waiter)
    }
    this.#waiters.add(waiter)
    return forget
  }

  close(): void {
    this.#unsubscribe()
    for (const waiter of [...this.#waiters]) waiter.end("late")
  }

  #look(): void {
    if (this.#waiters.size === 0) return
    this.#hasChanged = this.#isResting
    if (this.#isResting) return
    const startMs = this.#clock.monotonicMs()
    for (const waiter of [...this.#waiters]) if (waiter.isReached()) waiter.end("reached")
    this.#rest((this.#clock.monotonicMs() - startMs) * REST_FACTOR)
  }

  #rest(durationMs: number): void {
    if (durationMs < 1) return
    this.#isResting = true
    this.#clock.after(Math.min(durationMs, REST_MS_MAX), () => {
      this.#isResting = false
      if (this.#hasChanged) this.#look()
    })
  }
}
