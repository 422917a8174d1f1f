import { describe, expect, test } from "bun:test"
import { formatTxid } from "../../src/ltx/pos.ts"
import { ChunkEncoder } from "../../src/wire/chunk.ts"
import { encodeFrame, type Frame } from "../../src/wire/frame.ts"
import { decodePositionMap, encodePositionMap } from "../../src/wire/position-map.ts"
import { StreamDecoder } from "../../src/wire/stream-decoder.ts"
import { Collected, everySplit, hex } from "../support/bytes.ts"
import { hasGolden, readGolden, readGoldenText } from "../support/golden.ts"
import { decodeLtxFile } from "../support/ltx-file.ts"

/** A frame as frames.json describes it. */
interface RecordedFrame {
  readonly off: number
  readonly type: string
  readonly size?: number
  readonly name?: string
  readonly chunks?: readonly number[]
  readonly ltx_len?: number
  readonly ltx_min_txid?: string
  readonly ltx_header?: string
  readonly txid?: string
  readonly ms?: number
}

interface HeardFrame {
  readonly frame: Frame
  readonly file: Uint8Array
}

function decode(pieces: readonly Uint8Array[]): HeardFrame[] {
  const heard: { frame: Frame; file: Uint8Array }[] = []
  let file = new Collected()
  const decoder = new StreamDecoder({
    frame(frame) {
      heard.push({ frame, file: new Uint8Array(0) })
      file = new Collected()
    },
    ltxData: (bytes) => file.sink(bytes),
    ltxEnd() {
      const last = heard.at(-1)
      if (last !== undefined) last.file = file.bytes
    },
  })
  for (const piece of pieces) decoder.push(piece)
  decoder.end()
  return heard
}

/** The same description of what we have read. */
function describeFrame({ frame, file }: HeardFrame): Partial<RecordedFrame> {
  switch (frame.type) {
    case "ltx":
      return {
        type: "LTX",
        size: Number(frame.size),
        name: frame.database,
        ltx_len: file.length,
        ltx_header: hex(file.subarray(0, 100)),
      }
    case "hwm":
      return { type: "HWM", txid: formatTxid(frame.txid), name: frame.database }
    case "heartbeat":
      return { type: "HEARTBEAT", ms: frame.timestampMs }
    default:
      return { type: frame.type.toUpperCase() }
  }
}

/** Writes the stream again, in chunks of the recorded sizes. */
function encodeAgain(heard: readonly HeardFrame[], recorded: readonly RecordedFrame[]): Uint8Array {
  const stream = new Collected()
  for (const [i, { frame, file }] of heard.entries()) {
    stream.sink(encodeFrame(frame))
    if (frame.type !== "ltx") continue
    const chunks = new ChunkEncoder(stream.sink)
    let at = 0
    for (const size of recorded[i]?.chunks ?? []) {
      chunks.write(file.subarray(at, at + size))
      at += size
    }
    chunks.end()
  }
  return stream.bytes
}

describe.skipIf(!hasGolden)("golden replication streams", () => {
  describe.each(["000", "001"])("%s.s2c.stream3.bin", (name) => {
    const read = () => readGolden("stream-static", `${name}.s2c.stream3.bin`)
    const recorded = (): RecordedFrame[] =>
      JSON.parse(readGoldenText("stream-static", `${name}.frames.json`))

    test("StreamDecoder reads the frames and files of the original", () => {
      const expected = recorded().map(({ off, chunks, ltx_min_txid, ...described }) => described)
      expect(decode([read()]).map(describeFrame)).toEqual(expected)
    })

    test("StreamDecoder reads them split at every offset", () => {
      const stream = read()
      const whole = decode([stream])
      for (const pieces of everySplit(stream)) {
        const heard = decode(pieces)
        expect(heard.length).toBe(whole.length)
        for (const [i, { frame, file }] of whole.entries()) {
          expect(heard[i]?.frame).toEqual(frame)
          expect(Buffer.compare(heard[i]?.file ?? file, file)).toBe(0)
        }
      }
    })

    test("encodeFrame and ChunkEncoder write the same bytes", () => {
      const stream = read()
      expect(hex(encodeAgain(decode([stream]), recorded()))).toBe(hex(stream))
    })

    test("LtxDecoder reads the files", () => {
      for (const { frame, file } of decode([read()])) {
        if (frame.type === "ltx") expect(decodeLtxFile(file).header.nodeId).toBeGreaterThan(0n)
      }
    })
  })

  test.each(["000", "001"])(
    "%s.c2s.stream3.bin is a position map, and we write the same",
    (name) => {
      const bytes = readGolden("stream-static", `${name}.c2s.stream3.bin`)
      expect(hex(encodePositionMap(decodePositionMap(bytes)))).toBe(hex(bytes))
    },
  )

  test("decodePositionMap reads the names and positions of a replica", () => {
    const positions = decodePositionMap(readGolden("stream-static", "001.c2s.stream3.bin"))
    expect([...positions]).toEqual([
      ["gone.db", { txid: 2n, checksum: 0x8000000000000000n }],
      ["one.db", { txid: 4n, checksum: 0xcb35e856be89c612n }],
      ["two.db", { txid: 5n, checksum: 0xcffcd05ea3142139n }],
    ])
  })

  test.each(["7", "13", "15"])(
    "000.c2s.stream%s.bin is an LTX file that a borrower posts",
    (stream) => {
      const file = decodeLtxFile(readGolden("stream-static", `000.c2s.stream${stream}.bin`))
      expect(file.pages.length).toBeGreaterThan(0)
    },
  )
})
