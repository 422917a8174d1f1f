/**
 * The only wait for a lock that clients have, with its back-off: attempts after 0, 1, 2, 3, 3 ... ms.
 *
 * A lock that a crowd of clients holds for moments, one after the other, needs more:
 *
 * 1. A client that comes back at once, again and again, leaves gaps of microseconds. Bursts of attempts look for them.
 *    The bursts get longer with time, because a long wait may be only bad luck.
 * 2. After `patienceMs` the attempt hears so, and may keep new clients out until the old ones are done.
 * 3. An old client may stay for minutes. Every now and then the attempt is therefore told to let new ones in: no client
 *    waits longer for one that is in a transaction than clients usually wait before they give up (5 s).
 */
import { type Clock, sleep } from "../../lib/clock.ts"
import { PATIENCE_MS } from "./patience.ts"

const PAUSE_MS_MAX = 3
/** New clients are kept out this long, and twice as long the next time: those who get in meanwhile may stay too. */
const SHUT_MS = 1000
const SHUT_MS_MAX = 4000
/** Then everybody is let in. A client asks at least every 100 ms (SQLite: sqliteDefaultBusyCallback). */
const OPEN_MS = 150
const FIRST_BURST_MS = 0.2
/** As a share of the time waited so far. */
const BURST_SHARE = 0.2
const BURST_MS_MAX = 20
/** For a holder that may keep the lock for long, while others wait for this thread. */
const SHORT_BURST_MS_MAX = 2
/** The pause after a burst, as a multiple of it: others need this thread, and its CPU. */
const CROWDED_REST = 1
const SOUGHT_REST = 4

export interface LockWait {
  readonly clock: Clock
  /** Gives up when this is aborted, with its reason. */
  readonly signal: AbortSignal
  /** The attempt is late after this time. */
  readonly patienceMs?: number
  /** Many have the lock, one after the other: attempts come in long bursts, and now and then are not late. */
  readonly isCrowded?: boolean
  /** One at a time has the lock, perhaps again and again: attempts come in short bursts. */
  readonly isSought?: boolean
  /** Called after failed attempts. Throws to give up. */
  waited?(waitedMs: number): void
}

/** Tries until an attempt returns true. */
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
    const restMs = burstMs * (isCrowded ? CROWDED_REST : SOUGHT_REST)
    await sleep(clock, isOpen ? OPEN_MS : Math.max(pauseMs, restMs), signal)
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
