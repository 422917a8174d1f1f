import { describe, expect, test } from "bun:test"
import { ChunkDecoder, ChunkEncoder, encodeChunks } from "../../src/wire/chunk.ts"
import { Collected, concat, everySplit, hex, unhex } from "../support/bytes.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

function decode(pieces: readonly Uint8Array[]): Uint8Array {
  const body = new Collected()
  const decoder = new ChunkDecoder(body.sink)
  for (const piece of pieces) expect(decoder.push(piece)).toBe(piece.length)
  expect(decoder.finished).toBe(true)
  return body.bytes
}

describe("encodeChunks", () => {
  test("encodeChunks writes size, bytes and a terminator", () => {
    expect(hex(encodeChunks(unhex("aabbcc")))).toBe("0003aabbcc0000")
    expect(hex(encodeChunks(unhex("")))).toBe("0000")
  })

  test("encodeChunks splits what is larger than 65535 bytes", () => {
    const body = random.bytes(65536 + 65535)
    const framed = encodeChunks(body)
    expect(framed.length).toBe(body.length + 2 * 4)
    expect(hex(framed.subarray(0, 2))).toBe("ffff")
    expect(hex(framed.subarray(2 * 65537, 2 * 65537 + 2))).toBe("0001")
    expect(Buffer.compare(decode([framed]), body)).toBe(0)
  })
})

describe("ChunkEncoder", () => {
  test("ChunkEncoder makes a chunk of each write, and of a large one several", () => {
    const framed = new Collected()
    const encoder = new ChunkEncoder(framed.sink)
    encoder.write(unhex("aa"))
    encoder.write(unhex(""))
    encoder.write(unhex("bbcc"))
    encoder.end()
    expect(hex(framed.bytes)).toBe("0001aa0002bbcc0000")
  })

  test("ChunkEncoder makes of one write what encodeChunks makes", () => {
    for (const size of [0, 1, 65535, 65536, 200_000]) {
      const body = random.bytes(size)
      const framed = new Collected()
      const encoder = new ChunkEncoder(framed.sink)
      encoder.write(body)
      encoder.end()
      expect(Buffer.compare(framed.bytes, encodeChunks(body))).toBe(0)
    }
  })
})

describe("ChunkDecoder", () => {
  test("ChunkDecoder reads a body split at every offset", () => {
    const framed = unhex(`0001aa0002bbcc0103${"dd".repeat(259)}0000`)
    for (const pieces of everySplit(framed)) {
      expect(hex(decode(pieces))).toBe(`aabbcc${"dd".repeat(259)}`)
    }
  })

  test("ChunkDecoder.push stops at the end of the body", () => {
    const decoder = new ChunkDecoder(() => {})
    expect(decoder.push(unhex("ff0001aa0000ffff"), 1)).toBe(5)
    expect(decoder.push(unhex("ffff"))).toBe(0)
  })

  test("ChunkDecoder passes on what there is of a chunk", () => {
    const body = new Collected()
    const decoder = new ChunkDecoder(body.sink)
    decoder.push(unhex("ffff0102"))
    expect(hex(body.bytes)).toBe("0102")
    expect(decoder.finished).toBe(false)
  })

  test("ChunkDecoder.reset makes ready for another body", () => {
    const decoder = new ChunkDecoder(() => {})
    decoder.push(unhex("ffff01"))
    decoder.reset()
    expect(decoder.push(concat(unhex("0001aa0000")))).toBe(5)
    expect(decoder.finished).toBe(true)
  })
})
