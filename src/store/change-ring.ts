/**
 * Which places of shared memory have changed lately, so that nobody has to look at all of them after each change: the
 * last CHANGE_COUNT changes, in order. Any thread notes changes, and any thread reads on from where it was.
 *
 *   0      count of all changes
 *   1…     one word for each change, in turn: which turn it was (17 bits, from 1), and the place (15 bits)
 *
 * A change is counted before its word is there. A reader that finds another turn in the word knows only that something
 * has changed, as it does after more changes than there are words.
 */
const CHANGE_COUNT = 4096
const COUNT_WORD = 0
const FIRST_WORD = 1
const PLACE_BITS = 15

export const CHANGE_RING_WORDS = FIRST_WORD + CHANGE_COUNT

/** Says that any place may have changed. */
export const ANY_PLACE = 2 ** PLACE_BITS - 1

export class ChangeRing {
  readonly #words: Int32Array

  constructor(words: Int32Array) {
    this.#words = words
  }

  /** The count of all changes, in 32 bits. */
  get count(): number {
    return Atomics.load(this.#words, COUNT_WORD)
  }

  note(place: number): void {
    const number = Atomics.add(this.#words, COUNT_WORD, 1)
    Atomics.store(this.#words, wordOf(number), (turnOf(number) << PLACE_BITS) | place)
  }

  /** The places that have changed since the count was `seen`; undefined when it may be any. */
  since(seen: number): ReadonlySet<number> | undefined {
    const count = this.count
    if (((count - seen) | 0) > CHANGE_COUNT) return undefined
    const places = new Set<number>()
    for (let number = seen; number !== count; number = (number + 1) | 0) {
      const word = Atomics.load(this.#words, wordOf(number))
      const place = word & ANY_PLACE
      if (word >>> PLACE_BITS !== turnOf(number) || place === ANY_PLACE) return undefined
      places.add(place)
    }
    return places
  }
}

function wordOf(number: number): number {
  return FIRST_WORD + (number & (CHANGE_COUNT - 1))
}

/** Never 0: the memory starts with zeros. */
function turnOf(number: number): number {
  return (((number >>> 0) / CHANGE_COUNT) & 0xffff) + 1
}
