/**
 * How long something took, counted in buckets that Prometheus can add up.
 *
 * The words may lie in memory that another thread reads: one thread counts, and a concurrent reader may miss the last
 * count.
 *
 *   0 sum, seconds   1… count of each bucket of BOUNDS, then of all above
 */
import { assert } from "./assert.ts"
import type { Sample } from "./metrics.ts"

/** Upper bounds of the buckets, seconds. */
const BOUNDS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
]

export const HISTOGRAM_WORDS = 1 + BOUNDS.length + 1

export class Histogram {
  readonly #words: Float64Array

  constructor(words: Float64Array = new Float64Array(HISTOGRAM_WORDS)) {
    assert(words.length === HISTOGRAM_WORDS, "a histogram has its words")
    this.#words = words
  }

  observe(durationMs: number): void {
    const seconds = durationMs / 1000
    const words = this.#words
    let bucket = 0
    while (bucket < BOUNDS.length && seconds > (BOUNDS[bucket] as number)) bucket += 1
    words[0] = (words[0] as number) + seconds
    words[1 + bucket] = (words[1 + bucket] as number) + 1
  }

  *samples(): Generator<Sample> {
    const words = this.#words.slice()
    let count = 0
    for (let bucket = 0; bucket <= BOUNDS.length; bucket++) {
      count += words[1 + bucket] as number
      const le = bucket < BOUNDS.length ? String(BOUNDS[bucket]) : "+Inf"
      yield { suffix: "_bucket", labels: { le }, value: count }
    }
    yield { suffix: "_sum", value: words[0] as number }
    yield { suffix: "_count", value: count }
  }
}
