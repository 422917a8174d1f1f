/**
 * Waiting for a lock that clients hold for moments, one after the other.
 *
 * 1. Who comes back at once, again and again, leaves gaps of microseconds. They are looked for in bursts of attempts,
 *    which get longer the longer it takes: that it takes long may be bad luck only.
 * 2. After `PATIENCE_MS` the attempt is told so, and may keep new clients out until the old ones are done.
 */
import { type Clock, sleep } from "../lib/clock.ts"

const PATIENCE_MS = 100
const FIRST_BURST_MS = 0.2
/** Of what has been waited. */
const BURST_SHARE = 0.2
const BURST_MS_MAX = 20
const SLEEP_MS_MAX = 3

export interface LockWait {
  readonly clock: Clock
  readonly signal: AbortSignal
  /** Called between attempts. Throws to give up. */
  waited(waitedMs: number): void
}

export async function untilLocked(
  { clock, signal, waited }: LockWait,
  attempt: (isLate: boolean) => boolean,
): Promise<void> {
  const startMs = clock.monotonicMs()
  let sleepMs = 0
  for (;;) {
    const waitedMs = clock.monotonicMs() - startMs
    const burstMs = Math.min(BURST_MS_MAX, Math.max(FIRST_BURST_MS, waitedMs * BURST_SHARE))
    const isLate = waitedMs > PATIENCE_MS
    do {
      if (attempt(isLate)) return
    } while (clock.monotonicMs() - startMs < waitedMs + burstMs)
    waited(waitedMs)
    await sleep(clock, sleepMs, signal)
    sleepMs = Math.min(sleepMs === 0 ? 1 : sleepMs * 2, SLEEP_MS_MAX)
  }
}
