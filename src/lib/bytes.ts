/**
 * Integers, byte strings and text in byte arrays.
 *
 * `ByteReader` and `ByteWriter` are for records that are read once, big endian, as in the LTX and stream formats. The
 * free functions below are for fixed offsets and for hot paths. They allocate nothing and trust the offset: an index
 * outside the array reads as 0.
 */

import { assert } from "./assert.ts"

const textEncoder = new TextEncoder()
const textDecoder = new TextDecoder("utf-8", { fatal: true })

export function readU16LE(bytes: Uint8Array, offset: number): number {
  return (bytes[offset] as number) | ((bytes[offset + 1] as number) << 8)
}

export function readU16BE(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset] as number) << 8) | (bytes[offset + 1] as number)
}

export function writeU16BE(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 8
  bytes[offset + 1] = value
}

export function readU32LE(bytes: Uint8Array, offset: number): number {
  return readI32LE(bytes, offset) >>> 0
}

/** The same four bytes as `readU32LE`, as a signed integer: 32-bit arithmetic is fastest with those. */
export function readI32LE(bytes: Uint8Array, offset: number): number {
  return (
    (bytes[offset] as number) |
    ((bytes[offset + 1] as number) << 8) |
    ((bytes[offset + 2] as number) << 16) |
    ((bytes[offset + 3] as number) << 24)
  )
}

export function writeU32LE(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value
  bytes[offset + 1] = value >>> 8
  bytes[offset + 2] = value >>> 16
  bytes[offset + 3] = value >>> 24
}

export function readU32BE(bytes: Uint8Array, offset: number): number {
  return (
    (((bytes[offset] as number) << 24) |
      ((bytes[offset + 1] as number) << 16) |
      ((bytes[offset + 2] as number) << 8) |
      (bytes[offset + 3] as number)) >>>
    0
  )
}

export function writeU32BE(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 24
  bytes[offset + 1] = value >>> 16
  bytes[offset + 2] = value >>> 8
  bytes[offset + 3] = value
}

export function readU64BE(bytes: Uint8Array, offset: number): bigint {
  return u64(readU32BE(bytes, offset), readU32BE(bytes, offset + 4))
}

export function writeU64BE(bytes: Uint8Array, offset: number, value: bigint): void {
  writeU32BE(bytes, offset, Number(BigInt.asUintN(32, value >> 32n)))
  writeU32BE(bytes, offset + 4, Number(BigInt.asUintN(32, value)))
}

/** The 64-bit integer with these two halves; each may be signed. */
export function u64(hi: number, lo: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
}

/** Reads a record from front to back. A record that is too short is a RangeError with its name. */
export class ByteReader {
  readonly #bytes: Uint8Array
  readonly #what: string
  #offset = 0

  /** Errors name `what`: "Cannot decode <what>: …". */
  constructor(bytes: Uint8Array, what = "record") {
    this.#bytes = bytes
    this.#what = what
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset
  }

  u8(): number {
    return this.#bytes[this.#take(1)] as number
  }

  u16(): number {
    return readU16BE(this.#bytes, this.#take(2))
  }

  u32(): number {
    return readU32BE(this.#bytes, this.#take(4))
  }

  u64(): bigint {
    return readU64BE(this.#bytes, this.#take(8))
  }

  i64(): bigint {
    return BigInt.asIntN(64, this.u64())
  }

  /** An i64 as a number, for sizes and times. Beyond 2^53 it is a RangeError. */
  safeI64(): number {
    const value = Number(this.i64())
    if (!Number.isSafeInteger(value)) this.#fail(`${value} is beyond what a number can hold`)
    return value
  }

  /** A view, not a copy. */
  bytes(size: number): Uint8Array {
    const start = this.#take(size)
    return this.#bytes.subarray(start, start + size)
  }

  /** u32 length, then UTF-8. The length is checked before anything is allocated. */
  string32(maxSize: number): string {
    const size = this.u32()
    if (size > maxSize) this.#fail(`a text of ${size} bytes, expected at most ${maxSize}`)
    const bytes = this.bytes(size)
    try {
      return textDecoder.decode(bytes)
    } catch {
      return this.#fail("a text that is not UTF-8")
    }
  }

  /** Throws if bytes are left. */
  end(): void {
    if (this.remaining > 0) this.#fail(`${this.remaining} bytes after its end`)
  }

  #take(size: number): number {
    const start = this.#offset
    if (size > this.#bytes.length - start) {
      this.#fail(`expected ${size} more bytes at offset ${start}, got ${this.remaining}`)
    }
    this.#offset = start + size
    return start
  }

  #fail(problem: string): never {
    throw new RangeError(`Cannot decode ${this.#what}: ${problem}`)
  }
}

/** Writes a record from front to back, into a buffer that grows. */
export class ByteWriter {
  #bytes: Uint8Array<ArrayBuffer>
  #size = 0

  constructor(capacity = 64) {
    this.#bytes = new Uint8Array(capacity)
  }

  get size(): number {
    return this.#size
  }

  u8(value: number): this {
    this.#bytes[this.#grow(1)] = value
    return this
  }

  u16(value: number): this {
    const start = this.#grow(2)
    writeU16BE(this.#bytes, start, value)
    return this
  }

  u32(value: number): this {
    const start = this.#grow(4)
    writeU32BE(this.#bytes, start, value)
    return this
  }

  u64(value: bigint): this {
    assert(value >= 0n && value < 1n << 64n, `Cannot write ${value}: expected an unsigned 64-bit`)
    const start = this.#grow(8)
    writeU64BE(this.#bytes, start, value)
    return this
  }

  i64(value: bigint): this {
    return this.u64(BigInt.asUintN(64, value))
  }

  bytes(value: Uint8Array): this {
    const start = this.#grow(value.length)
    this.#bytes.set(value, start)
    return this
  }

  /** u32 length, then UTF-8. */
  string32(value: string): this {
    const bytes = textEncoder.encode(value)
    return this.u32(bytes.length).bytes(bytes)
  }

  /** The written bytes: a view, valid until the next write. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#size)
  }

  #grow(size: number): number {
    const start = this.#size
    const end = start + size
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(end, this.#bytes.length * 2))
      larger.set(this.#bytes)
      this.#bytes = larger
    }
    this.#size = end
    return start
  }
}

/** What `decode` makes of bytes; undefined when they are something else, which it says by a RangeError. */
export function decodedIfAny<T>(decode: () => T): T | undefined {
  try {
    return decode()
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

export function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0)
}

/** Bytes in memory of their own. A message to another thread copies the whole memory that its bytes lie in. */
export function ownBytes(bytes: Uint8Array): Uint8Array {
  return bytes.length === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes)
}
