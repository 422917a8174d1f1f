/**
 * The round that makes databases durable and removes old LTX files, one database after the other, over and over. The
 * work itself runs where it may block (`peer/serve/maintenance.ts`).
 */
import { type Clock, sleep } from "../lib/clock.ts"
import { logger } from "../lib/log.ts"
import type { RetentionOptions } from "../litefs-options.ts"
import type { Txid } from "../ltx/pos.ts"

const log = logger("retention")

export interface RetentionContext {
  readonly clock: Clock
  databases(): readonly string[]
  /** The first transaction that a connected replica lacks; undefined when none lacks any. */
  neededTxid(database: string): Txid | undefined
  /** Returns the number of removed files. */
  maintain(database: string, neededTxid: Txid | undefined): Promise<number>
}

export class RetentionMonitor {
  readonly #options: RetentionOptions
  readonly #context: RetentionContext
  readonly #abort = new AbortController()
  readonly #done: Promise<void>

  constructor(options: RetentionOptions, context: RetentionContext) {
    this.#options = options
    this.#context = context
    this.#done = this.#run()
  }

  async close(): Promise<void> {
    this.#abort.abort()
    await this.#done
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort
    while (await this.#pause(signal)) {
      let removed = 0
      for (const database of this.#context.databases()) {
        if (signal.aborted) return
        removed += await this.#context.maintain(database, this.#context.neededTxid(database))
      }
      if (removed > 0) log.debug("removed old LTX files", { files: removed })
    }
  }

  async #pause(signal: AbortSignal): Promise<boolean> {
    try {
      await sleep(this.#context.clock, this.#options.intervalMs, signal)
      return true
    } catch {
      return false // aborted
    }
  }
}
