/**
 * Calls former primaries that were not asked, until they have heard that another node has taken their place. Which
 * ones is kept with the lease record, so that a restart does not end it.
 */
import { type Clock, sleep } from "../lib/clock.ts"
import { messageOf } from "../lib/errors.ts"
import { logger } from "../lib/log.ts"
import { isNewer, type LeaseRecord } from "./lease.ts"
import type { StaticLease } from "./static-lease.ts"

const log = logger("member")

const RETRY_MS = 1000

export interface FencingOptions {
  readonly lease: StaticLease
  readonly clock: Clock
  readonly signal: AbortSignal
  /** Has the node at the address hear this node's record. Resolves with the record that it answers with. */
  tell(url: string): Promise<LeaseRecord | undefined>
}

export class Fencing {
  readonly #options: FencingOptions
  readonly #calling = new Set<string>()

  constructor(options: FencingOptions) {
    this.#options = options
  }

  /** Begins with those that are new. */
  start(): void {
    for (const url of this.#options.lease.unfenced) {
      if (this.#calling.has(url)) continue
      this.#calling.add(url)
      void this.#call(url).finally(() => this.#calling.delete(url))
    }
  }

  async #call(url: string): Promise<void> {
    const { clock, signal } = this.#options
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        if (await this.#hasHeard(url)) return
      } catch (error) {
        if (attempt === 0) {
          const problem = messageOf(error)
          log.warn("the former primary cannot be told yet", { url, problem })
        }
      }
      await sleep(clock, RETRY_MS, signal).catch(() => {})
    }
  }

  async #hasHeard(url: string): Promise<boolean> {
    const { lease, tell } = this.#options
    const theirs = await tell(url)
    const ours = lease.record
    if (theirs === undefined || ours === undefined || isNewer(ours, theirs)) return false
    lease.setFenced(url)
    log.info("the former primary has heard that it is none any more", { url })
    return true
  }
}
