import { expect, test } from "bun:test"
import { run } from "../../src/cli/main-command.ts"
import { FakeApi } from "../support/fake-api.ts"
import { FakeIo } from "../support/fake-io.ts"

async function litefs(...args: string[]) {
  const io = new FakeIo()
  const code = await run(["promote", ...args], io)
  return { code, out: io.out, err: io.err }
}

test("promote asks the node, and says nothing when it is done", async () => {
  await using api = await FakeApi.start((response) => response.end())
  expect(await litefs("--url", api.url)).toEqual({ code: 0, out: "", err: "" })
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
