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
 * The last sequence has no match. A match starts at least 12 bytes before the end of the content, and stops at least 5
 * bytes before it: the reference decoder refuses a full block that breaks this.
 *
 * Every commit goes through this. lz4js, which the tests compare with, compresses rows at 134 MB/s and random bytes at
 * 153; this does so at 227 and 580 on the same machine, to 2 % more (docs/decisions.md). Its decompressor trusts its
 * input, and reads and writes outside of its buffers if that is damaged.
 */
import { assert } from "../assert.ts"
import { readU16LE } from "../bytes.ts"

const MIN_MATCH_SIZE = 4
const EXTENDED = 15
const MATCH_START_DISTANCE = 12 // from the end of the content
const MATCH_END_DISTANCE = 5
const OFFSET_MAX = 65535

const HASH_BITS = 13
/** Knuth's multiplicative hash: 2^32 divided by the golden ratio. */
const HASH_FACTOR = 0x9e3779b1 | 0
/**
 * Where each hash of four bytes was seen last. Positions count on from one source to the next: to clear the table costs
 * more than a small block.
 */
const seen = new Int32Array(1 << HASH_BITS)
let nextPosition = 1
const POSITION_MAX = 2 ** 30

/** After 2 ** this many bytes without a match every second byte is tried, then every third, … */
const PATIENCE_BITS = 5
/** Shorter literals are copied faster one by one. */
const COPIED_SIZE_MIN = 48

/** The target size that `compressLz4Block` needs for a source of this size. */
export function maxLz4BlockSize(sourceSize: number): number {
  return sourceSize + Math.ceil(sourceSize / 255) + 16
}

/** Compresses `source[0, size)` to the start of `target`. Returns the compressed size, 0 if it saves nothing. */
export function compressLz4Block(source: Uint8Array, size: number, target: Uint8Array): number {
  assert(size <= source.length, "LZ4 source is too small")
  assert(maxLz4BlockSize(size) <= target.length, "LZ4 target is too small")
  assert(size < POSITION_MAX, "LZ4 source is too large")
  if (nextPosition + size > POSITION_MAX) {
    seen.fill(0)
    nextPosition = 1
  }
  const first = nextPosition
  nextPosition += size
  const words = new DataView(source.buffer, source.byteOffset, size)
  const lastStart = size - MATCH_START_DISTANCE
  let at = 0
  let literalsStart = 0
  let end = 0 // of what is in `target`
  let patience = 1 << PATIENCE_BITS
  while (at <= lastStart) {
    const word = words.getInt32(at, true)
    const hash = Math.imul(word, HASH_FACTOR) >>> (32 - HASH_BITS)
    let from = (seen[hash] as number) - first
    seen[hash] = first + at
    if (from < 0 || at - from > OFFSET_MAX || words.getInt32(from, true) !== word) {
      at += patience++ >> PATIENCE_BITS
      continue
    }
    patience = 1 << PATIENCE_BITS
    const offset = at - from
    const matchEnd = endOfMatch(source, words, at, from, size - MATCH_END_DISTANCE)
    while (at > literalsStart && from > 0 && source[at - 1] === source[from - 1]) {
      at -= 1
      from -= 1
    }
    const token = end
    end = writeLiterals(target, end, source, literalsStart, at)
    target[end++] = offset
    target[end++] = offset >>> 8
    const more = matchEnd - at - MIN_MATCH_SIZE
    target[token] = (target[token] as number) | Math.min(more, EXTENDED)
    if (more >= EXTENDED) end = writeMore(target, end, more - EXTENDED)
    at = matchEnd
    literalsStart = at
    if (at > lastStart) break
    const before = words.getInt32(at - 2, true)
    seen[Math.imul(before, HASH_FACTOR) >>> (32 - HASH_BITS)] = first + at - 2
  }
  end = writeLiterals(target, end, source, literalsStart, size)
  return end < size ? end : 0
}

/** The first four bytes are known to be equal. */
function endOfMatch(
  source: Uint8Array,
  words: DataView,
  start: number,
  from: number,
  limit: number,
): number {
  const offset = start - from
  let at = start + MIN_MATCH_SIZE
  for (; at + 4 <= limit; at += 4) {
    const difference = words.getInt32(at, true) ^ words.getInt32(at - offset, true)
    if (difference !== 0) return at + ((31 - Math.clz32(difference & -difference)) >>> 3)
  }
  while (at < limit && source[at] === source[at - offset]) at++
  return at
}

/** Writes a token and literals at `at`. Returns the end of them. */
function writeLiterals(
  target: Uint8Array,
  at: number,
  source: Uint8Array,
  start: number,
  end: number,
): number {
  const size = end - start
  target[at++] = Math.min(size, EXTENDED) << 4
  if (size >= EXTENDED) at = writeMore(target, at, size - EXTENDED)
  if (size >= COPIED_SIZE_MIN) {
    target.set(source.subarray(start, end), at)
    return at + size
  }
  for (let i = start; i < end; i++) target[at++] = source[i] as number
  return at
}

/** Writes what a size exceeds 15 by. */
function writeMore(target: Uint8Array, at: number, more: number): number {
  let left = more
  for (; left >= 255; left -= 255) target[at++] = 255
  target[at++] = left
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
