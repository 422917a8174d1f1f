import { describe, expect, test } from "bun:test"
import { Lz4FrameDecoder, Lz4FrameEncoder } from "../../src/lib/codecs/lz4.ts"
import { Collected, concat, everySplit, hex, unhex, withByte } from "../support/bytes.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

function compress(...pieces: readonly Uint8Array[]): Uint8Array {
  const frame = new Collected()
  const encoder = new Lz4FrameEncoder(frame.sink)
  for (const piece of pieces) encoder.write(piece)
  encoder.end()
  return frame.bytes
}

function decompress(...pieces: readonly Uint8Array[]): Uint8Array {
  const content = new Collected()
  const decoder = new Lz4FrameDecoder(content.sink)
  for (const piece of pieces) expect(decoder.push(piece)).toBe(piece.length)
  expect(decoder.finished).toBe(true)
  return content.bytes
}

function u32LE(value: number): Uint8Array {
  return Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24)
}

function hash(bytes: Uint8Array): Uint8Array {
  return u32LE(Bun.hash.xxHash32(bytes))
}

/** A frame of stored blocks whose header is computed from its flags. */
function storedFrame(
  flg: number,
  bd: number,
  contentSize: number | undefined,
  blocks: Uint8Array[],
): Uint8Array {
  const size = contentSize === undefined ? new Uint8Array(0) : concat(u32LE(contentSize), u32LE(0))
  const descriptor = concat(Uint8Array.of(flg, bd), size)
  const hc = Uint8Array.of(Bun.hash.xxHash32(descriptor) >>> 8)
  const body = blocks.flatMap((b) => [
    u32LE(b.length | 0x80000000),
    b,
    (flg & 0x10) !== 0 ? hash(b) : new Uint8Array(0),
  ])
  const end = (flg & 0x04) !== 0 ? hash(concat(...blocks)) : new Uint8Array(0)
  return concat(unhex("04224d18"), descriptor, hc, ...body, u32LE(0), end)
}

describe("Lz4FrameEncoder", () => {
  test("Lz4FrameEncoder makes the frame of an empty page block that LiteFS makes", () => {
    expect(hex(compress(new Uint8Array(4)))).toBe(
      "04224d186440a7040000800000000000000000" + "69d9d608",
    )
  })

  test("Lz4FrameEncoder makes a frame without blocks of nothing", () => {
    expect(hex(compress())).toBe("04224d186440a700000000" + "055dcc02")
  })

  test("Lz4FrameEncoder makes the same frame however its input is split", () => {
    const content = random.compressible(200_000)
    const whole = compress(content)
    for (let i = 0; i < 5; i++) expect(hex(compress(...random.split(content)))).toBe(hex(whole))
  })

  test("Lz4FrameEncoder.end makes ready for the next frame", () => {
    const frames = new Collected()
    const encoder = new Lz4FrameEncoder(frames.sink)
    const content = random.compressible(1000)
    for (let i = 0; i < 2; i++) {
      encoder.write(content)
      encoder.end()
    }
    expect(hex(frames.bytes)).toBe(hex(concat(compress(content), compress(content))))
  })

  test("Lz4FrameEncoder.reset forgets a frame that was begun", () => {
    const frame = new Collected()
    const encoder = new Lz4FrameEncoder(frame.sink)
    encoder.write(random.bytes(100))
    encoder.reset()
    encoder.end()
    expect(hex(frame.bytes)).toBe(hex(compress()))
  })
})

describe("Lz4FrameDecoder", () => {
  test("Lz4FrameDecoder reads what Lz4FrameEncoder makes, of any size, split anywhere", () => {
    for (const size of [0, 1, 13, 4100, 65535, 65536, 65537, 131072, 300_000]) {
      for (const content of [random.compressible(size), random.bytes(size), new Uint8Array(size)]) {
        expect(Buffer.compare(decompress(...random.split(compress(content))), content)).toBe(0)
      }
    }
  })

  test("Lz4FrameDecoder reads a frame split at every offset", () => {
    const content = random.compressible(600)
    for (const pieces of everySplit(compress(content))) {
      expect(hex(decompress(...pieces))).toBe(hex(content))
    }
  })

  test("Lz4FrameDecoder.push stops at the end of the frame", () => {
    const frame = compress(random.bytes(50))
    const decoder = new Lz4FrameDecoder(() => {})
    expect(decoder.push(concat(frame, unhex("010203")))).toBe(frame.length)
    expect(decoder.push(unhex("010203"))).toBe(0)
  })

  test("Lz4FrameDecoder.reset makes ready for another frame", () => {
    const content = new Collected()
    const decoder = new Lz4FrameDecoder(content.sink)
    decoder.push(compress(unhex("01")).subarray(0, 9))
    decoder.reset()
    decoder.push(compress(unhex("02")))
    decoder.reset()
    decoder.push(compress(unhex("03")))
    expect(hex(content.bytes)).toBe("0203")
  })

  test("Lz4FrameDecoder reads block checksums, a content size, large blocks, and frames without checksum", () => {
    const blocks = [random.bytes(200_000), random.bytes(10)]
    for (const [flg, size] of [
      [0x60, undefined],
      [0x74, undefined],
      [0x68, 200_010],
      [0x7c, 200_010],
    ] as const) {
      const frame = storedFrame(flg, 0x70, size, blocks)
      expect(Buffer.compare(decompress(...random.split(frame)), concat(...blocks))).toBe(0)
    }
  })

  test.each([
    ["another magic", withByte(compress(), 0, 5), "it does not start with 04224d18"],
    ["another version", storedFrame(0xa4, 0x40, undefined, []), "its version is 2, expected 1"],
    ["a dictionary", storedFrame(0x65, 0x40, undefined, []), "it needs a dictionary"],
    ["dependent blocks", storedFrame(0x44, 0x40, undefined, []), "its blocks depend on each other"],
    [
      "an unknown block size",
      storedFrame(0x64, 0x30, undefined, []),
      "its block size is 3, expected 4 to 7",
    ],
    ["a damaged header", withByte(compress(), 6, 0), "header checksum mismatch"],
    ["a damaged content checksum", withByte(compress(), 12, 0), "content checksum mismatch"],
    [
      "another content size",
      storedFrame(0x68, 0x40, 5, [unhex("01")]),
      "it holds 1 bytes, declared are 5",
    ],
    [
      "a block over the limit",
      storedFrame(0x64, 0x40, undefined, [new Uint8Array(65537)]),
      "a block has 65537 bytes, expected at most 65536",
    ],
    [
      "a damaged block checksum",
      withByte(storedFrame(0x74, 0x40, undefined, [unhex("01")]), 11, 2),
      "block checksum mismatch",
    ],
    [
      "a stored block of nothing",
      storedFrame(0x64, 0x40, undefined, [unhex("01"), unhex("")]),
      "a block holds nothing",
    ],
    [
      "a compressed block of nothing",
      concat(unhex("04224d186440a7"), u32LE(1), unhex("00")),
      "a block holds nothing",
    ],
  ])("Lz4FrameDecoder refuses %s", (_, frame, problem) => {
    expect(() => decompress(frame)).toThrow(`Cannot decompress LZ4 frame: ${problem}`)
  })

  test("Lz4FrameDecoder refuses a block that holds more than the frame's limit", () => {
    const decoder = new Lz4FrameDecoder(() => {})
    decoder.push(storedFrame(0x64, 0x70, undefined, [])) // its buffer is 4 MiB from now on
    decoder.reset()
    const bomb = concat(
      unhex("1f 61 0100"),
      new Uint8Array(400).fill(255),
      unhex("00 50 6161616161"),
    )
    const frame = concat(unhex("04224d186440a7"), u32LE(bomb.length), bomb)
    expect(() => decoder.push(frame)).toThrow("bytes, expected at most 65536")
  })
})
