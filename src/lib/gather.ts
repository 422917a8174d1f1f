/**
 * Collects records of known size from input that arrives split anywhere.
 *
 * A record in one piece is returned as a view of the input; only a split one is copied. After each call `used` says how
 * many bytes of the input were taken. The caller limits the size: up to that many bytes are allocated.
 */

import { readU16BE, readU32BE } from "./bytes.ts"

export class Gather {
  #held = new Uint8Array(16)
  #heldSize = 0

  /** How many bytes of its input the last call took. */
  used = 0

  /** Discards an unfinished record. */
  reset(): void {
    this.#heldSize = 0
  }

  /** The next `size` bytes, borrowed until the next call, or undefined if the input ends before. */
  take(input: Uint8Array, start: number, size: number): Uint8Array | undefined {
    if (this.#heldSize === 0 && input.length - start >= size) {
      this.used = size
      return input.subarray(start, start + size)
    }
    return this.#hold(input, start, size) ? this.#held.subarray(0, size) : undefined
  }

  takeU16BE(input: Uint8Array, start: number): number | undefined {
    if (this.#heldSize === 0 && input.length - start >= 2) {
      this.used = 2
      return readU16BE(input, start)
    }
    return this.#hold(input, start, 2) ? readU16BE(this.#held, 0) : undefined
  }

  takeU32BE(input: Uint8Array, start: number): number | undefined {
    if (this.#heldSize === 0 && input.length - start >= 4) {
      this.used = 4
      return readU32BE(input, start)
    }
    return this.#hold(input, start, 4) ? readU32BE(this.#held, 0) : undefined
  }

  /** Copies the available part of the record. True once it is whole, which also makes room for the next. */
  #hold(input: Uint8Array, start: number, size: number): boolean {
    if (this.#held.length < size) {
      const larger = new Uint8Array(size)
      larger.set(this.#held.subarray(0, this.#heldSize))
      this.#held = larger
    }
    this.used = Math.min(size - this.#heldSize, input.length - start)
    this.#held.set(input.subarray(start, start + this.used), this.#heldSize)
    this.#heldSize += this.used
    if (this.#heldSize < size) return false
    this.#heldSize = 0
    return true
  }
}
