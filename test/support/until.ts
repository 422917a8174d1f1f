/** Waiting for what no event tells: the test looks again and again, for a limited time. */

const LIMIT_MS = 20_000

export interface UntilOptions {
  readonly limitMs?: number
  /** Between two looks; 0 lets everything else that is ready run first. */
  readonly everyMs?: number
  /** What a person needs beside what was waited for: a node's log. */
  readonly context?: () => string
}

/**
 * Resolves with what the first look finds that is neither false nor undefined. `what` says what is waited for, as in
 * "the replica is connected". Rejects with that and the context when the time is over, and with what a look throws.
 */
export async function until<T>(
  what: string,
  look: () => T | Promise<T>,
  { limitMs = LIMIT_MS, everyMs = 5, context }: UntilOptions = {},
): Promise<Exclude<T, false | undefined>> {
  const endMs = performance.now() + limitMs
  for (;;) {
    // The last look begins when the time is over: a machine that is busy may not have let us look before.
    const isLast = performance.now() > endMs
    const found = await look()
    if (found !== false && found !== undefined) return found as Exclude<T, false | undefined>
    if (isLast) {
      const more = context === undefined ? "" : `:\n${context()}`
      throw new Error(`not within ${limitMs / 1000} s: ${what}${more}`)
    }
    if (everyMs > 0) await Bun.sleep(everyMs)
    else await new Promise(setImmediate)
  }
}
