/** What nodes send each other: the stream, the positions of a replica, and headers. */
import { decodeLease, encodeLease } from "../../src/cluster/role/lease.ts"
import { peerAnswer } from "../../src/cluster/role/peer-check.ts"
import { wantsOf } from "../../src/http/streams/replica-wants.ts"
import { ChunkDecoder, encodeChunks } from "../../src/wire/chunk.ts"
import { databaseNameProblem } from "../../src/wire/database-name.ts"
import { decodeFrame, encodeFrame, encodeResume, type Frame } from "../../src/wire/frame.ts"
import { encodeFields, HpackDecoder } from "../../src/wire/http2/hpack.ts"
import { Http2Session } from "../../src/wire/http2/session.ts"
import { decodePositionMap, encodePositionMap } from "../../src/wire/position-map.ts"
import { protocolProblem, proxyUrlOf } from "../../src/wire/protocol.ts"
import { StreamDecoder } from "../../src/wire/stream-decoder.ts"
import { concat } from "../support/bytes.ts"
import {
  ask,
  data,
  HELLO,
  frame as httpFrame,
  ping,
  reset,
  settings,
  update,
} from "../support/http2-frames.ts"
import { ltxFile, page } from "../support/ltx-file.ts"
import { goldenSeeds } from "./golden-seeds.ts"
import { latin1Of, refusesAsRange, refusesWith, type Target, textOf, textSeeds } from "./target.ts"

const LTX = encodeFrame({ type: "ltx", size: 0n, database: "app.db" })
const FRAMES: readonly Frame[] = [
  { type: "ready" },
  { type: "end" },
  { type: "dropDb", database: "old.db" },
  { type: "handoff", leaseId: "0123456789abcdef" },
  { type: "hwm", txid: 7n, database: "app.db" },
  { type: "heartbeat", timestampMs: 1795396253554 },
  { type: "head", txid: 8n, database: "app.db" },
]
const FILE = ltxFile({ pages: [page(1, 1), page(2, 2)] })

const chunks: Target = {
  name: "chunk",
  seeds: () => [
    encodeChunks(FILE),
    encodeChunks(new Uint8Array(70_000)),
    encodeChunks(new Uint8Array()),
  ],
  run(input, random) {
    const sizeOf = (pieces: readonly Uint8Array[]) => {
      let [size, used] = [0, 0]
      const decoder = new ChunkDecoder((bytes) => {
        size += bytes.length
      })
      for (const piece of pieces) if (!decoder.finished) used += decoder.push(piece)
      return `${size} of ${used}`
    }
    if (sizeOf([input]) !== sizeOf(random.split(input))) throw new Error("in pieces it is another")
  },
  refuses: refusesAsRange,
}

const frame: Target = {
  name: "frame",
  seeds: () => [LTX, ...FRAMES.map((each) => encodeFrame(each))],
  run(input) {
    const again = encodeFrame(decodeFrame(input))
    if (Buffer.compare(again, input) !== 0) throw new Error("it is encoded in another way")
  },
  refuses: refusesAsRange,
}

const stream: Target = {
  name: "stream",
  seeds: () => [
    concat(LTX, encodeChunks(FILE), ...FRAMES.map((each) => encodeFrame(each))),
    ...goldenSeeds(/^stream-static\/.*s2c.*\.bin$/),
  ],
  run(input, random) {
    const eventsOf = (pieces: readonly Uint8Array[]) => {
      const events: string[] = []
      let size = 0
      const decoder = new StreamDecoder({
        frame: (each) => events.push(each.type),
        ltxData: (bytes) => {
          size += bytes.length
        },
        ltxEnd: () => events.push(`${size}`),
      })
      let error: unknown
      try {
        for (const piece of pieces) decoder.push(piece)
        decoder.end()
      } catch (thrown) {
        error = thrown
      }
      return { text: events.join(" ") + (error === undefined ? "" : " refused"), error }
    }
    const whole = eventsOf([input])
    const pieces = eventsOf(random.split(input))
    if (whole.text !== pieces.text) throw new Error(`whole ${whole.text}, in pieces ${pieces.text}`)
    if (whole.error !== undefined) throw whole.error
  },
  refuses: refusesAsRange,
}

const positions: Target = {
  name: "position-map",
  seeds: () => [
    encodePositionMap(new Map()),
    encodePositionMap(
      new Map(
        ["a.db", "b.db", "ü.db"].map((name, txid) => [
          name,
          { txid: BigInt(txid), checksum: 1n << 63n },
        ]),
      ),
    ),
    ...goldenSeeds(/^stream-static\/.*c2s.*\.bin$/),
  ],
  run(input) {
    const found = decodePositionMap(input)
    if (decodePositionMap(encodePositionMap(found)).size !== found.size)
      throw new Error("some are lost")
  },
  refuses: refusesAsRange,
}

/** Lines of a request for a stream: `name: value`. */
const wants: Target = {
  name: "stream-headers",
  seeds: () =>
    textSeeds(
      "litefs-protocol: 1-2\nlitefs-compacted-ltx: 1\nlitefs-databases: a.db,log-*.db,b%20c",
      `litefs-resume: ${encodeResume({ token: 77n, offset: 4096, database: "a b.db" })}\nurl: /stream`,
      "url: /stream?filter=a.db,b.db\nlitefs-proxy: http://10.0.0.1:8080\nlitefs-can-resume: 1",
      "litefs-proxy: :8080\nlitefs-candidate: 1\nlitefs-databases: *",
    ),
  words: [
    "litefs-databases: ",
    "litefs-resume: ",
    "litefs-proxy: ",
    "%2f",
    "%",
    "*",
    ",",
    "url: /?filter=",
  ],
  run(input) {
    const headers = headersOf(input)
    protocolProblem(headers["litefs-protocol"])
    proxyUrlOf(headers["litefs-proxy"], "http://10.0.0.1:20202")
    const { databases } = wantsOf({ headers, url: undefined })
    for (const name of databases.names ?? []) {
      if (databaseNameProblem(name) !== undefined) throw new Error(`"${name}" is no name`)
    }
    databases.matches("a".repeat(240))
  },
  refuses: refusesWith("name-invalid"),
}

function headersOf(input: Uint8Array): Record<string, string> {
  const lines = latin1Of(input).split("\n")
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.indexOf(": ")
      return [line.slice(0, at), line.slice(at + 2)]
    }),
  )
}

const RECORD = {
  epoch: 2,
  primary: { id: "00C0FFEE00C0FFEE", hostname: "b", url: "http://b:20202" },
}

/** What is believed is what we would say ourselves. */
const lease: Target = {
  name: "lease-header",
  seeds: () =>
    textSeeds(
      encodeLease(RECORD, "LFSC0123456789ABCDEF", "0123456789abcdef".repeat(4)),
      encodeLease(RECORD, undefined),
    ),
  words: [
    '"epoch":',
    "9007199254740991",
    "1e400",
    '"__proto__":',
    "null",
    "[",
    "{",
    '"url":"http://b:1"',
  ],
  run(input) {
    const text = textOf(input)
    peerAnswer({ "litefs-lease": text, "litefs-id": text, "litefs-run": text })
    const heard = decodeLease(text)
    if (heard === undefined) return
    const said = encodeLease(heard.record, heard.cluster, heard.seal)
    if (!/^[ -~]*$/.test(said)) throw new Error("it does not fit a header")
    const again = decodeLease(said)
    if (Bun.deepEquals(again, heard)) return
    throw new Error(`${JSON.stringify(heard)} comes back as ${JSON.stringify(again)}`)
  },
}

/** Blocks of headers; the first byte of each is its size. */
const hpack: Target = {
  name: "hpack",
  seeds: () => [
    block(
      encodeFields([
        [":method", "GET"],
        ["x", "y".repeat(200)],
      ]).subarray(0, 255),
    ),
    ...[
      "828684418cf1e3c2e5f23a6ba0ab90f4ff",
      "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
      "20be",
    ].map((hex) =>
      Buffer.concat([block(Buffer.from("400161026262", "hex")), block(Buffer.from(hex, "hex"))]),
    ),
  ],
  run(input) {
    const decoder = new HpackDecoder(16_384)
    for (let at = 0; at < input.length; ) {
      const size = input[at] as number
      const { fields } = decoder.decode(input.subarray(at + 1, at + 1 + size))
      at += 1 + size
      const again = new HpackDecoder(1_000_000).decode(encodeFields(fields)).fields
      if (!Bun.deepEquals(again, fields)) throw new Error("it is read another way")
    }
  },
  refuses: refusesAsRange,
}

function block(bytes: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(bytes.length), bytes])
}

/** What a client sends, and a server reads and answers: in pieces it is the same. */
const http2: Target = {
  name: "http2-session",
  seeds: () => [
    Buffer.concat([
      HELLO,
      ask(1, "/a", { method: "POST", isOpen: true }),
      data(1, 300),
      data(1, 5, true),
    ]),
    Buffer.concat([
      HELLO,
      settings([4, 10], [5, 20_000]),
      ask(1, "/"),
      update(1, 50),
      ping(),
      reset(1),
    ]),
    Buffer.concat([
      HELLO,
      httpFrame(1, 0x29, 3, new Uint8Array(20)),
      httpFrame(9, 4, 3, new Uint8Array(9)),
    ]),
    ...goldenSeeds(/^stream-static\/.*c2s\.bin$/),
  ],
  run(input, random) {
    const heard = (parts: readonly Uint8Array[]) => {
      const lines: string[] = []
      const session = new Http2Session("server", HTTP2_LIMITS, {
        nowMs: () => 0,
        send: (bytes) => lines.push(Buffer.from(bytes).toString("hex")) > 0,
        onRequest: (each, { method, path, fields }) => {
          lines.push(`${method} ${path} ${JSON.stringify(fields)}`)
          const answered = () => {
            each.head([[":status", "200"]], false)
            each.write(new Uint8Array(100))
            each.end()
            each.leave()
          }
          each.reader = {
            onData: (bytes) => each.consumed(bytes.length),
            onEnd: answered,
            onReset: (code) => {
              lines.push(`reset ${code}`)
              each.leave()
            },
            onRoom: () => {},
          }
          if (each.hasCome) answered()
        },
        onOver: (problem) => lines.push(`over: ${problem}`),
      })
      for (const part of parts) session.receive(part)
      session.check()
      session.closed()
      return lines.join("\n")
    }
    const whole = heard([input])
    const pieces = heard(random.split(input))
    if (whole !== pieces) throw new Error(`whole ${whole}, in pieces ${pieces}`)
  },
}

const HTTP2_LIMITS = { streamCountMax: 4, streamWindow: 65_536, window: 131_072 }

export const STREAM_TARGETS: readonly Target[] = [
  ...[chunks, frame, stream, positions, wants, lease],
  ...[hpack, http2],
]
