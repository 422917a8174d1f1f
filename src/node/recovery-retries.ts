/**
 * Databases that this node has refused at its start because the system refused something: a full disk, no descriptor,
 * no right, a sector that cannot be read. They are tried again, since that may pass, until one is usable or damaged:
 *
 *   refused ── peer: recover ──▶ on a replica the peer thread has it
 *                            └─▶ on a primary  ── fs: recovered ──▶ the fs thread has it
 *
 * Nobody has the database meanwhile. The interval starts at RETRY_MS, doubles up to RETRY_MS_MAX, and is so long that the
 * peer thread, which does nothing else then, spends little of its time on it. A role that changes comes first.
 */
import type { SharedHistoryState } from "../capture/handover.ts"
import { type Clock, sleep } from "../lib/clock.ts"
import { LitefsError } from "../lib/errors.ts"
import { logger } from "../lib/log.ts"
import type { RecoveredDatabase } from "../peer/contract.ts"
import type { Databases } from "./storage/databases.ts"

const log = logger("litefs")

export const RETRY_MS = 5000
export const RETRY_MS_MAX = 60_000
/** For each millisecond that a trial has taken. */
const PAUSE_FACTOR = 20

export interface RecoveryRetriesContext {
  readonly clock: Clock
  readonly databases: Pick<Databases, "retried" | "noteRefused" | "noteRecovered">
  /** False while the databases change hands, and while the fs thread has transactions of this one in its log. */
  canTry(database: string): boolean
  recover(database: string): Promise<RecoveredDatabase>
  take(database: string, state: SharedHistoryState | undefined): Promise<void>
  /** `isBelieved`: nobody has looked at its pages. */
  onRecovered(database: string, isBelieved: boolean): void
}

export class RecoveryRetries {
  readonly #context: RecoveryRetriesContext
  readonly #stopping = new AbortController()
  readonly #done: Promise<unknown>

  constructor(context: RecoveryRetriesContext) {
    this.#context = context
    this.#done = Promise.all([...context.databases.retried].map((name) => this.#run(name)))
  }

  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#done
  }

  async #run(name: string): Promise<void> {
    const { clock } = this.#context
    const { signal } = this.#stopping
    let intervalMs = RETRY_MS
    let pauseMs = 0
    for (;;) {
      await sleep(clock, Math.max(intervalMs, pauseMs), signal).catch(() => {})
      if (signal.aborted) return
      const startedMs = clock.steadyMs()
      if (await this.#try(name)) return
      pauseMs = (clock.steadyMs() - startedMs) * PAUSE_FACTOR
      intervalMs = Math.min(intervalMs * 2, RETRY_MS_MAX)
    }
  }

  /** False: try again. */
  async #try(name: string): Promise<boolean> {
    const { databases, canTry, recover, take, onRecovered } = this.#context
    if (!canTry(name)) return false
    try {
      const outcome = await recover(name)
      if (outcome.kind === "refused") {
        databases.noteRefused(name, outcome.problem, outcome.mayPass)
        if (outcome.mayPass) return false
        const { problem } = outcome
        log.error("database is unavailable, its files are left as they are", { db: name, problem })
        return true
      }
      if (outcome.kind === "found") await take(name, outcome.state)
      databases.noteRecovered(name)
      log.info("database is available again", { db: name })
      onRecovered(name, outcome.isBelieved)
      return true
    } catch (error) {
      // The role has changed, or a thread ends.
      const isExpected = error instanceof LitefsError && error.code === "unavailable"
      if (!isExpected) log.warn("cannot try a database again", { db: name, error })
      return false
    }
  }
}
