import { expect, test } from "bun:test"
import { ApiServer } from "../../src/http/server/server.ts"
import { handleExport } from "../../src/http/transfers/export.ts"
import { systemClock } from "../../src/lib/clock.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { LogLines } from "../support/log-lines.ts"
import { RawSocket } from "../support/raw-socket.ts"

async function get(parts: () => AsyncGenerator<Uint8Array>): Promise<Response> {
  const pos = { txid: 1n, checksum: 1n << 63n }
  const files = { snapshot: async () => ({ pos, size: 8, parts: parts() }) }
  const options = { headers: {}, authToken: undefined, tls: undefined, clock: new FakeClock() }
  const server = new ApiServer(
    {
      "/export": {
        GET: (request, response, url) =>
          handleExport({ files, stallMs: 1000, clock: systemClock }, request, response, url),
      },
    },
    options,
  )
  const port = await server.listen({ host: "127.0.0.1", port: 0 })
  try {
    const response = await fetch(`http://127.0.0.1:${port}/export?name=a.db`)
    return new Response(await response.text(), response)
  } finally {
    await server.close()
  }
}

const unreadable = new LitefsError("unavailable", "it cannot be read")

test("handleExport() sends all parts, with the size and the position", async () => {
  const response = await get(async function* () {
    yield new TextEncoder().encode("some")
    yield new TextEncoder().encode("more")
  })
  expect([response.status, await response.text()]).toEqual([200, "somemore"])
  expect(response.headers.get("Content-Length")).toBe("8")
  expect(response.headers.get("Litefs-Position")).toBe("0000000000000001/8000000000000000")
})

test("handleExport() answers with an error when nothing can be read", async () => {
  // biome-ignore lint/correctness/useYield: it fails before
  const response = await get(async function* () {
    throw unreadable
  })
  expect([response.status, await response.text()]).toEqual([503, "it cannot be read\n"])
})

test.each([
  ["takes nothing", 0, true, /ended an export that is not read.* from=127\.0\.0\.1/],
  ["is slow, and goes", 200, false, /the reader of an export has gone.* from=127\.0\.0\.1/],
])(
  "handleExport() for a reader that %s",
  async (_, readMs, isCutOff, line) => {
    using log = new LogLines()
    const ended = Promise.withResolvers<void>()
    let isEnded = false
    const files = {
      snapshot: async () => ({
        pos: { txid: 1n, checksum: 1n << 63n },
        size: 2 ** 40,
        parts: (async function* () {
          try {
            for (;;) yield new Uint8Array(65_536)
          } finally {
            isEnded = true
            ended.resolve()
          }
        })(),
      }),
    }
    const options = { headers: {}, authToken: undefined, tls: undefined, clock: new FakeClock() }
    const context = { files, stallMs: 1000, clock: systemClock }
    const server = new ApiServer(
      {
        "/export": {
          GET: (request, response, url) => handleExport(context, request, response, url),
        },
      },
      options,
    )
    const port = await server.listen({ host: "127.0.0.1", port: 0 })
    const { socket } = await RawSocket.connect(port)
    try {
      socket.pause()
      socket.write("GET /export?name=a.db HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
      const reading = setInterval(() => readMs > 0 && socket.read(), readMs || 1000)
      await Promise.race([ended.promise, Bun.sleep(isCutOff ? 15_000 : 5000)])
      clearInterval(reading)
      expect(isEnded).toBe(isCutOff)
    } finally {
      socket.destroy()
      await server.close()
      await ended.promise // its reader has gone
      expect(log.lines).toEqual([expect.stringMatching(line)])
    }
  },
  30_000,
)
