/**
 * The application's running writes. A handoff waits for them: the application has begun them, and could not finish them
 * once another node is the primary. New ones are held meanwhile (route.ts).
 */
import type { Clock } from "../lib/clock.ts"
import { until } from "../lib/until.ts"

export class RunningWrites {
  readonly #clock: Clock
  readonly #waiting = new Set<() => void>()
  #count = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** A write has begun. Call the returned function once, when it is over. */
  begin(): () => void {
    this.#count += 1
    return () => {
      this.#count -= 1
      if (this.#count === 0) for (const wake of [...this.#waiting]) wake()
    }
  }

  /** Resolves with how many are left: none, or those that take longer. */
  async settled(limitMs: number): Promise<number> {
    const onChange = (listener: () => void) => {
      this.#waiting.add(listener)
      return () => this.#waiting.delete(listener)
    }
    await until(() => this.#count === 0, { clock: this.#clock, limitMs, onChange })
    return this.#count
  }
}
