/** What two nodes of the original (Go, golang.org/x/net) have said to each other over HTTP/2, byte for byte. */
import { describe, expect, test } from "bun:test"
import { Http2Session } from "../../src/wire/http2/session.ts"
import { hasGolden, listGolden, readGolden, readGoldenText } from "../support/golden.ts"

const LIMITS = { streamCountMax: 64, streamWindow: 131_072, window: 524_288 }
const CONNECTIONS = ["000", "001"]

const bodyOf = (name: string, side: string, id: number) => {
  const file = `${name}.${side}.stream${id}.bin`
  return listGolden("stream-static").includes(file) ? readGolden("stream-static", file) : undefined
}

/** `METHOD path`, as the capture was decoded by another program. */
function requestsOf(name: string): string[] {
  const text = readGoldenText("stream-static", `${name}.c2s.txt`)
  return [...text.matchAll(/:method: (\w+)\n +:path: (\S+)/g)].map(([, ...words]) =>
    words.join(" "),
  )
}

function statusesOf(name: string): string[] {
  const text = readGoldenText("stream-static", `${name}.s2c.txt`)
  return [...text.matchAll(/^HEADERS stream=(\d+) .*\n +:status: (\d+)/gm)].map(
    ([, id, status]) => `${id} ${status}`,
  )
}

const split = (bytes: Uint8Array, size: number) =>
  Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
    bytes.subarray(index * size, (index + 1) * size),
  )

describe.skipIf(!hasGolden)("golden: HTTP/2", () => {
  test.each(
    CONNECTIONS.flatMap((name) => [1, 7, 100_000].map((size): [string, number] => [name, size])),
  )(
    "a session reads what the original's client sends: connection %s, %d bytes at a time",
    (name, size) => {
      const requests: { line: string; id: number; parts: Uint8Array[]; isEnded: boolean }[] = []
      const session = new Http2Session("server", LIMITS, {
        nowMs: () => 0,
        send: () => true,
        onRequest: (stream, { method, path }) => {
          const request: (typeof requests)[number] = {
            ...{ line: `${method} ${path}`, id: stream.id, parts: [], isEnded: stream.hasCome },
          }
          requests.push(request)
          stream.reader = {
            onData: (bytes) => request.parts.push(bytes),
            onEnd: () => {
              request.isEnded = true
            },
            onReset: () => {},
            onRoom: () => {},
          }
        },
        onOver: (problem) => expect(problem).toBeUndefined(),
      })
      for (const part of split(readGolden("stream-static", `${name}.c2s.bin`), size))
        session.receive(part)
      expect(requests.map(({ line }) => line)).toEqual(requestsOf(name))
      expect(requests.every(({ isEnded }) => isEnded)).toBe(true)
      for (const { id, parts } of requests) {
        const body = bodyOf(name, "c2s", id) ?? new Uint8Array(0)
        expect(Buffer.concat(parts).equals(body)).toBe(true)
      }
      expect(session.isOver).toBe(false)
    },
  )

  test.each(
    CONNECTIONS.flatMap((name) => [1, 7, 100_000].map((size): [string, number] => [name, size])),
  )(
    "a session reads what the original's server sends: connection %s, %d bytes at a time",
    (name, size) => {
      const heads: string[] = []
      const parts = new Map<number, Uint8Array[]>()
      const session = new Http2Session("client", LIMITS, {
        nowMs: () => 0,
        send: () => true,
        onOver: (problem) => expect(problem).toBeUndefined(),
      })
      for (let id = 1; id < 40; id += 2) {
        session.request([[":method", "POST"]], true, {
          onHead: ({ status }) => heads.push(`${id} ${status}`),
          onData: (bytes) => parts.set(id, [...(parts.get(id) ?? []), bytes]),
          onEnd: () => {},
          onReset: () => {},
          onRoom: () => {},
        })
      }
      for (const part of split(readGolden("stream-static", `${name}.s2c.bin`), size))
        session.receive(part)
      expect(heads).toEqual(statusesOf(name))
      for (const [id, bytes] of parts) {
        expect(Buffer.concat(bytes).equals(bodyOf(name, "s2c", id) as Uint8Array)).toBe(true)
      }
      expect(parts.size).toBeGreaterThan(0)
    },
  )
})
