import type { Clock } from "../../src/lib/clock.ts"

interface Timer {
  readonly atMs: number
  readonly callback: () => void
}

/** A clock that stands still until the test moves it. */
export class FakeClock implements Clock {
  #nowMs = 0
  readonly #timers = new Set<Timer>()

  /** What somebody has set the wall clock by. */
  setMs = 0

  wallMs(): number {
    return this.#nowMs + this.setMs
  }

  monotonicMs(): number {
    return this.#nowMs
  }

  steadyMs(): number {
    return this.#nowMs
  }

  random(): number {
    return 0.5
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.#nowMs + delayMs, callback }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  get timerCount(): number {
    return this.#timers.size
  }

  /** Runs what falls due, in order. */
  advance(durationMs: number): void {
    const endMs = this.#nowMs + durationMs
    for (;;) {
      const [next] = [...this.#timers].sort((a, b) => a.atMs - b.atMs)
      if (next === undefined || next.atMs > endMs) break
      this.#nowMs = next.atMs
      this.#timers.delete(next)
      next.callback()
    }
    this.#nowMs = endMs
  }
}
