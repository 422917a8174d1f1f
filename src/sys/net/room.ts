/**
 * Room for so many at a time. When it is full, who has done nothing for the longest gives way to who comes; when nobody
 * does nothing, who comes stays outside.
 *
 *   enter() ─▶ inside ─▶ leave()
 *                └── idle, the room is full, another comes: giveWay() ──▶ outside
 */
export interface Guest {
  /** Since when it has done nothing, by the clock of the room's owner, milliseconds; undefined: it does something. */
  readonly idleSinceMs: number | undefined
  /** It is no longer inside: what it holds is to be ended. */
  giveWay(): void
}

export class Room<T extends Guest> {
  readonly #countMax: number
  readonly #guests = new Set<T>()

  constructor(countMax: number) {
    this.#countMax = countMax
  }

  get size(): number {
    return this.#guests.size
  }

  [Symbol.iterator](): Iterator<T> {
    return this.#guests.values()
  }

  /** False: there is no room, and nobody who has been idle since `idleUntilMs` or before. */
  enter(guest: T, idleUntilMs: number): boolean {
    if (this.#guests.size >= this.#countMax && !this.makeRoom(idleUntilMs)) return false
    this.#guests.add(guest)
    return true
  }

  /** Has one give way. False when there is none who could. */
  makeRoom(idleUntilMs: number): boolean {
    const longest = this.#longestIdle()
    if (longest === undefined || (longest.idleSinceMs as number) > idleUntilMs) return false
    this.#guests.delete(longest)
    longest.giveWay()
    return true
  }

  /** Also who has given way may say so. */
  leave(guest: T): void {
    this.#guests.delete(guest)
  }

  #longestIdle(): T | undefined {
    let longest: T | undefined
    for (const guest of this.#guests) {
      const { idleSinceMs } = guest
      if (idleSinceMs === undefined) continue
      if (longest === undefined || idleSinceMs < (longest.idleSinceMs as number)) longest = guest
    }
    return longest
  }
}
