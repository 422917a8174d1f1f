/**
 * The turn of readers of a database in a rollback mode, between transactions that are written one after the other.
 *
 * A client that has waited for a while asks for its lock every 100 ms (SQLite: sqliteDefaultBusyCallback). While many
 * large transactions are applied, the lock is free only for a moment between two of them, and a client may miss all
 * these moments until its time is over. When clients were kept out for most of a while, the lock is therefore left
 * alone until everybody has asked once.
 */
import { type Clock, sleep } from "../../lib/clock.ts"

const TURN_MS = 110
const WHILE_MS = 500

export class ReadersTurn {
  readonly #clock: Clock
  #startMs: number
  #shutMs = 0 // since the start
  #openMs: number // since when the lock has been free

  constructor(clock: Clock) {
    this.#clock = clock
    this.#startMs = clock.monotonicMs()
    this.#openMs = this.#startMs
  }

  /** Resolves when the lock may be taken. */
  async over(signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.monotonicMs()
    const openMs = nowMs - this.#openMs
    const whileMs = nowMs - this.#startMs
    if (whileMs < WHILE_MS && openMs < TURN_MS) return
    const isDue = this.#shutMs > whileMs / 2 && openMs < TURN_MS
    if (isDue) await sleep(this.#clock, TURN_MS - openMs, signal)
    this.#startMs = this.#clock.monotonicMs()
    this.#shutMs = 0
  }

  /** The lock is free again; clients were kept out since `sinceMs`. */
  begin(sinceMs: number): void {
    this.#openMs = this.#clock.monotonicMs()
    this.#shutMs += this.#openMs - sinceMs
  }
}
