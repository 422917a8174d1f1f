/**
 * The memory of an ArrayBuffer as 32-bit words, for checksums that read it four bytes at a time.
 *
 * A view costs an allocation, and buffers that hold pages are few and long-lived: one view per buffer is kept. Words
 * are signed because JavaScriptCore keeps int32 arithmetic in registers, and turns an unsigned word above 2^31 into a
 * double.
 */

import { assert } from "./assert.ts"

assert(
  new Uint8Array(new Int32Array([1]).buffer)[0] === 1,
  "This program needs a little-endian CPU",
)

const viewOf = new WeakMap<ArrayBufferLike, Int32Array>()

/** Below this, reading single bytes is cheaper than finding the view. */
export const MIN_WORDS_SIZE = 64

/** Words of the whole buffer; the index of the word at byte `o` is `o >>> 2`, `o` a multiple of 4. */
export function wordsOf(buffer: ArrayBufferLike): Int32Array {
  const known = viewOf.get(buffer)
  if (known !== undefined) return known
  const words = new Int32Array(buffer, 0, buffer.byteLength >>> 2)
  viewOf.set(buffer, words)
  return words
}
