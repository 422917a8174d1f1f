/**
 * Calls former primaries that were not asked, and peers, until they have heard that another node is the primary now.
 * The lease record keeps the list of them: a restart does not end it.
 */
import { type Clock, sleep } from "../../lib/clock.ts"
import { logger } from "../../lib/log.ts"
import { connectProblem } from "../connect-problem.ts"
import { isNewer } from "./lease.ts"
import type { PeerCalls } from "./peer-check.ts"
import type { StaticLease } from "./static-lease.ts"

const log = logger("member")

const RETRY_MS = 1000

export interface FencingOptions extends Pick<PeerCalls, "tell"> {
  readonly lease: StaticLease
  readonly clock: Clock
  readonly signal: AbortSignal
}

export class Fencing {
  readonly #options: FencingOptions
  readonly #calling = new Set<string>()

  constructor(options: FencingOptions) {
    this.#options = options
  }

  /** Starts calling those that are new. */
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
          const problem = connectProblem(url, error).message
          log.warn("cannot tell another node who is the primary yet", { url, problem })
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
    log.info("another node has been told who is the primary", {
      url,
      primary: ours.primary.hostname,
    })
    return true
  }
}
