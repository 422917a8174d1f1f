import { describe, expect, test } from "bun:test"
import { lstatSync, mkdirSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { join } from "node:path"
import { run } from "../../src/cli/main-command.ts"
import { ApiServer } from "../../src/http/server/server.ts"
import { bindPrivately } from "../../src/sys/net/local-socket.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { FakeIo } from "../support/fake-io.ts"
import { TemporaryDirectory } from "../support/temporary-directory.ts"

async function serveAt(path: string) {
  const server = new ApiServer(
    { "/promote": { POST: (_, response) => void response.end("promoted\n") } },
    {
      headers: { "Litefs-Id": "0000000000000007" },
      authToken: "secret",
      tls: undefined,
      clock: new FakeClock(),
    },
  )
  await server.listen({ host: "127.0.0.1", port: 0 })
  await server.listenLocally(path)
  return { [Symbol.asyncDispose]: () => server.close() }
}

async function promote(url: string) {
  const io = new FakeIo()
  const code = await run(["promote", "--url", url], io)
  return { code, out: io.out, err: io.err }
}

const DONE = { code: 0, out: "promoted\n", err: "" }

describe("the socket of the API", () => {
  test.each([
    ["a short path", ""],
    ["a path that is longer than an address", "d".repeat(150)],
  ])("answers without a token, also at %s", async (_, name) => {
    using directory = new TemporaryDirectory()
    const path = join(directory.path, name, "api.sock")
    mkdirSync(join(directory.path, name), { recursive: true })
    await using _server = await serveAt(path)
    const { mode } = lstatSync(path)
    expect((mode & 0o777).toString(8)).toBe("600")
    expect(await promote(`unix:${path}`)).toEqual(DONE)
    expect(await promote(`unix://${path}`)).toEqual(DONE)
  })

  test("a directory in its place is told in one line", async () => {
    using directory = new TemporaryDirectory()
    const path = join(directory.path, "api.sock")
    mkdirSync(path)
    await expect(bindPrivately(path, async () => {})).rejects.toThrow(
      `Cannot listen at "${path}": it is a directory, it should be a socket, or not be there`,
    )
  })

  test("takes the place of one that nobody serves any more", async () => {
    using directory = new TemporaryDirectory()
    const path = join(directory.path, "api.sock")
    writeFileSync(path, "")
    {
      await using _server = await serveAt(path)
      expect(await promote(`unix:${path}`)).toEqual(DONE)
    }
    expect((await promote(`unix:${path}`)).err).toMatch(
      /^ERROR: Cannot reach LiteFS at unix:\S+api.sock: [^\n]+\n$/,
    )
    const dead = createServer()
    await new Promise<void>((resolve) => dead.listen(path, resolve))
    await using _server = await serveAt(path)
    expect(await promote(`unix:${path}`)).toEqual(DONE)
    dead.close()
  })

  test("is closed to web pages as well", async () => {
    using directory = new TemporaryDirectory()
    const path = join(directory.path, "api.sock")
    await using _server = await serveAt(path)
    const response = await fetch("http://localhost/promote", {
      method: "POST",
      unix: path,
      headers: { Origin: "http://evil.example" },
    })
    expect(response.status).toBe(403)
  })
})
