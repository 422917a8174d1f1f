/**
 * Waiting for a lock that clients hold for moments, one after the other.
 *
 * 1. Who comes back at once, again and again, leaves gaps of microseconds. They are looked for in bursts of attempts,
 *    which get longer the longer it takes: that it takes long may be bad luck only.
 * 2. After `patienceMs` the attempt is told so, and may keep new clients out until the old ones are done.
 * 3. An old one may stay for minutes. So every now and then the attempt is told to let new ones in: no client waits
 *    longer for one that is in a transaction than clients wait as a rule before they give up (5 s).
 */
import { type Clock, sleep } from "../../lib/clock.ts"
import { PATIENCE_MS } from "./patience.ts"

/** For so long new clients are kept out, and twice as long the next time: who comes in meanwhile may stay too. */
const SHUT_MS = 1000
const SHUT_MS_MAX = 4000
/** Then everybody is let in. A client asks at least every 100 ms (SQLite: sqliteDefaultBusyCallback). */
const OPEN_MS = 150
const FIRST_BURST_MS = 0.2
/** Of what has been waited. */
const BURST_SHARE = 0.2
const BURST_MS_MAX = 20
const SLEEP_MS_MAX = 3

export interface LockWait {
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly patienceMs?: number
  /** Called between attempts. Throws to give up. */
  waited(waitedMs: number): void
}

export async function untilLocked(
  { clock, signal, patienceMs = PATIENCE_MS, waited }: LockWait,
  attempt: (isLate: boolean) => boolean,
): Promise<void> {
  const startMs = clock.monotonicMs()
  let sleepMs = 0
  let shutMs = SHUT_MS
  let openAtMs = patienceMs + shutMs
  for (;;) {
    const waitedMs = clock.monotonicMs() - startMs
    if (waitedMs >= openAtMs) {
      if (attempt(false)) return
      waited(waitedMs)
      await sleep(clock, OPEN_MS, signal)
      shutMs = Math.min(shutMs * 2, SHUT_MS_MAX)
      openAtMs = clock.monotonicMs() - startMs + shutMs
      continue
    }
    const burstMs = Math.min(BURST_MS_MAX, Math.max(FIRST_BURST_MS, waitedMs * BURST_SHARE))
    const isLate = waitedMs > patienceMs
    do {
      if (attempt(isLate)) return
    } while (clock.monotonicMs() - startMs < waitedMs + burstMs)
    waited(waitedMs)
    await sleep(clock, sleepMs, signal)
    sleepMs = Math.min(sleepMs === 0 ? 1 : sleepMs * 2, SLEEP_MS_MAX)
  }
}
