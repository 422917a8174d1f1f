/**
 * An answer that costs much when there are many databases. It is made once for all who ask before it is begun, and in
 * turns, between which the main thread does its other work:
 *
 *   asked ──▶ waiting for the last one, and a rest as long as that took ──▶ being made: who asks now waits for the next
 *
 * Nobody gets an answer that is older than his question, and however many ask, half of the thread is left to others.
 */
import { type Clock, sleep } from "../../lib/clock.ts"
import { TURN_MS, Turns } from "../../lib/turns.ts"

export class SharedAnswer {
  readonly #clock: Clock
  readonly #make: (turns: Turns) => Promise<string>
  #next: Promise<Uint8Array> | undefined // not begun yet
  #last: Promise<unknown> = Promise.resolve()

  constructor(clock: Clock, make: (turns: Turns) => Promise<string>) {
    this.#clock = clock
    this.#make = make
  }

  get(): Promise<Uint8Array> {
    this.#next ??= this.#begin(this.#last)
    return this.#next
  }

  async #begin(last: Promise<unknown>): Promise<Uint8Array> {
    const rest = Promise.withResolvers<void>()
    this.#last = rest.promise
    await last
    this.#next = undefined
    const startMs = this.#clock.monotonicMs()
    try {
      return Buffer.from(await this.#make(new Turns(this.#clock)))
    } finally {
      const tookMs = this.#clock.monotonicMs() - startMs
      if (tookMs < TURN_MS) rest.resolve()
      else void sleep(this.#clock, tookMs).then(rest.resolve)
    }
  }
}
