/**
 * The one wait for a lock that clients have, and its one back-off: attempts after 0, 1, 2, 3, 3 ... ms.
 *
 * A lock that a crowd of clients holds for moments, one after the other, needs more:
 *
 * 1. Who comes back at once, again and again, leaves gaps of microseconds. They are looked for in bursts of attempts,
 *    which get longer the longer it takes: that it takes long may be bad luck only.
 * 2. After `patienceMs` the attempt is told so, and may keep new clients out until the old ones are done.
 * 3. An old one may stay for minutes. So every now and then the attempt is told to let new ones in: no client waits
 *    longer for one that is in a transaction than clients wait as a rule before they give up (5 s).
 */
import { type Clock, sleep } from "../../lib/clock.ts"
import { PATIENCE_MS } from "./patience.ts"

const PAUSE_MS_MAX = 3
/** For so long new clients are kept out, and twice as long the next time: who comes in meanwhile may stay too. */
const SHUT_MS = 1000
const SHUT_MS_MAX = 4000
/** Then everybody is let in. A client asks at least every 100 ms (SQLite: sqliteDefaultBusyCallback). */
const OPEN_MS = 150
const FIRST_BURST_MS = 0.2
/** Of what has been waited. */
const BURST_SHARE = 0.2
const BURST_MS_MAX = 20
/** While the one who has the lock may keep it for long, and others wait for this thread. */
const SHORT_BURST_MS_MAX = 2

export interface LockWait {
  readonly clock: Clock
  /** Gives up when it is aborted, with its reason. */
  readonly signal: AbortSignal
  /** From then on the attempt is late. */
  readonly patienceMs?: number
  /** Many have it, one after the other: attempts come in long bursts, and are not late now and then. */
  readonly isCrowded?: boolean
  /** One has it at a time, perhaps again and again: attempts come in short bursts. */
  readonly isSought?: boolean
  /** Called after attempts in vain. Throws to give up. */
  waited?(waitedMs: number): void
}

/** Makes attempts until one returns true. */
export async function untilLocked(
  {
    clock,
    signal,
    patienceMs = PATIENCE_MS,
    isCrowded = false,
    isSought = false,
    waited,
  }: LockWait,
  attempt: (isLate: boolean) => boolean,
): Promise<void> {
  const startMs = clock.monotonicMs()
  let pauseMs = 0
  let shutMs = SHUT_MS
  let openAtMs = isCrowded ? patienceMs + shutMs : Number.POSITIVE_INFINITY
  for (;;) {
    const waitedMs = clock.monotonicMs() - startMs
    const isOpen = waitedMs >= openAtMs
    const isLate = waitedMs > patienceMs && !isOpen
    const burstMsMax = isCrowded ? BURST_MS_MAX : isSought ? SHORT_BURST_MS_MAX : 0
    const burstMs = isOpen ? 0 : Math.min(burstMsMax, burstAfter(waitedMs))
    do {
      if (attempt(isLate)) return
    } while (clock.monotonicMs() - startMs < waitedMs + burstMs)
    waited?.(waitedMs)
    await sleep(clock, isOpen ? OPEN_MS : pauseMs, signal)
    if (isOpen) {
      shutMs = Math.min(shutMs * 2, SHUT_MS_MAX)
      openAtMs = clock.monotonicMs() - startMs + shutMs
    } else {
      pauseMs = Math.min(pauseMs === 0 ? 1 : pauseMs * 2, PAUSE_MS_MAX)
    }
  }
}

function burstAfter(waitedMs: number): number {
  return Math.max(FIRST_BURST_MS, waitedMs * BURST_SHARE)
}
