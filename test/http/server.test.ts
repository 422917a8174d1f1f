import { describe, expect, test } from "bun:test"
import type { ServerResponse } from "node:http"
import {
  ApiServer,
  type ApiServerOptions,
  type Handler,
  type Routes,
} from "../../src/http/server/server.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { Errno, SysError } from "../../src/sys/errno.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { LogLines } from "../support/log-lines.ts"
import { RawSocket } from "../support/raw-socket.ts"

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

function asked(method: string, path: string, ...fields: string[]): string {
  return [`${method} ${path} HTTP/1.1`, "Host: 127.0.0.1", ...fields, "", ""].join("\r\n")
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

  test.each([
    ["/", ": open it in a browser, or get /info or /health"],
    ["/hello/", ""],
    ["/toString", ""],
    ["/__proto__", ""],
  ])("ApiServer answers 404 for %s", async (path, rest) => {
    using _ = new LogLines()
    await using server = await serve(ROUTES)
    const response = await fetch(server.url + path)
    expect([response.status, await response.text()]).toEqual([404, `404 page not found${rest}\n`])
  })

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

  test("ApiServer says why an answer ends early, which its client cannot be told", async () => {
    using log = new LogLines()
    await using server = await serve({
      "/": {
        async GET(_, response) {
          response.writeHead(200, { "Content-Length": 10 })
          response.write("12345")
          await Bun.sleep(1)
          throw new LitefsError("unavailable", "its pages no longer sum to that")
        },
      },
    })
    const answer = await fetch(server.url)
    await expect(answer.text()).rejects.toThrow()
    expect(log.lines).toEqual([
      'level=error tag=http msg="request failed" path=/ error="its pages no longer sum to that" from=127.0.0.1',
    ])
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

  test.each(["/wait", "/hello", "/nothing"])(
    "ApiServer handles one of thousands of requests for %s that come together, and closes the connection",
    async (path) => {
      using log = new LogLines()
      let count = 0
      const waiting: ServerResponse[] = []
      const handler: Handler = (_, response) => {
        count += 1
        if (path === "/wait") waiting.push(response)
        else response.end("hello")
      }
      await using server = await serve({
        "/wait": { GET: handler },
        "/hello": { GET: handler },
        "/other": { GET: (_, response) => void response.end("other") },
      })
      const before = process.memoryUsage.rss()
      const sockets = await Promise.all(
        Array.from({ length: 4 }, () => RawSocket.connect(server.port)),
      )
      for (const { socket } of sockets) socket.pause()
      for (const socket of sockets) socket.write(asked("GET", path).repeat(20_000))
      const startMs = performance.now()
      expect(await (await fetch(`${server.url}/other`)).text()).toBe("other")
      expect(performance.now() - startMs).toBeLessThan(1000)
      for (const { socket } of sockets) socket.resume()
      for (const socket of sockets) await socket.ended()
      expect(count).toBe(path === "/nothing" ? 0 : 4)
      expect(process.memoryUsage.rss() - before).toBeLessThan(64 * 1024 * 1024)
      expect(log.lines).toEqual([
        'level=warn tag=http msg="closed a connection: it sent a request before the last one was ' +
          'answered" from=127.0.0.1',
      ])
    },
  )

  test("ApiServer closes a connection whose answers nobody reads when it asks again", async () => {
    using _ = new LogLines()
    let count = 0
    await using server = await serve({
      "/": {
        GET(_, response) {
          count += 1
          response.end(Buffer.alloc(16 * 1024 * 1024))
        },
      },
    })
    const socket = await RawSocket.connect(server.port)
    socket.socket.pause()
    for (let i = 0; i < 5; i++) {
      socket.write(asked("GET", "/"))
      await Bun.sleep(20)
    }
    socket.socket.resume()
    await socket.ended()
    expect(count).toBe(1)
  })

  test("ApiServer goes on with who asks when the last answer is there, however long it is", async () => {
    using log = new LogLines()
    await using server = await serve({
      ...ROUTES,
      "/long": { GET: (_, response) => void response.end("x".repeat(300_000)) },
    })
    const socket = await RawSocket.connect(server.port)
    for (let count = 1; count <= 300; count++) {
      const path = count % 2 === 0 ? "/long" : "/hello?name=x"
      const end = count % 2 === 0 ? "x".repeat(300_000) : "hello x"
      socket.text = ""
      socket.write(asked("GET", path))
      await socket.until(() => socket.text.endsWith(`\r\n\r\n${end}`))
    }
    expect(log.lines).toEqual([])
    socket.destroy()
  })

  test("ApiServer takes a body of many parts, and one that waits for 100 Continue, and goes on", async () => {
    using log = new LogLines()
    await using server = await serve({
      "/size": {
        async POST(request, response) {
          let size = 0
          for await (const part of request) size += (part as Uint8Array).length
          response.end(`size ${size}.`)
        },
      },
    })
    const socket = await RawSocket.connect(server.port)
    for (const size of [3_000_000, 1, 2_000_000]) {
      socket.text = ""
      socket.write(asked("POST", "/size", `Content-Length: ${size}`, "Expect: 100-continue"))
      await socket.until("100 Continue\r\n\r\n")
      for (let left = size; left > 0; left -= 100_000) {
        socket.write("x".repeat(Math.min(left, 100_000)))
        await Bun.sleep(1)
      }
      await socket.until(`size ${size}.`)
      socket.text = ""
      socket.write(asked("POST", "/size", `Content-Length: ${size}`) + "x".repeat(size))
      await socket.until(`size ${size}.`)
    }
    expect(log.lines).toEqual([])
    socket.destroy()
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

test("ApiServer evaluates the headers that change when the response begins, however it begins", async () => {
  let value = "early"
  const routes: Routes = {
    "/end": {
      GET: async (_, response) => {
        await Promise.resolve()
        value = "end"
        response.end()
      },
    },
    "/head": {
      GET: async (_, response) => {
        await Promise.resolve()
        value = "head"
        response.writeHead(200, { "X-Own": "1" })
        response.flushHeaders()
        response.end()
      },
    },
    "/error": {
      GET: async () => {
        await Promise.resolve()
        value = "error"
        throw new LitefsError("unavailable", "not now")
      },
    },
  }
  const server = new ApiServer(routes, {
    ...OPTIONS,
    changingHeaders: () => ({ "X-State": value }),
  })
  const port = await server.listen(LOCAL)
  try {
    for (const name of ["end", "head", "error"]) {
      const response = await fetch(`http://127.0.0.1:${port}/${name}`)
      expect(response.headers.get("x-state")).toBe(name)
    }
  } finally {
    await server.close()
  }
})
