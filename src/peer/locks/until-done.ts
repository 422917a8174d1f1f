import { type Clock, sleep } from "../../lib/clock.ts"
import type { Logger } from "../../lib/log.ts"

const RETRY_MS = 1000

interface Surroundings {
  readonly clock: Clock
  readonly log: Logger
  /** Aborted when the node stops. */
  readonly signal: AbortSignal
}

/**
 * Repeats a step without a way back, while clients are locked out, until it works. Clients that continued with what
 * they know of the old content would destroy the new.
 */
export async function untilDone(
  { clock, log, signal }: Surroundings,
  database: string | undefined,
  problem: string,
  step: () => void,
): Promise<void> {
  for (;;) {
    try {
      return step()
    } catch (error) {
      log.error(problem, database === undefined ? { error } : { db: database, error })
      await sleep(clock, RETRY_MS, signal)
    }
  }
}
