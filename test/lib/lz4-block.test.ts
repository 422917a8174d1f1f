import { describe, expect, test } from "bun:test"
import { decompressBlock } from "lz4js"
import {
  compressLz4Block,
  decompressLz4Block,
  maxLz4BlockSize,
} from "../../src/lib/codecs/lz4-block.ts"
import { unhex } from "../support/bytes.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

function compress(source: Uint8Array): Uint8Array {
  const target = new Uint8Array(maxLz4BlockSize(source.length))
  return target.subarray(0, compressLz4Block(source, source.length, target))
}

/** Where in the content the last match of a block starts and ends. */
function lastMatch(block: Uint8Array): { start: number; end: number } {
  let [at, size] = [0, 0]
  const last = { start: 0, end: 0 }
  const length = (nibble: number): number => {
    let sum = nibble
    for (let more = 255; nibble === 15 && more === 255; sum += more) more = block[at++] as number
    return sum
  }
  while (true) {
    const token = block[at++] as number
    const literalSize = length(token >>> 4)
    at += literalSize
    size += literalSize
    if (at === block.length) return last
    at += 2
    last.start = size
    size += length(token & 15) + 4
    last.end = size
  }
}

describe("compressLz4Block", () => {
  test("compressLz4Block makes what decompressLz4Block reads", () => {
    for (let i = 0; i < 300; i++) {
      const source = random.compressible(random.pick([20, 100, 1000, 4100, 65536]))
      const block = compress(source)
      if (block.length === 0) continue
      const target = new Uint8Array(source.length)
      expect(decompressLz4Block(block, 0, block.length, target)).toBe(source.length)
      expect(Buffer.compare(target, source)).toBe(0)
      const others = new Uint8Array(source.length)
      expect(decompressBlock(block, others, 0, block.length, 0)).toBe(source.length)
      expect(Buffer.compare(others, source)).toBe(0)
    }
  })

  test("compressLz4Block makes the same of a source whatever it has compressed before", () => {
    const source = random.compressible(5000)
    const block = compress(source)
    for (let i = 0; i < 100; i++) {
      compress(random.pick([source, source.subarray(i), random.compressible(random.below(70000))]))
      expect(Buffer.compare(compress(source), block)).toBe(0)
    }
  })

  test("compressLz4Block finds no match further back than an offset reaches", () => {
    const marker = random.bytes(100)
    for (const gap of [65000, 65534, 65535, 65536, 65537, 70000]) {
      const source = new Uint8Array(gap + 200).map((_, index) => index % 8)
      source.set(marker)
      source.set(marker, gap)
      const block = compress(source)
      const target = new Uint8Array(source.length)
      expect(decompressLz4Block(block, 0, block.length, target)).toBe(source.length)
      expect(Buffer.compare(target, source)).toBe(0)
    }
  })

  test("compressLz4Block keeps matches away from the end, as the reference decoder demands", () => {
    for (let i = 0; i < 500; i++) {
      const source = random.compressible(random.between(20, 2000))
      const block = compress(source)
      if (block.length === 0) continue
      const { start, end } = lastMatch(block)
      expect(source.length - start).toBeGreaterThanOrEqual(12)
      expect(source.length - end).toBeGreaterThanOrEqual(5)
    }
  })

  test("compressLz4Block gives 0 where nothing is saved", () => {
    for (const size of [0, 1, 2, 3, 12, 15, 500]) {
      expect(compress(random.bytes(size)).length).toBe(0)
    }
  })

  test("compressLz4Block extends the last literals over the sizes where their length takes a byte more", () => {
    for (let tail = 0; tail < 600; tail++) {
      const source = new Uint8Array(1000 + tail)
      source.set(random.bytes(tail), 1000)
      const block = compress(source)
      const target = new Uint8Array(source.length)
      expect(decompressLz4Block(block, 0, block.length, target)).toBe(source.length)
      expect(Buffer.compare(target, source)).toBe(0)
    }
  })

  test("compressLz4Block needs a target that is large enough for any source", () => {
    expect(() => compressLz4Block(new Uint8Array(9), 9, new Uint8Array(9))).toThrow(
      "target is too small",
    )
  })
})

describe("decompressLz4Block", () => {
  test("decompressLz4Block repeats bytes that a match itself makes", () => {
    const target = new Uint8Array(100)
    const block = unhex("1f 61 0100 02 10 62")
    const size = decompressLz4Block(block, 0, block.length, target)
    expect(new TextDecoder().decode(target.subarray(0, size))).toBe(`${"a".repeat(22)}b`)
  })

  test.each([
    ["an end inside the size of literals", "f0ff", "it ends inside a length"],
    ["an end inside literals", "2061", "it ends inside its literals"],
    ["an end inside an offset", "106101", "it ends inside a match"],
    ["an end inside the size of a match", "1f610100", "it ends inside a length"],
    ["an end after a match", "10610100", "its last sequence has no literals"],
    ["a match at offset 0", "1061000010", "a match 0 bytes back at 1"],
    ["a match before the start", "1061020010", "a match 2 bytes back at 1"],
    ["literals that do not fit", "90616161616161616161", "it holds more than 8 bytes"],
    ["a match that does not fit", "1461010000", "it holds more than 8 bytes"],
  ])("decompressLz4Block refuses %s", (_, block, problem) => {
    const bytes = unhex(block)
    expect(() => decompressLz4Block(bytes, 0, bytes.length, new Uint8Array(8))).toThrow(problem)
  })

  test("decompressLz4Block answers any damage with a RangeError or wrong bytes, within bounds", () => {
    const source = random.compressible(3000)
    const block = compress(source)
    const target = new Uint8Array(3000)
    for (let i = 0; i < 3000; i++) {
      const damaged = block.slice(0, random.between(1, block.length))
      damaged[random.below(damaged.length)] = random.u32()
      try {
        expect(decompressLz4Block(damaged, 0, damaged.length, target)).toBeLessThanOrEqual(3000)
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError)
      }
    }
  })
})
