/**
 * Which page each frame of a WAL holds, and where the newest and the earlier frames of a page are.
 *
 * Frames are numbered from 0 in the order of the file. A commit makes frames count and adds them here; they are taken
 * back from the end.
 */
import { assert } from "../lib/assert.ts"

export class WalFrames {
  #pgnos = new Uint32Array(1024)
  #previous = new Int32Array(1024) // the frame before of the same page; -1: none
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

  /** All frames of a page, the newest first. */
  *of(pgno: number): Iterable<number> {
    let frame = this.#newest.get(pgno) ?? -1
    for (; frame >= 0; frame = this.#previous[frame] as number) yield frame
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
      const previous = new Int32Array(this.#count * 2)
      previous.set(this.#previous)
      this.#previous = previous
    }
    this.#pgnos[this.#count] = pgno
    this.#previous[this.#count] = this.#newest.get(pgno) ?? -1
    this.#newest.set(pgno, this.#count)
    this.#count += 1
  }

  /** Forgets the frames from `count` on. */
  truncate(count: number): void {
    while (this.#count > count) {
      this.#count -= 1
      const pgno = this.#pgnos[this.#count] as number
      const previous = this.#previous[this.#count] as number
      if (previous < 0) this.#newest.delete(pgno)
      else this.#newest.set(pgno, previous)
    }
  }

  clear(): void {
    this.#count = 0
    this.#newest.clear()
  }
}
