/**
 * Prepares missing segments of the commit log, which is the case at the first start: beside everything else, one after
 * the other, and again from time to time when it fails. Until then each transaction is made durable by itself.
 */
import { type Clock, sleep } from "../../lib/clock.ts"
import { logger } from "../../lib/log.ts"
import { prepareSegment } from "../../store/log/segment-preparation.ts"

const log = logger("litefs")

/** Nobody tells us when a full disk has room again. */
const RETRY_MS = 10_000

export interface LogSegmentsContext {
  readonly root: string // the data directory
  readonly clock: Clock
  /** The segment exists now. */
  readonly ready: (segment: number) => void
}

export class LogSegments {
  readonly #context: LogSegmentsContext
  readonly #stopping = new AbortController()
  #last: Promise<void> = Promise.resolve()
  #hasFailed = false

  constructor(context: LogSegmentsContext) {
    this.#context = context
  }

  /** A segment is missing, or was when somebody looked. */
  missing(segment: number): void {
    this.#last = this.#last.then(() => this.#prepare(segment))
  }

  /** Nothing is written any more when this resolves. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#last
  }

  async #prepare(segment: number): Promise<void> {
    const { root, clock, ready } = this.#context
    const { signal } = this.#stopping
    while (!signal.aborted) {
      try {
        if (await prepareSegment(root, segment, () => !signal.aborted)) ready(segment)
        return
      } catch (error) {
        // Logged once: it costs time, and nothing else.
        if (!this.#hasFailed) {
          log.warn("cannot prepare the commit log, transactions take longer", { error })
        }
        this.#hasFailed = true
        await sleep(clock, RETRY_MS, signal).catch(() => {})
      }
    }
  }
}
