/**
 * Which page each frame of a WAL holds, and where the newest frame of a page is.
 *
 * Frames are numbered from 0 in the order of the file. They are added as a commit makes them count, and taken
 * back from the end.
 */
import { assert } from "../lib/assert.ts"

export class WalFrames {
  #pgnos = new Uint32Array(1024)
  #count = 0
  readonly #newest = new Map<number, number>() // pgno → frame

  get count(): number {
    return this.#count
  }

  pgno(frame: number): number {
    assert(frame < this.#count, "the frame was added")
    return this.#pgnos[frame] as number
  }

  /** The newest frame of a page, or undefined when the page is only in the database file. */
  newest(pgno: number): number | undefined {
    return this.#newest.get(pgno)
  }

  /** Pages that have a frame, with the newest, in no order. */
  entries(): Iterable<[pgno: number, frame: number]> {
    return this.#newest
  }

  add(pgno: number): void {
    if (this.#count === this.#pgnos.length) {
      const grown = new Uint32Array(this.#count * 2)
      grown.set(this.#pgnos)
      this.#pgnos = grown
    }
    this.#pgnos[this.#count] = pgno
    this.#newest.set(pgno, this.#count)
    this.#count += 1
  }

  /** Forgets the frames from `count` on. Costs as much as there are frames before it. */
  truncate(count: number): void {
    const revoked = new Set<number>()
    for (let frame = count; frame < this.#count; frame++) revoked.add(this.pgno(frame))
    for (const pgno of revoked) this.#newest.delete(pgno)
    this.#count = count
    for (let frame = 0; frame < count && revoked.size > 0; frame++) {
      const pgno = this.pgno(frame)
      if (revoked.has(pgno)) this.#newest.set(pgno, frame)
    }
  }

  clear(): void {
    this.#count = 0
    this.#newest.clear()
  }
}
