/** Whether something that is measured from time to time stays where it is. */

export interface Sample {
  readonly files: number
  readonly threads: number
  readonly rss: number // MiB
  readonly anon: number // MiB of these that are not pages of files
  readonly heap: number // MiB, of all threads
  readonly heaps: readonly number[]
}

export type Measure = "files" | "threads" | "rss" | "anon" | "heap"

/** So much more is no growth: it goes up and down by that. */
const SLACK: Partial<Record<Measure, number>> = { files: 6, threads: 3 }
const SIZE_SLACK_PART = 0.05

const COUNT_MIN = 8

/** The median of each quarter of the time. In the first, caches fill and code is compiled. */
export function quartersOf(samples: readonly Sample[], measure: Measure): number[] {
  return [0, 1, 2, 3].map((quarter) => {
    const [from, to] = [quarter, quarter + 1].map((q) => Math.floor((q * samples.length) / 4))
    return medianOf(samples.slice(from, to).map((sample) => sample[measure]))
  })
}

/** What has grown from the second quarter of the samples to the last. Undefined when nothing has. */
export function problemOf(samples: readonly Sample[], measure: Measure): string | undefined {
  if (samples.length < COUNT_MIN) return `${measure}: ${samples.length} samples, too few to tell`
  const [, before = Number.NaN, , after = Number.NaN] = quartersOf(samples, measure)
  if (after <= before + (SLACK[measure] ?? before * SIZE_SLACK_PART)) return undefined
  return `${measure} grows: ${before.toFixed(1)} in the second quarter, ${after.toFixed(1)} in the last`
}

function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}
