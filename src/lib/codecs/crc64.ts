/**
 * CRC-64/GO-ISO: polynomial x^64 + x^4 + x^3 + x + 1, reflected, initial value and final XOR all
 * ones.
 *
 * The polynomial is so sparse that no table is needed. Reflected, the top power of x is bit 0, so a
 * register `r` that has been shifted out whole must be replaced by r·x^64 = r·(x^4 + x^3 + x + 1):
 *
 *     r ^ r>>1 ^ r>>3 ^ r>>4, and the bits that these shifts push out (o = r<<63 ^ r<<61 ^ r<<60)
 *     are powers x^64 and up again: ^ o ^ o>>1 ^ o>>3 ^ o>>4
 *
 * That is one step for eight bytes. For four bytes or one, the bits sit at the top of the register and none is pushed
 * out: the second line falls away. The register is two int32 halves.
 */

import { assert } from "../assert.ts"
import { readI32LE, u64 } from "../bytes.ts"
import { MIN_WORDS_SIZE, wordsOf } from "../words.ts"

export class Crc64 {
  #hi = -1
  #lo = -1

  reset(): this {
    this.#hi = -1
    this.#lo = -1
    return this
  }

  /**
   * The bytes from `start` to `end`. Fastest where `bytes.byteOffset + start` is a multiple of 4.
   */
  update(bytes: Uint8Array, start = 0, end = bytes.length): this {
    assert(0 <= start && start <= end && end <= bytes.length, "CRC range is outside its bytes")
    const address = bytes.byteOffset + start
    let done = start
    if (end - start >= MIN_WORDS_SIZE && (address & 3) === 0) {
      const count = (end - start) & ~7
      this.#foldWords(wordsOf(bytes.buffer), address >>> 2, (address + count) >>> 2)
      done += count
    }
    for (; done + 4 <= end; done += 4) this.#foldWord(readI32LE(bytes, done))
    for (; done < end; done++) this.#foldByte(bytes[done] as number)
    return this
  }

  /** The four bytes of a big-endian u32. */
  updateU32BE(value: number): this {
    this.#foldWord(
      (value >>> 24) | ((value >>> 8) & 0xff00) | ((value & 0xff00) << 8) | (value << 24),
    )
    return this
  }

  get digestHi(): number {
    return ~this.#hi >>> 0
  }

  get digestLo(): number {
    return ~this.#lo >>> 0
  }

  digest(): bigint {
    return u64(~this.#hi, ~this.#lo)
  }

  #foldWords(words: Int32Array, start: number, end: number): void {
    let hi = this.#hi
    let lo = this.#lo
    for (let i = start; i < end; i += 2) {
      const x = lo ^ (words[i] as number)
      const y = hi ^ (words[i + 1] as number)
      const o = (x << 31) ^ (x << 29) ^ (x << 28)
      lo = x ^ ((x >>> 1) | (y << 31)) ^ ((x >>> 3) | (y << 29)) ^ ((x >>> 4) | (y << 28))
      hi = y ^ (y >>> 1) ^ (y >>> 3) ^ (y >>> 4) ^ o ^ (o >>> 1) ^ (o >>> 3) ^ (o >>> 4)
    }
    this.#hi = hi
    this.#lo = lo
  }

  #foldWord(word: number): void {
    const y = this.#lo ^ word
    this.#lo = this.#hi ^ (y << 31) ^ (y << 29) ^ (y << 28)
    this.#hi = y ^ (y >>> 1) ^ (y >>> 3) ^ (y >>> 4)
  }

  #foldByte(byte: number): void {
    const y = (this.#lo ^ byte) << 24
    this.#lo = (this.#lo >>> 8) | (this.#hi << 24)
    this.#hi = (this.#hi >>> 8) ^ y ^ (y >>> 1) ^ (y >>> 3) ^ (y >>> 4)
  }
}
