/**
 * How far behind its primary this node is, in memory that all threads share.
 *
 * The lag is the age of the last moment at which this node is known to have had everything of its primary:
 *
 * - On the primary it is 0.
 * - On a replica every heartbeat proves such a moment, once everything before it is applied, and an applied transaction
 *   proves one for its database. The lag is therefore below the time between two heartbeats (a second) while all is
 *   well, idle or under load. It grows by a second a second when the stream is cut or silent, or the apply does not
 *   keep up.
 * - It is unknown until the first such moment.
 *
 * Moments are in our steady clock, which nobody sets (lib/clock.ts). The primary tells them by its own clock. `offset`
 * is how much ours is ahead of it: clocks that differ, or are set, do not show up as a lag
 * (cluster/replica/lag-tracker.ts).
 *
 *   0 state   0 on a replica before the first such moment, 1 after it, 2 on a primary
 *   1 synced  the moment, milliseconds
 *   2 offset  milliseconds
 *   3 arriving  1 while there is a database at the primary that is not here at all
 *   4 heard   when the primary was heard last, milliseconds. A transaction cannot be newer: one that says so was made
 *             before the clock of the primary was set back, and proves nothing
 */
import type { Positions } from "./positions.ts"

const STATE = 0
const SYNCED = 1
const OFFSET = 2
const ARRIVING = 3
const HEARD = 4

/** A transaction may come between two heartbeats. */
const UNHEARD_MS_MAX = 2000

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

  /** A replica that was the primary has had everything up to now. `wallMs` is the clock that dates its transactions. */
  setRole(isPrimary: boolean, nowMs: number, wallMs: number): void {
    if (isPrimary) return void Atomics.store(this.#words, STATE, IS_PRIMARY)
    this.#store(SYNCED, nowMs)
    this.#store(HEARD, nowMs)
    this.#store(OFFSET, nowMs - wallMs)
    Atomics.store(this.#words, STATE, IS_SYNCED)
  }

  /** This node has all that existed at the moment. Ignored on a primary, which may hear of it late. */
  setSynced(momentMs: number): void {
    if (this.#state === IS_PRIMARY) return
    this.#store(SYNCED, momentMs)
    Atomics.store(this.#words, STATE, IS_SYNCED)
  }

  /** The primary is heard now, and our clock is ahead of its clock by `offsetMs`. */
  setOffset(offsetMs: number, nowMs: number): void {
    this.#store(OFFSET, offsetMs)
    this.#store(HEARD, nowMs)
  }

  /**
   * Whether the primary has a database that is missing here. If so, the databases here do not tell how far behind this
   * node is.
   */
  setArriving(isArriving: boolean): void {
    Atomics.store(this.#words, ARRIVING, isArriving ? 1n : 0n)
  }

  /**
   * Whether this node has all that the primary had at the time, by our steady clock. A caller knows from elsewhere that
   * something is there, and that word takes at least as long as a heartbeat.
   */
  hasBeenSyncedSince(momentMs: number): boolean {
    if (this.#state === IS_PRIMARY) return true
    return this.#state === IS_SYNCED && this.#load(SYNCED) >= momentMs
  }

  /**
   * The lag of the whole node, which is that of its database furthest behind; undefined when it is unknown. `nowMs`,
   * here and below, is a time of our steady clock.
   */
  lagMs(positions: Positions, nowMs: number): number | undefined {
    if (this.#state === IS_PRIMARY) return 0
    if (this.#state !== IS_SYNCED) return undefined
    return Math.max(0, nowMs - this.#syncedMs(positions))
  }

  /** The lag of a database whose last transaction has the given time, by the clock of the primary. */
  databaseLagMs(timestampMs: number, nowMs: number): number | undefined {
    if (this.#state === IS_PRIMARY) return 0
    if (this.#state !== IS_SYNCED) return undefined
    return Math.max(0, nowMs - Math.max(this.#momentOf(timestampMs), this.#load(SYNCED)))
  }

  /** The age of a moment of the primary's clock. */
  ageMs(primaryMs: number, nowMs: number): number {
    return Math.max(0, nowMs - primaryMs - this.#load(OFFSET))
  }

  #syncedMs(positions: Positions): number {
    const syncedMs = this.#load(SYNCED)
    if (Atomics.load(this.#words, ARRIVING) === 1n) return syncedMs
    let earliestMs = Number.POSITIVE_INFINITY
    for (const [, slot] of positions.entries()) {
      earliestMs = Math.min(earliestMs, this.#momentOf(positions.read(slot).timestampMs))
      if (earliestMs <= syncedMs) return syncedMs
    }
    return Number.isFinite(earliestMs) ? earliestMs : syncedMs
  }

  /** The moment that a transaction of the given time proves: none when its time is still to come. */
  #momentOf(timestampMs: number): number {
    const momentMs = timestampMs + this.#load(OFFSET)
    return momentMs > this.#load(HEARD) + UNHEARD_MS_MAX ? 0 : momentMs
  }

  get #state(): bigint {
    return Atomics.load(this.#words, STATE)
  }

  #load(word: number): number {
    return Number(Atomics.load(this.#words, word))
  }

  #store(word: number, ms: number): void {
    Atomics.store(this.#words, word, BigInt(Math.round(ms)))
  }
}
