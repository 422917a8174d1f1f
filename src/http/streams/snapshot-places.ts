/**
 * Places for snapshots that are sent, first come, first served.
 *
 *   enter(): false ──▶ in line ── enter() again and again ──▶ inside ── leave() ──▶ at the end of the line, next time
 *
 * Who comes later gets a place only when there are enough for those before it: free ones, and those of who does nothing.
 * Who has not asked for a while needs no place just now: it holds nobody up, and keeps its place in the line until its
 * connection is closed.
 */
import type { Clock } from "../../lib/clock.ts"
import { type Guest, Room } from "../../sys/net/room.ts"

/** A stream asks at least once a second, as long as it has time. */
const ASKING_MS = 3000

export interface PlaceGuest extends Guest {
  readonly isClosed: boolean
}

export class SnapshotPlaces<T extends PlaceGuest> {
  readonly #clock: Pick<Clock, "monotonicMs">
  readonly #countMax: number
  readonly #room: Room<T>
  /** When each has asked the last time, in the order in which they came. */
  readonly #line = new Map<T, number>()

  constructor(countMax: number, clock: Pick<Clock, "monotonicMs">) {
    this.#countMax = countMax
    this.#clock = clock
    this.#room = new Room(countMax)
  }

  /** False: it stays in line, and should ask again. Who does nothing for `idleMs` is displaced. */
  enter(guest: T, idleMs: number): boolean {
    const nowMs = this.#clock.monotonicMs()
    this.#line.set(guest, nowMs)
    const freeCount = this.#countMax - this.#room.size + this.#room.countIdle(nowMs - idleMs)
    if (this.#countBefore(guest, nowMs) > Math.max(0, freeCount - 1)) return false
    if (!this.#room.enter(guest, nowMs - idleMs)) return false
    this.#line.delete(guest)
    return true
  }

  leave(guest: T): void {
    this.#room.leave(guest)
  }

  #countBefore(guest: T, nowMs: number): number {
    let count = 0
    for (const [other, askedMs] of this.#line) {
      if (other === guest) break
      if (other.isClosed) this.#line.delete(other)
      else if (nowMs - askedMs < ASKING_MS) count += 1
    }
    return count
  }
}
