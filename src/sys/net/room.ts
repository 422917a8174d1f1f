/**
 * Room for so many at a time. When it is full, who has done nothing for the longest gives way to who comes. When nobody
 * does nothing, the last one does from where most come, if fewer come from where the new one does. Else that one stays
 * outside.
 *
 *   enter() ─▶ inside ─▶ leave()
 *                └── idle, the room is full, another comes: giveWay() ──▶ outside
 */
export interface Guest {
  /** Since when it has done nothing, by the clock of the room's owner, milliseconds; undefined: it does something. */
  readonly idleSinceMs: number | undefined
  /** From where it comes, when it matters. */
  readonly address?: string | undefined
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

  /** False: there is no room. Nobody gives way for being idle who was not so at `idleUntilMs`. */
  enter(guest: T, idleUntilMs: number): boolean {
    const hasRoom =
      this.#guests.size < this.#countMax || this.makeRoom(idleUntilMs) || this.#shareWith(guest)
    if (hasRoom) this.#guests.add(guest)
    return hasRoom
  }

  /** How many could give way. */
  countIdle(idleUntilMs: number): number {
    return [...this.#guests].filter(({ idleSinceMs: ms = Infinity }) => ms <= idleUntilMs).length
  }

  /** Has one give way. False when there is none who could. */
  makeRoom(idleUntilMs: number): boolean {
    const longest = this.#longestIdle()
    if (longest === undefined || (longest.idleSinceMs as number) > idleUntilMs) return false
    this.#sendOut(longest)
    return true
  }

  /** Also who has given way may say so. */
  leave(guest: T): void {
    this.#guests.delete(guest)
  }

  #sendOut(guest: T): void {
    this.#guests.delete(guest)
    guest.giveWay()
  }

  /** Has one give way from where there are two more, at least, than from where this one comes. */
  #shareWith({ address: own }: T): boolean {
    if (own === undefined) return false
    const counts = new Map<string, number>([[own, 0]])
    for (const { address = own } of this.#guests) {
      counts.set(address, (counts.get(address) ?? 0) + 1)
    }
    const [most, count] = [...counts].reduce((a, b) => (b[1] > a[1] ? b : a))
    if (count < (counts.get(own) as number) + 2) return false
    const last = [...this.#guests].findLast(({ address }) => address === most)
    if (last !== undefined) this.#sendOut(last)
    return last !== undefined
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
