/** Changes good input until it is bad. */
import type { Random } from "../support/random.ts"

export const INPUT_SIZE_MAX = 64 * 1024

const CHANGES_MAX = 6

/** Where integers wrap, and what limits are made of. */
const NUMBERS = [
  ...[
    0n,
    1n,
    2n,
    4n,
    16n,
    127n,
    128n,
    255n,
    256n,
    511n,
    512n,
    4095n,
    4096n,
    32768n,
    65535n,
    65536n,
  ],
  ...[0x7fffffffn, 0x80000000n, 0xffffffffn, 0x40000000n, 1n << 53n, (1n << 63n) - 1n, 1n << 63n],
  (1n << 64n) - 1n,
]

type Change = (bytes: Uint8Array, random: Random) => Uint8Array

export class Mutator {
  readonly #seeds: readonly Uint8Array[]
  readonly #words: readonly Uint8Array[]
  readonly #changes: readonly Change[]

  constructor(seeds: readonly Uint8Array[], words: readonly string[] = []) {
    this.#seeds = seeds
    this.#words = words.map((word) => new TextEncoder().encode(word))
    this.#changes = [
      ...[setBit, setByte, setNumber, setNumber, cut, remove, repeat, insertNoise],
      (bytes, random) => this.#splice(bytes, random),
      ...(words.length === 0 ? [] : [this.#insertWord, this.#insertWord]),
    ]
  }

  /** An input; once in a while a seed as it is. */
  make(random: Random): Uint8Array {
    let bytes: Uint8Array = random.pick(this.#seeds).slice()
    const count = random.below(CHANGES_MAX + 1)
    for (let change = 0; change < count; change++) {
      bytes = random.pick(this.#changes)(bytes, random)
    }
    return bytes.subarray(0, INPUT_SIZE_MAX)
  }

  /** The beginning of one and the end of another. */
  #splice(bytes: Uint8Array, random: Random): Uint8Array {
    const other = random.pick(this.#seeds)
    const start = random.below(bytes.length + 1)
    return join(bytes.subarray(0, start), other.subarray(random.below(other.length + 1)))
  }

  #insertWord = (bytes: Uint8Array, random: Random): Uint8Array => {
    const at = random.below(bytes.length + 1)
    const isOver = random.below(2) === 0
    const word = random.pick(this.#words)
    return join(bytes.subarray(0, at), word, bytes.subarray(isOver ? at + word.length : at))
  }
}

function setBit(bytes: Uint8Array, random: Random): Uint8Array {
  if (bytes.length === 0) return bytes
  const at = random.below(bytes.length)
  bytes[at] = (bytes[at] as number) ^ (1 << random.below(8))
  return bytes
}

function setByte(bytes: Uint8Array, random: Random): Uint8Array {
  if (bytes.length > 0) bytes[random.below(bytes.length)] = random.u32()
  return bytes
}

/** Of 1, 2, 4 or 8 bytes, in either order; often where fields are, near the start. */
function setNumber(bytes: Uint8Array, random: Random): Uint8Array {
  const size = random.pick([1, 2, 4, 4, 8])
  if (bytes.length < size) return bytes
  const isNear = random.below(2) === 0
  const offset = random.below(Math.min(bytes.length - size + 1, isNear ? 128 : INPUT_SIZE_MAX))
  const at = isNear ? offset - (offset % size) : offset
  const isLittle = random.below(2) === 0
  const value = random.below(4) === 0 ? random.u64() : random.pick(NUMBERS)
  for (let byte = 0; byte < size; byte++) {
    bytes[isLittle ? at + byte : at + size - 1 - byte] = Number((value >> BigInt(byte * 8)) & 0xffn)
  }
  return bytes
}

function cut(bytes: Uint8Array, random: Random): Uint8Array {
  return bytes.subarray(0, random.below(bytes.length + 1))
}

function remove(bytes: Uint8Array, random: Random): Uint8Array {
  const at = random.below(bytes.length + 1)
  return join(bytes.subarray(0, at), bytes.subarray(at + random.pick([1, 4, 24, 512])))
}

function repeat(bytes: Uint8Array, random: Random): Uint8Array {
  const at = random.below(bytes.length + 1)
  const part = bytes.subarray(at, at + random.pick([1, 2, 8, 64, 1024]))
  const parts = Array.from({ length: random.pick([1, 2, 3, 40, 1000]) }, () => part)
  return join(bytes.subarray(0, at), ...parts, bytes.subarray(at))
}

function insertNoise(bytes: Uint8Array, random: Random): Uint8Array {
  const at = random.below(bytes.length + 1)
  return join(bytes.subarray(0, at), random.bytes(random.pick([1, 4, 16])), bytes.subarray(at))
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  const size = parts.reduce((sum, part) => sum + part.length, 0)
  const whole = new Uint8Array(Math.min(size, INPUT_SIZE_MAX))
  let at = 0
  for (const part of parts) {
    whole.set(part.subarray(0, whole.length - at), at)
    at = Math.min(whole.length, at + part.length)
  }
  return whole
}
