/** Whether something that is measured from time to time stays where it is. */

export interface Sample {
  readonly files: number
  readonly threads: number
  readonly rss: number // MiB
  readonly heap: number // MiB, of all threads
  readonly heaps: readonly number[]
}

type Measure = "files" | "threads" | "rss" | "heap"

/** So much more is no growth: it goes up and down by that. */
const SLACK: Record<Measure, number> = { files: 6, threads: 3, rss: 12, heap: 8 }

/** Until then caches fill. */
const WARM_UP_PART = 0.3
const COUNT_MIN = 4

/**
 * What has grown between the first and the second half of the samples that come after a warm-up, by the least of each:
 * garbage that is still there when it is measured is no growth. Undefined when nothing has.
 */
export function problemOf(samples: readonly Sample[], measure: Measure): string | undefined {
  const values = samples.map((sample) => sample[measure])
  const warm = values.slice(Math.floor(values.length * WARM_UP_PART))
  if (warm.length < COUNT_MIN) return `${measure}: ${warm.length} samples, too few to tell`
  const half = Math.floor(warm.length / 2)
  const [before, after] = [Math.min(...warm.slice(0, half)), Math.min(...warm.slice(half))]
  if (after <= before + SLACK[measure]) return undefined
  return `${measure} grows: at least ${before.toFixed(1)}, later at least ${after.toFixed(1)}`
}
