/**
 * Repeatable randomness for property tests. The seed is printed; LITEFS_SEED=<seed> repeats a run.
 */
export class Random {
  readonly seed: number
  #state: number

  constructor(seed: number) {
    this.seed = seed
    this.#state = seed | 0
  }

  /** From 0 to 2^32 − 1. */
  u32(): number {
    // mulberry32
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }

  /** From 0 to `limit` − 1. */
  below(limit: number): number {
    return this.u32() % limit
  }

  /** Both ends are included. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1)
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32())
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)] as T
  }

  /** For a table of tests: one of its kinds, which the next run, or the next table, may take otherwise. All when thorough. */
  someOf<T>(kinds: readonly T[]): readonly T[] {
    return IS_THOROUGH ? kinds : [this.pick(kinds)]
  }

  /** For a table of tests of one kind: every other one of them, by chance. All when thorough. */
  halfOf<T>(cases: readonly T[]): T[] {
    return [...this.places(cases.length, 2)].map((at) => cases[at] as T)
  }

  /** Of the places from 0 to `count` − 1 one in `every`; the next run may take others. All when thorough. */
  *places(count: number, every: number): Generator<number> {
    const [first, step] = IS_THOROUGH ? [0, 1] : [this.below(every), every]
    for (let at = first; at < count; at += step) yield at
  }

  bytes(size: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(size)
    for (let i = 0; i < size; i++) bytes[i] = this.u32()
    return bytes
  }

  /** Bytes as databases have them: runs, repetitions and some noise. */
  compressible(size: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(size)
    for (let at = 0; at < size; ) {
      const run = Math.min(size - at, this.between(1, 40))
      const from = this.below(at + 1)
      const kind = this.below(3)
      for (let i = 0; i < run; i++) {
        if (kind === 0) bytes[at + i] = this.u32()
        else if (kind === 1) bytes[at + i] = bytes[from + i] as number
      }
      at += run
    }
    return bytes
  }

  /** The bytes cut into pieces at random. */
  split(bytes: Uint8Array): Uint8Array[] {
    const pieces: Uint8Array[] = []
    const longest = this.pick([1, 7, 64, 1000, 10000])
    for (let at = 0; at < bytes.length; ) {
      const size = this.between(1, longest)
      pieces.push(bytes.subarray(at, at + size))
      at += size
    }
    return pieces
  }
}

/** The long form: sweeps try every place, and every fault in it, instead of some by chance, and tests all their rounds. */
export const IS_THOROUGH = process.env.LITEFS_ALL_FAULTS !== undefined

/** A number of rounds: the everyday one, or the one of the long form of a test, which LITEFS_ALL_FAULTS asks for. */
export function rounds(everyday: number, long: number): number {
  return IS_THOROUGH ? long : everyday
}

let printed = false

/** One generator per test file: `const random = testRandom()`. */
export function testRandom(): Random {
  const given = process.env.LITEFS_SEED
  const seed = given === undefined ? Date.now() >>> 0 : Number(given)
  if (!printed) console.log(`random seed: LITEFS_SEED=${seed}`)
  printed = true
  return new Random(seed)
}
