import { describe, expect, test } from "bun:test"
import { encodeChunks } from "../../src/wire/chunk.ts"
import { encodeFrame, type Frame } from "../../src/wire/frame.ts"
import { StreamDecoder } from "../../src/wire/stream-decoder.ts"
import { concat, everySplit, hex, unhex } from "../support/bytes.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

/** What the handler of a stream hears, files put together again. */
function decode(pieces: readonly Uint8Array[]): (Frame | string)[] {
  const heard: (Frame | string)[] = []
  let file: Uint8Array[] = []
  const decoder = new StreamDecoder({
    frame: (frame) => void heard.push(frame),
    ltxData: (bytes) => void file.push(bytes.slice()),
    ltxEnd() {
      heard.push(hex(concat(...file)))
      file = []
    },
  })
  for (const piece of pieces) decoder.push(piece)
  decoder.end()
  return heard
}

const ltx: Frame = { type: "ltx", size: 0n, database: "my.db" }
const hwm: Frame = { type: "hwm", txid: 3n, database: "my.db" }
const parts = [
  concat(encodeFrame(ltx), encodeChunks(unhex("0102030405"))),
  encodeFrame(hwm),
  encodeFrame({ type: "ready" }),
  concat(encodeFrame(ltx), unhex("0001 aa 0002 bbcc 0000")),
  encodeFrame({ type: "heartbeat", timestampMs: 5 }),
  encodeFrame({ type: "end" }),
]
const stream = concat(...parts)
const heard: (Frame | string)[] = [
  ltx,
  "0102030405",
  hwm,
  { type: "ready" },
  ltx,
  "aabbcc",
  { type: "heartbeat", timestampMs: 5 },
  { type: "end" },
]

describe("StreamDecoder", () => {
  test("StreamDecoder reads frames and files, split at every offset", () => {
    for (const pieces of everySplit(stream)) expect(decode(pieces)).toEqual(heard)
  })

  test("StreamDecoder reads any frames, split anywhere", () => {
    for (let i = 0; i < 50; i++) {
      const expected: (Frame | string)[] = []
      const pieces: Uint8Array[] = []
      for (let n = random.below(20); n > 0; n--) {
        const frame = random.pick<Frame>([
          { type: "ltx", size: random.u64(), database: "é".repeat(random.below(128)) },
          { type: "dropDb", database: "d".repeat(random.below(256)) },
          { type: "handoff", leaseId: "l" },
          { type: "hwm", txid: random.u64(), database: "" },
          { type: "heartbeat", timestampMs: random.u32() },
        ])
        expected.push(frame)
        pieces.push(encodeFrame(frame))
        if (frame.type !== "ltx") continue
        const file = random.bytes(random.below(100_000))
        expected.push(hex(file))
        pieces.push(encodeChunks(file))
      }
      expect(decode(random.split(concat(...pieces)))).toEqual(expected)
    }
  })

  test("StreamDecoder takes an end between two frames only", () => {
    const ends = new Set(parts.map((_, i) => concat(...parts.slice(0, i)).length)).add(
      stream.length,
    )
    for (let size = 0; size <= stream.length; size++) {
      const cut = stream.subarray(0, size)
      if (ends.has(size)) decode([cut])
      else expect(() => decode([cut])).toThrow("Cannot decode stream: it ends inside")
    }
  })

  test("StreamDecoder names where a stream that is cut off ends", () => {
    expect(() => decode([stream.subarray(0, 3)])).toThrow(
      "Cannot decode stream: it ends inside a frame",
    )
    expect(() => decode([stream.subarray(0, 25)])).toThrow("it ends inside an LTX file")
  })

  test("StreamDecoder refuses an unknown type, such as text in the midst of the stream", () => {
    const text = new TextEncoder().encode("snapshot timeout exceeded")
    expect(() => decode([concat(encodeFrame({ type: "ready" }), text)])).toThrow(
      "unknown type 0x736e6170",
    )
  })

  test("StreamDecoder refuses a name that is too long before it arrives", () => {
    expect(() => decode([unhex("00000001 0000000000000000 ffffffff")])).toThrow(
      "a text of 4294967295 bytes",
    )
  })
})
