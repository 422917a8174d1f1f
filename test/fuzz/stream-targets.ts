/** What nodes send each other: the stream, the positions of a replica, and headers. */
import { decodeLease, encodeLease } from "../../src/cluster/role/lease.ts"
import { peerAnswer } from "../../src/cluster/role/peer-check.ts"
import { wantsOf } from "../../src/http/streams/replica-wants.ts"
import { ChunkDecoder, encodeChunks } from "../../src/wire/chunk.ts"
import { databaseNameProblem } from "../../src/wire/database-name.ts"
import { decodeFrame, encodeFrame, encodeResume, type Frame } from "../../src/wire/frame.ts"
import { decodePositionMap, encodePositionMap } from "../../src/wire/position-map.ts"
import { protocolProblem, proxyUrlOf } from "../../src/wire/protocol.ts"
import { StreamDecoder } from "../../src/wire/stream-decoder.ts"
import { concat } from "../support/bytes.ts"
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

export const STREAM_TARGETS: readonly Target[] = [chunks, frame, stream, positions, wants, lease]
