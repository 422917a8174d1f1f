import { describe, expect, test } from "bun:test"
import { ApiServer, type ApiServerOptions, type Routes } from "../../src/http/server/server.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { Errno, SysError } from "../../src/sys/errno.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { LogLines } from "../support/log-lines.ts"

const OURS = "Cannot serve this: an error of this node, see its log\n"

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
    [500, OURS, new Error("broken")],
    [500, OURS, Object.assign(new Error("ENOENT: '/var/lib/litefs/x'"), { code: "ENOENT" })],
    [500, OURS, new SysError(Errno.EIO, "ltx:open", 'open "/var/lib/litefs/dbs/a.db/ltx"')],
    [
      500,
      'Cannot read "a.ltx": it is damaged\n',
      new LitefsError("damaged", 'Cannot read "/var/lib/a.ltx": it is damaged'),
    ],
    [
      400,
      'Cannot use "/" as a database name\n',
      new LitefsError("name-invalid", 'Cannot use "/" as a database name'),
    ],
    [503, "see clusterid; then\n", new LitefsError("unavailable", "see /var/clusterid; then")],
    [400, "no name\n", new LitefsError("usage", "no name")],
    [404, "no such database\n", new LitefsError("not-found", "no such database")],
    [409, "it is elsewhere\n", new LitefsError("position-mismatch", "it is elsewhere")],
    [503, "not now\n", new LitefsError("unavailable", "not now")],
    [507, "full\n", new LitefsError("no-space", "full")],
    [400, "not a position map\n", new RangeError("not a position map")],
    [500, OURS, "a text"],
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
    expect(log.lines.length).toBe(status === 500 || text.includes("clusterid") ? 1 : 0)
  })

  test("ApiServer says who has sent what failed, and once when it is sent again and again", async () => {
    using log = new LogLines()
    await using server = await serve({
      "/": {
        GET() {
          throw new SysError(Errno.EIO, "ltx:open", 'open "/data/a.ltx"')
        },
      },
    })
    const headers = { "Litefs-Hostname": "b" }
    for (let i = 0; i < 5; i++) await (await fetch(`${server.url}/?x=1`, { headers })).text()
    expect(log.lines).toEqual([
      'level=error tag=http msg="request failed" path=/ error="Cannot open \\"/data/a.ltx\\": ' +
        'input/output error (EIO)" from=127.0.0.1 node=b',
    ])
    for (let i = 0; i < 50; i++) {
      await (await fetch(server.url, { headers: { "Litefs-Hostname": `c${i}` } })).text()
      await (await fetch(server.url, { headers })).text()
    }
    expect(log.lines.length).toBe(1)
  })

  test.each(["%ff%fe", "a%c3", "%ed%a0%80", "%c0%ae", "%C3%28"])(
    "ApiServer refuses a URL with %s, which is not UTF-8",
    async (text) => {
      using _ = new LogLines()
      await using server = await serve(ROUTES)
      const response = await fetch(`${server.url}/hello?name=${text}`)
      expect(response.status).toBe(400)
      expect(await response.text()).toMatch(/^Cannot use \S+: it is not UTF-8, /)
    },
  )

  test.each([
    ["%C3%A9", "é"],
    ["100%", "100%"],
    ["a%zz", "a%zz"],
    ["%F0%9F%90%98+x", "🐘 x"],
  ])("ApiServer takes %s in a URL for %s", async (text, name) => {
    await using server = await serve(ROUTES)
    expect(await (await fetch(`${server.url}/hello?name=${text}`)).text()).toBe(`hello ${name}`)
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
