import { describe, expect, test } from "bun:test"
import { ApiServer, type ApiServerOptions, type Routes } from "../../src/http/server/server.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { LogLines } from "../support/log-lines.ts"

const LOCAL = { host: "127.0.0.1", port: 0 }

const OPTIONS: ApiServerOptions = {
  headers: { "Litefs-Id": "7" },
  authToken: undefined,
  tls: undefined,
  clock: new FakeClock(),
}

async function serve(routes: Routes) {
  const server = new ApiServer(routes, OPTIONS)
  const port = await server.listen(LOCAL)
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () => server.close(),
  }
}

const ROUTES: Routes = {
  "/hello": {
    GET: (_, response, url) => void response.end(`hello ${url.searchParams.get("name")}`),
    POST: (_, response) => void response.end("posted"),
  },
  "/late": {
    GET(_, response) {
      response.write("begun")
      throw new Error("too late")
    },
  },
}

describe("ApiServer", () => {
  test("ApiServer calls the handler of path and method, with the query", async () => {
    await using server = await serve(ROUTES)
    const response = await fetch(`${server.url}/hello?name=you`)
    expect([response.status, response.headers.get("litefs-id")]).toEqual([200, "7"])
    expect(await response.text()).toBe("hello you")
    const posted = await fetch(`${server.url}/hello`, { method: "POST" })
    expect(await posted.text()).toBe("posted")
  })

  test.each(["/", "/hello/", "/toString", "/__proto__"])(
    "ApiServer answers 404 for %s",
    async (path) => {
      using _ = new LogLines()
      await using server = await serve(ROUTES)
      const response = await fetch(server.url + path)
      expect([response.status, await response.text()]).toEqual([404, "404 page not found\n"])
    },
  )

  test.each(["PUT", "DELETE", "OPTIONS"])(
    "ApiServer answers 405 for %s, and says what is allowed",
    async (method) => {
      using _ = new LogLines()
      await using server = await serve(ROUTES)
      const response = await fetch(`${server.url}/hello`, { method })
      expect([response.status, response.headers.get("allow")]).toEqual([405, "GET, POST"])
    },
  )

  test.each<[number, string, unknown]>([
    [500, "broken\n", new Error("broken")],
    [400, "no name\n", new LitefsError("usage", "no name")],
    [404, "no such database\n", new LitefsError("not-found", "no such database")],
    [409, "it is elsewhere\n", new LitefsError("position-mismatch", "it is elsewhere")],
    [503, "not now\n", new LitefsError("unavailable", "not now")],
    [507, "full\n", new LitefsError("no-space", "full")],
    [400, "not a position map\n", new RangeError("not a position map")],
    [500, "a text\n", "a text"],
  ])("ApiServer answers %d with %p for what a handler throws", async (status, text, error) => {
    using log = new LogLines()
    await using server = await serve({
      "/": {
        async GET() {
          throw error
        },
      },
    })
    const response = await fetch(server.url)
    expect([response.status, await response.text()]).toEqual([status, text])
    expect(log.lines.length).toBe(status === 500 ? 1 : 0)
  })

  test("ApiServer breaks a response that was begun when its handler fails", async () => {
    using log = new LogLines()
    await using server = await serve(ROUTES)
    const read = async () => (await fetch(`${server.url}/late`)).text()
    await expect(read()).rejects.toThrow()
    expect(log.lines[0]).toContain("too late")
  })

  test("ApiServer says so when the port is in use, or the address not of this machine", async () => {
    await using server = await serve(ROUTES)
    const second = new ApiServer({}, OPTIONS)
    await expect(second.listen({ host: "127.0.0.1", port: server.port })).rejects.toThrow(
      `Cannot listen on 127.0.0.1:${server.port}: the port is in use, choose another --http-addr`,
    )
    const third = new ApiServer({}, OPTIONS)
    await expect(third.listen({ host: "192.0.2.1", port: 0 })).rejects.toThrow(
      /this machine does not have the address/,
    )
  })

  test("ApiServer.close() ends responses that are not over", async () => {
    const server = new ApiServer(
      { "/": { GET: (_, response) => void response.write("x") } },
      OPTIONS,
    )
    const port = await server.listen(LOCAL)
    const response = await fetch(`http://127.0.0.1:${port}/`)
    await server.close()
    await expect(response.text()).rejects.toThrow()
  })
})
