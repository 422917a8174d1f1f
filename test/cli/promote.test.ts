import { expect, test } from "bun:test"
import { run } from "../../src/cli/main-command.ts"
import { FakeApi } from "../support/fake-api.ts"
import { FakeIo } from "../support/fake-io.ts"
import { freePort } from "../support/node.ts"

async function litefs(...args: string[]) {
  const io = new FakeIo()
  const code = await run(["promote", ...args], io)
  return { code, out: io.out, err: io.err }
}

test("promote asks the node, and says that it is done", async () => {
  await using api = await FakeApi.start((response) => response.end())
  expect(await litefs("--url", api.url)).toEqual({
    code: 0,
    out: `${api.url} is the primary\n`,
    err: "",
  })
  expect(api.requests.map(({ method, url }) => `${method} ${url}`)).toEqual(["POST /promote"])
})

test("promote --force says what may be lost", async () => {
  await using api = await FakeApi.start((response) => response.end("a.db may lack some\n"))
  expect(await litefs("--force", "--url", api.url)).toEqual({
    code: 0,
    out: "a.db may lack some\n",
    err: "",
  })
  expect(api.requests[0]?.url).toBe("/promote?force=true")
})

test("promote fails with what the node says", async () => {
  await using api = await FakeApi.start((response) => {
    response.statusCode = 409
    response.end("not eligible to become primary\n")
  })
  const { code, err } = await litefs("--url", api.url)
  expect([code, err]).toEqual([1, "ERROR: not eligible to become primary\n"])
})

test.each([
  [200, 0, /^$/, /^http:\S+ is the primary\n$/],
  [
    503,
    1,
    /^ERROR: Cannot reach LiteFS at http:\S+: .*it is not known whether it becomes the primary \(this node is a replica\), see litefs info --url http:\S+\n$/,
    /^$/,
  ],
])("promote asks what came out when the answer is lost: %p", async (status, code, err, out) => {
  await using api = await FakeApi.start((response, request) => {
    if (request.url === "/promote") return void request.socket.resetAndDestroy()
    response.statusCode = status
    response.end(JSON.stringify({ reason: "this node is a replica" }))
  })
  const io = new FakeIo()
  const done = run(["promote", "--url", api.url], io)
  const timer = setInterval(() => io.clock.advance(200), 5)
  expect(await done).toBe(code)
  clearInterval(timer)
  expect(io.err).toMatch(err)
  expect(io.out).toMatch(out)
  expect(api.requests[1]?.url).toMatch(/^\/health\?role=primary&wait=/)
})

test("promote does not ask anything when there is no node", async () => {
  const port = await freePort()
  const { code, err } = await litefs("--url", `http://127.0.0.1:${port}`)
  expect([code, err]).toEqual([
    1,
    `ERROR: Cannot reach LiteFS at http://127.0.0.1:${port}: nothing listens at 127.0.0.1:${port} (ECONNREFUSED)\n`,
  ])
})

test.each(["before it answers", "in its answer"])(
  "promote asks what came out when the node stops %s",
  async (when) => {
    await using api = await FakeApi.start((response, request) => {
      if (request.url?.startsWith("/health")) return void response.end("{}")
      if (when === "in its answer") response.write("This node")
    })
    const io = new FakeIo()
    const done = run(["promote", "--url", api.url], io)
    const timer = setInterval(() => io.clock.advance(500), 5)
    expect(await done).toBe(0)
    clearInterval(timer)
    expect(io.out).toBe(`${api.url} is the primary\n`)
    expect(api.requests.map(({ url }) => url?.replace(/&.*/, ""))).toEqual([
      "/promote",
      "/health?role=primary",
    ])
  },
)
