/**
 * Requests that wait until something of the cluster is as they need it: a position, a primary.
 *
 *   wait() ── it is so ─────────▶ "reached"
 *          ── the time is over ─▶ "late"
 *          ── the returned function is called: nothing more happens
 *
 * All are asked whenever something has changed, and nobody in between.
 */
import type { Clock } from "../lib/clock.ts"
import type { ProxyCluster } from "./cluster.ts"

export type Outcome = "reached" | "late"

interface Waiter {
  isReached(): boolean
  end(outcome: Outcome): void
}

export class PositionWaiters {
  readonly #cluster: ProxyCluster
  readonly #clock: Clock
  readonly #waiters = new Set<Waiter>()
  readonly #unsubscribe: () => void

  constructor(cluster: ProxyCluster, clock: Clock) {
    this.#cluster = cluster
    this.#clock = clock
    this.#unsubscribe = this.#cluster.onChange(() => this.#look())
  }

  get count(): number {
    return this.#waiters.size
  }

  wait(isReached: () => boolean, limitMs: number, then: (outcome: Outcome) => void): () => void {
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
    for (const waiter of [...this.#waiters]) if (waiter.isReached()) waiter.end("reached")
  }
}
