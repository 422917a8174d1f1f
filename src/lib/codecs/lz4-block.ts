/**
 * One block of the LZ4 block format: a run of sequences, each with some literal bytes and then a match, a copy of
 * earlier bytes.
 *
 *     token               high 4 bits: literal size; low 4 bits: match size − 4;
 *                         15 in either: more bytes of it follow
 *     [255 … n]           added to the literal size
 *     literals
 *     u16 offset          little endian, how far back the match starts; 0 is not allowed
 *     [255 … n]           added to the match size
 *
 * The last sequence has no match. The format requires that a match starts at least 12 bytes before the end of the
 * content and stops at least 5 bytes before it; the reference decoder refuses a full block that breaks this.
 *
 * lz4js compresses. It lets a match start 10 bytes before the end, so it does not see the last two bytes: they are
 * added to the literals of the last sequence afterwards. Its decompressor trusts its input, and reads and writes
 * outside of its buffers if that is damaged. This file therefore decompresses by itself.
 */

import { compressBlock } from "lz4js"
import { assert } from "../assert.ts"
import { readU16LE } from "../bytes.ts"

const HASH_TABLE_SIZE = 1 << 16
const MIN_MATCH_SIZE = 4
const EXTENDED = 15

/** The number of bytes at the end that lz4js does not see. */
const HIDDEN_TAIL_SIZE = 2

const hashTable = new Uint32Array(HASH_TABLE_SIZE)

/** The target size that `compressLz4Block` needs for a source of this size. */
export function maxLz4BlockSize(sourceSize: number): number {
  return sourceSize + Math.ceil(sourceSize / 255) + 16
}

/** Compresses `source[0, size)` to the start of `target`. Returns the compressed size, 0 if it saves nothing. */
export function compressLz4Block(source: Uint8Array, size: number, target: Uint8Array): number {
  assert(size <= source.length, "LZ4 source is too small")
  assert(maxLz4BlockSize(size) <= target.length, "LZ4 target is too small")
  const shownSize = size - HIDDEN_TAIL_SIZE
  if (shownSize <= 0) return 0
  hashTable.fill(0)
  const shownEnd = compressBlock(source, target, 0, shownSize, hashTable)
  if (shownEnd === 0) return 0
  const end = writeLastSequence(target, lastToken(target, shownEnd), source, shownSize, size)
  return end < size ? end : 0
}

/** The size of the literals of the sequence that `lastToken` found. */
let lastLiteralSize = 0

/** The offset of the token of the last sequence of a well-formed block. */
function lastToken(block: Uint8Array, end: number): number {
  let at = 0
  for (;;) {
    const tokenAt = at
    const token = block[at++] as number
    let literalSize = token >>> 4
    if (literalSize === EXTENDED) {
      let more: number
      do {
        more = block[at++] as number
        literalSize += more
      } while (more === 255)
    }
    at += literalSize
    if (at >= end) {
      lastLiteralSize = literalSize
      return tokenAt
    }
    at += 2
    if ((token & 15) === EXTENDED) {
      while (block[at] === 255) at++
      at++
    }
  }
}

/** Writes the last sequence again, now with literals up to `sourceEnd`. Returns the end of the block. */
function writeLastSequence(
  block: Uint8Array,
  tokenAt: number,
  source: Uint8Array,
  shownSize: number,
  sourceEnd: number,
): number {
  const literalsStart = shownSize - lastLiteralSize
  const literalSize = sourceEnd - literalsStart
  let at = tokenAt
  if (literalSize < EXTENDED) {
    block[at++] = literalSize << 4
  } else {
    block[at++] = EXTENDED << 4
    let more = literalSize - EXTENDED
    for (; more >= 255; more -= 255) block[at++] = 255
    block[at++] = more
  }
  for (let i = literalsStart; i < sourceEnd; i++) block[at++] = source[i] as number
  return at
}

/**
 * Decompresses `block[start, end)` to the start of `target` and returns the number of bytes. Throws a RangeError if the
 * block is damaged or holds more than `target`.
 */
export function decompressLz4Block(
  block: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
): number {
  const capacity = target.length
  let at = start
  let size = 0
  while (at < end) {
    const token = block[at++] as number

    let literalSize = token >>> 4
    if (literalSize === EXTENDED) {
      let more: number
      do {
        if (at >= end) throw damaged("it ends inside a length")
        more = block[at++] as number
        literalSize += more
      } while (more === 255)
    }
    if (literalSize > end - at) throw damaged("it ends inside its literals")
    if (literalSize > capacity - size) throw damaged(`it holds more than ${capacity} bytes`)
    for (const literalsEnd = at + literalSize; at < literalsEnd; ) {
      target[size++] = block[at++] as number
    }
    if (at === end) return size

    if (end - at < 2) throw damaged("it ends inside a match")
    const offset = readU16LE(block, at)
    at += 2
    if (offset === 0 || offset > size) throw damaged(`a match ${offset} bytes back at ${size}`)
    let matchSize = token & 15
    if (matchSize === EXTENDED) {
      let more: number
      do {
        if (at >= end) throw damaged("it ends inside a length")
        more = block[at++] as number
        matchSize += more
      } while (more === 255)
    }
    matchSize += MIN_MATCH_SIZE
    if (matchSize > capacity - size) throw damaged(`it holds more than ${capacity} bytes`)
    // Byte by byte: a match may overlap its own output.
    for (let from = size - offset, matchEnd = size + matchSize; size < matchEnd; ) {
      target[size++] = target[from++] as number
    }
  }
  throw damaged("its last sequence has no literals")
}

function damaged(problem: string): RangeError {
  return new RangeError(`Cannot decompress LZ4 block: ${problem}`)
}
