/**
 * Turns of a thread that does many things side by side. Long work checks now and then whether its turn is over, and
 * lets others have theirs.
 */
import { type Clock, sleep } from "./clock.ts"

export const TURN_MS = 5

export class Turns {
  readonly #clock: Clock
  #startMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#startMs = clock.monotonicMs()
  }

  /** Others have just had their turn. */
  begin(): void {
    this.#startMs = this.#clock.monotonicMs()
  }

  get isOver(): boolean {
    return this.#clock.monotonicMs() - this.#startMs >= TURN_MS
  }

  /** Resolves when others have had their turn. */
  async next(): Promise<void> {
    await sleep(this.#clock, 0)
    this.begin()
  }
}
