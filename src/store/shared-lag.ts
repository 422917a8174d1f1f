/**
 * How far behind its primary this node is, in memory that all threads share.
 *
 * The lag is the age of the last moment at which this node is known to have had everything that its primary had:
 *
 * - On the primary it is 0.
 * - On a replica every heartbeat proves such a moment, once what came before it is applied, and a transaction that
 *   is applied proves one for its database. So it is below the time between two heartbeats (a second) while all
 *   is well, idle or under load, and grows by a second a second when the stream is cut or silent, or when the
 *   apply does not keep up.
 * - It is unknown until the first such moment.
 *
 * Moments are told by the clock of the primary. `offset` is what our clock shows more than that one, so clocks that
 * differ do not show up as a lag (cluster/lag-tracker.ts).
 *
 *   0 state   0 on a replica before the first such moment, 1 after it, 2 on a primary
 *   1 synced  the moment, milliseconds since 1970 by the clock of the primary
 *   2 offset  milliseconds
 *   3 arriving  1 while there is a database at the primary that is not here at all
 */
import type { Positions } from "./positions.ts"

const STATE = 0
const SYNCED = 1
const OFFSET = 2
const ARRIVING = 3

const IS_SYNCED = 1n
const IS_PRIMARY = 2n

export class SharedLag {
  readonly memory: SharedArrayBuffer
  readonly #words: BigInt64Array

  static create(isPrimary: boolean): SharedLag {
    const lag = new SharedLag(new SharedArrayBuffer(64))
    if (isPrimary) Atomics.store(lag.#words, STATE, IS_PRIMARY)
    return lag
  }

  constructor(memory: SharedArrayBuffer) {
    this.memory = memory
    this.#words = new BigInt64Array(memory)
  }

  /** A replica that was the primary has had everything up to now, by its own clock. */
  setRole(isPrimary: boolean, nowMs: number): void {
    if (isPrimary) return void Atomics.store(this.#words, STATE, IS_PRIMARY)
    Atomics.store(this.#words, SYNCED, BigInt(Math.round(nowMs)))
    Atomics.store(this.#words, OFFSET, 0n)
    Atomics.store(this.#words, STATE, IS_SYNCED)
  }

  /** All that was there at the moment is here. Says nothing on a primary, which may hear of it late. */
  setSynced(primaryMs: number): void {
    if (this.#state === IS_PRIMARY) return
    Atomics.store(this.#words, SYNCED, BigInt(Math.round(primaryMs)))
    Atomics.store(this.#words, STATE, IS_SYNCED)
  }

  setOffset(offsetMs: number): void {
    Atomics.store(this.#words, OFFSET, BigInt(Math.round(offsetMs)))
  }

  /** Whether the primary has a database that is not here: what is here does not tell how far behind this node is. */
  setArriving(isArriving: boolean): void {
    Atomics.store(this.#words, ARRIVING, isArriving ? 1n : 0n)
  }

  /**
   * Whether all is here that was at the primary at the time, by our clock. It is for who has it from elsewhere that
   * something is there: word of that takes no less time than a heartbeat.
   */
  hasBeenSyncedSince(wallMs: number): boolean {
    if (this.#state === IS_PRIMARY) return true
    if (this.#state !== IS_SYNCED) return false
    return this.#syncedMs + Number(Atomics.load(this.#words, OFFSET)) >= wallMs
  }

  /** The lag of the whole node, that of its database that is furthest behind; undefined when it is unknown. */
  lagMs(positions: Positions, nowMs: number): number | undefined {
    if (this.#state === IS_PRIMARY) return 0
    const syncedMs = this.syncedMs(positions)
    return syncedMs === undefined ? undefined : this.ageMs(syncedMs, nowMs)
  }

  /** The lag of a database whose last transaction has the given time. */
  databaseLagMs(timestampMs: number, nowMs: number): number | undefined {
    if (this.#state === IS_PRIMARY) return 0
    if (this.#state !== IS_SYNCED) return undefined
    return this.ageMs(Math.max(timestampMs, this.#syncedMs), nowMs)
  }

  /** On a replica: the moment, by the clock of the primary; undefined when there was none. */
  syncedMs(positions: Positions): number | undefined {
    if (this.#state !== IS_SYNCED) return undefined
    const syncedMs = this.#syncedMs
    if (Atomics.load(this.#words, ARRIVING) === 1n) return syncedMs
    let earliestMs = Number.POSITIVE_INFINITY
    for (const [, slot] of positions.entries()) {
      earliestMs = Math.min(earliestMs, positions.read(slot).timestampMs)
      if (earliestMs <= syncedMs) return syncedMs
    }
    return Number.isFinite(earliestMs) ? earliestMs : syncedMs
  }

  /** How long ago something was by the primary's clock. */
  ageMs(primaryMs: number, nowMs: number): number {
    return Math.max(0, nowMs - Number(Atomics.load(this.#words, OFFSET)) - primaryMs)
  }

  get #state(): bigint {
    return Atomics.load(this.#words, STATE)
  }

  get #syncedMs(): number {
    return Number(Atomics.load(this.#words, SYNCED))
  }
}
