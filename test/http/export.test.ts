import { expect, test } from "bun:test"
import { ApiServer } from "../../src/http/server/server.ts"
import { handleExport } from "../../src/http/transfers/export.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { FakeClock } from "../support/fake-clock.ts"

async function get(parts: () => AsyncGenerator<Uint8Array>): Promise<Response> {
  const pos = { txid: 1n, checksum: 1n << 63n }
  const files = { snapshot: async () => ({ pos, size: 8, parts: parts() }) }
  const options = { headers: {}, authToken: undefined, tls: undefined, clock: new FakeClock() }
  const server = new ApiServer(
    { "/export": { GET: (_, response, url) => handleExport({ files }, response, url) } },
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
