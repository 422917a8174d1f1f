/**
 * Limits bytes per second, for all takers together. Takers may catch up on the last moments: short waits of the machine
 * do not add up.
 */
import { type Clock, sleep } from "./clock.ts"

const CATCH_UP_MS = 200
/** Parts are cut so that each waits at most this long. */
const PART_MS = 500

export class RateLimit {
  readonly #clock: Clock
  readonly #perMs: number
  readonly #partSize: number
  #paidMs = Number.NEGATIVE_INFINITY // when everything taken so far is paid for

  /** `rate` is in bytes per second. */
  constructor(clock: Clock, rate: number) {
    this.#clock = clock
    this.#perMs = rate / 1000
    this.#partSize = Math.max(1, Math.floor(this.#perMs * PART_MS))
  }

  /** Resolves when this many bytes may go. */
  async take(size: number): Promise<void> {
    const nowMs = this.#clock.monotonicMs()
    this.#paidMs = Math.max(this.#paidMs, nowMs - CATCH_UP_MS) + size / this.#perMs
    if (this.#paidMs > nowMs) await sleep(this.#clock, this.#paidMs - nowMs)
  }

  /** The same bytes at the limited speed, perhaps in smaller parts. */
  async *apply(parts: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const part of parts) {
      for (let done = 0; done < part.length; done += this.#partSize) {
        const piece = part.subarray(done, done + this.#partSize)
        await this.take(piece.length)
        yield piece
      }
    }
  }
}
