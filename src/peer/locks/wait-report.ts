/**
 * Tells of one wait for clients that are in transactions, when it has taken 5 s: a line in the log, once, and until the
 * wait is over the main thread knows one of the processes.
 */
import type { Clock } from "../../lib/clock.ts"
import type { Logger } from "../../lib/log.ts"
import { describeProcess } from "../../sys/process/process.ts"

export const REPORT_MS = 5000

export interface WaitListener {
  readonly clock: Clock
  readonly log: Logger
  /** A process that is waited for, as "PID (NAME)"; undefined: the wait is over. */
  onWaiting(database: string, process: string | undefined): void
}

export class WaitReport implements Disposable {
  readonly #listener: WaitListener
  readonly #database: string
  readonly #what: string
  readonly #startMs: number
  #nextMs = REPORT_MS
  #process: string | undefined

  /** The wait begins. `what` is what cannot be done until then, for the log. */
  constructor(listener: WaitListener, database: string, what: string) {
    this.#listener = listener
    this.#database = database
    this.#what = what
    this.#startMs = listener.clock.monotonicMs()
  }

  /** Call it after failed attempts. `holder` finds a process that has the lock. */
  waited(holder: () => number | undefined): void {
    const { clock, log, onWaiting } = this.#listener
    const waitedMs = clock.monotonicMs() - this.#startMs
    if (waitedMs <= this.#nextMs) return
    this.#nextMs = waitedMs + REPORT_MS // others may be waited for by then
    const process = describeProcess(holder())
    if (this.#process === undefined) {
      log.warn(`waiting for readers to ${this.#what}`, { db: this.#database, process })
    }
    if (process !== this.#process) onWaiting(this.#database, process)
    this.#process = process
  }

  [Symbol.dispose](): void {
    if (this.#process !== undefined) this.#listener.onWaiting(this.#database, undefined)
  }
}
