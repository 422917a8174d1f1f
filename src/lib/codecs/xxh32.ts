/**
 * xxHash, 32 bits, seed 0, of a stream: the content checksum of LZ4 frames.
 *
 * The input is taken in stripes of four little-endian words, one for each of four accumulators. The rest at the end is
 * mixed in word by word, then byte by byte.
 */

import { readI32LE } from "../bytes.ts"
import { MIN_WORDS_SIZE, wordsOf } from "../words.ts"

const PRIME_1 = 0x9e3779b1 | 0
const PRIME_2 = 0x85ebca77 | 0
const PRIME_3 = 0xc2b2ae3d | 0
const PRIME_4 = 0x27d4eb2f
const PRIME_5 = 0x165667b1

const STRIPE_SIZE = 16

export class Xxh32 {
  #a = 0
  #b = 0
  #c = 0
  #d = 0
  #size = 0
  /** An incomplete stripe, `#size % 16` bytes of it. */
  readonly #stripe = new Uint8Array(STRIPE_SIZE)

  constructor() {
    this.reset()
  }

  reset(): this {
    this.#a = (PRIME_1 + PRIME_2) | 0
    this.#b = PRIME_2
    this.#c = 0
    this.#d = -PRIME_1 | 0
    this.#size = 0
    return this
  }

  update(bytes: Uint8Array, start = 0, end = bytes.length): this {
    let done = start
    let held = this.#size % STRIPE_SIZE
    this.#size += end - start
    if (held > 0) {
      while (held < STRIPE_SIZE && done < end) this.#stripe[held++] = bytes[done++] as number
      if (held < STRIPE_SIZE) return this
      this.#mixBytes(this.#stripe, 0, STRIPE_SIZE)
    }
    const stripesEnd = done + ((end - done) & -STRIPE_SIZE)
    const address = bytes.byteOffset + done
    if (stripesEnd - done >= MIN_WORDS_SIZE && (address & 3) === 0) {
      const wordsEnd = (bytes.byteOffset + stripesEnd) >>> 2
      this.#mixWords(wordsOf(bytes.buffer), address >>> 2, wordsEnd)
    } else {
      this.#mixBytes(bytes, done, stripesEnd)
    }
    for (let i = stripesEnd; i < end; i++) this.#stripe[i - stripesEnd] = bytes[i] as number
    return this
  }

  digest(): number {
    let h =
      this.#size >= STRIPE_SIZE
        ? rotate(this.#a, 1) + rotate(this.#b, 7) + rotate(this.#c, 12) + rotate(this.#d, 18)
        : PRIME_5
    h = (h + this.#size) | 0
    const held = this.#size % STRIPE_SIZE
    let i = 0
    for (; i + 4 <= held; i += 4) {
      h = (h + Math.imul(readI32LE(this.#stripe, i), PRIME_3)) | 0
      h = Math.imul(rotate(h, 17), PRIME_4)
    }
    for (; i < held; i++) {
      h = (h + Math.imul(this.#stripe[i] as number, PRIME_5)) | 0
      h = Math.imul(rotate(h, 11), PRIME_1)
    }
    h = Math.imul(h ^ (h >>> 15), PRIME_2)
    h = Math.imul(h ^ (h >>> 13), PRIME_3)
    return (h ^ (h >>> 16)) >>> 0
  }

  #mixWords(words: Int32Array, start: number, end: number): void {
    let a = this.#a
    let b = this.#b
    let c = this.#c
    let d = this.#d
    for (let i = start; i < end; i += 4) {
      a = round(a, words[i] as number)
      b = round(b, words[i + 1] as number)
      c = round(c, words[i + 2] as number)
      d = round(d, words[i + 3] as number)
    }
    this.#a = a
    this.#b = b
    this.#c = c
    this.#d = d
  }

  #mixBytes(bytes: Uint8Array, start: number, end: number): void {
    for (let i = start; i < end; i += STRIPE_SIZE) {
      this.#a = round(this.#a, readI32LE(bytes, i))
      this.#b = round(this.#b, readI32LE(bytes, i + 4))
      this.#c = round(this.#c, readI32LE(bytes, i + 8))
      this.#d = round(this.#d, readI32LE(bytes, i + 12))
    }
  }
}

function round(accumulator: number, word: number): number {
  return Math.imul(rotate((accumulator + Math.imul(word, PRIME_2)) | 0, 13), PRIME_1)
}

function rotate(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by))
}
