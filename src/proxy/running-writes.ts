/**
 * The writes that the application is doing at the moment. A handoff waits for them: the application was told to do
 * them, and could not finish them when another node is the primary. New ones are held meanwhile (route.ts).
 */
import type { Clock } from "../lib/clock.ts"

export class RunningWrites {
  readonly #clock: Clock
  readonly #waiting = new Set<() => void>()
  #count = 0

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** One has begun. The returned function is to be called once, when it is over. */
  begin(): () => void {
    this.#count += 1
    return () => {
      this.#count -= 1
      if (this.#count === 0) for (const wake of [...this.#waiting]) wake()
    }
  }

  /** Resolves with how many there still are: none, or those that take longer. */
  async settled(limitMs: number): Promise<number> {
    if (this.#count === 0) return 0
    const { promise, resolve } = Promise.withResolvers<void>()
    const cancel = this.#clock.after(limitMs, resolve)
    this.#waiting.add(resolve)
    await promise
    this.#waiting.delete(resolve)
    cancel()
    return this.#count
  }
}
