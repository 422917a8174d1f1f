/** HTTP as clients and applications speak it, byte by byte, through the proxy. */
import { describe, expect, test } from "bun:test"
import { ProxyUnderTest } from "../support/proxy-under-test.ts"
import { answering, ok, RawServer } from "../support/raw-socket.ts"

describe("a hostile request gets its answer and never reaches the application", () => {
  test.each<[string, number]>([
    ["GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400],
    [
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      400,
    ],
    [
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: x\r\n\r\n0\r\n\r\n",
      400,
    ],
    ["POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n", 501],
    ["POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400],
    ["POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a\r\n\tX: b\r\n\r\n", 400],
    ["GET / HTTP/1.1\nHost: a\n\n", 400],
    ["GET / HTTP/1.1\r\nHost: a\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400],
    ["\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 400],
    ["GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400],
    ["CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", 405],
    ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505],
    ["\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n", 400],
    [`GET /${"a".repeat(70_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414],
    [`GET / HTTP/1.1\r\nHost: a\r\nX: ${"a".repeat(70_000)}\r\n\r\n`, 431],
    [`GET / HTTP/1.1\r\nHost: a\r\n${"X: a\r\n".repeat(300)}\r\n`, 431],
  ])("%p", async (request, status) => {
    await using app = await RawServer.listen(answering(ok("no")))
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write(request)
    const answer = await client.ended()
    expect(answer).toStartWith(`HTTP/1.1 ${status} `)
    expect(answer).toContain("\r\nConnection: close\r\n")
    expect(answer.match(/^HTTP\/1\.1 \d/gm)).toHaveLength(1)
    expect(app.connections).toEqual([])
    expect(proxy.metric("litefs_proxy_refusals_total")).toEqual([`{"status":"${status}"} 1`])
  })

  test("a chunk that is malformed behind a good one: the application sees a broken request", async () => {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    const served = await app.connection(0)
    await served.until("5\r\nhello\r\n")
    client.write("5;\nGET /evil HTTP/1.1\r\n")
    expect(await client.ended()).toStartWith("HTTP/1.1 400 ")
    expect(await served.ended()).not.toContain("evil")
  })
})

describe("heads", () => {
  async function passedOn(request: string): Promise<string[]> {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write(request)
    const served = await app.connection(0)
    return (await served.until("\r\n\r\n")).split("\r\n\r\n")[0]?.split("\r\n") ?? []
  }

  test("a request goes on as it came, with where it came from", async () => {
    const lines = await passedOn(
      "GET /a%20b?c=%zz HTTP/1.1\r\nHost: a.example:80\r\nAccept-Encoding: gzip, br\r\nX-A: 1\r\nx-a: 2\r\n\r\n",
    )
    expect(lines).toEqual([
      "GET /a%20b?c=%zz HTTP/1.1",
      "Host: a.example:80",
      "Accept-Encoding: gzip, br",
      "X-A: 1",
      "x-a: 2",
      "X-Forwarded-For: 127.0.0.1",
      "X-Forwarded-Host: a.example:80",
      "X-Forwarded-Proto: http",
      'Forwarded: for=127.0.0.1;host="a.example:80";proto=http',
    ])
  })

  test("what is between two neighbours stays there, and what only the proxy may say", async () => {
    const lines = await passedOn(
      [
        "GET / HTTP/1.1",
        "Host: a",
        "Connection: keep-alive, X-Named, content-length, cookie",
        "Keep-Alive: timeout=5",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic x",
        "TE: trailers, deflate",
        "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQAAP__",
        "X-Named: 1",
        "Cookie: kept=1",
        "Litefs-Forwarded-By: me",
        "Litefs_Forwarded_By: me",
        "X_Forwarded_For: 1.2.3.4",
        "Content_Length: 5",
        "Transfer_Encoding: chunked",
        "",
        "",
      ].join("\r\n"),
    )
    expect(lines.filter((line) => !/^(X-)?Forwarded/.test(line))).toEqual([
      "GET / HTTP/1.1",
      "Host: a",
      "Cookie: kept=1",
      "Connection: TE",
      "TE: trailers",
    ])
  })

  test("a load balancer on this machine is believed", async () => {
    const lines = await passedOn(
      [
        "GET / HTTP/1.1",
        "Host: inner",
        "X-Forwarded-For: 203.0.113.7",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: outer.example",
        "Forwarded: for=203.0.113.7;proto=https",
        "",
        "",
      ].join("\r\n"),
    )
    expect(lines.slice(2)).toEqual([
      "X-Forwarded-For: 203.0.113.7, 127.0.0.1",
      "X-Forwarded-Host: outer.example",
      "X-Forwarded-Proto: https",
      "Forwarded: for=203.0.113.7;proto=https, for=127.0.0.1;host=inner;proto=https",
    ])
  })

  test("a response comes back as it is, without what was between the neighbours", async () => {
    const response = [
      "HTTP/1.1 299 Odd Reason",
      "Content-Encoding: gzip",
      "Set-Cookie: a=1",
      "Set-Cookie: b=2",
      "Connection: X-Hop",
      "X-Hop: 1",
      "Keep-Alive: timeout=5",
      "Litefs-Not-Primary: 1",
      "Content-Length: 3",
      "",
      "\x1f\x8b\x00",
    ].join("\r\n")
    await using app = await RawServer.listen(answering(response))
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    expect(await client.until("\x1f\x8b\x00")).toBe(
      [
        "HTTP/1.1 299 Odd Reason",
        "Content-Encoding: gzip",
        "Set-Cookie: a=1",
        "Set-Cookie: b=2",
        "Content-Length: 3",
        "",
        "\x1f\x8b\x00",
      ].join("\r\n"),
    )
  })

  test.each([
    ["a status line of another protocol", "ICY 200 OK\r\n\r\n"],
    ["a folded field", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n"],
    ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"],
    ["a head without an end", `HTTP/1.1 200 OK\r\nX: ${"a".repeat(80_000)}`],
  ])("a response with %p is answered with 502", async (_, response) => {
    await using app = await RawServer.listen(answering(response))
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    expect(await client.until("\r\n\r\n")).toStartWith("HTTP/1.1 502 ")
  })
})

describe("connections", () => {
  test("requests that come at once are answered one after the other", async () => {
    await using app = await RawServer.listen(
      answering((request) => ok(request.split(" ")[1] ?? "")),
    )
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    const count = 3000
    let text = "\r\n" // an empty line before a request is nothing
    for (let index = 0; index < count; index++) {
      text +=
        index % 3 === 0
          ? `POST /${index} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy`
          : `GET /${index} HTTP/1.1\r\nHost: a\r\n\r\n`
    }
    client.write(text)
    await client.until(`\r\n/${count - 1}`)
    expect([...client.text.matchAll(/\r\n\/(\d+)/g)].map(([, index]) => Number(index))).toEqual(
      Array.from({ length: count }, (_, index) => index),
    )
    expect(app.connections).toHaveLength(1)
  })

  test("a request that comes byte by byte is one request", async () => {
    await using app = await RawServer.listen(answering((request) => ok(request.slice(-5))))
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    for (const byte of "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello") {
      client.write(byte)
      await new Promise(setImmediate)
    }
    expect(await client.until("hello")).toStartWith("HTTP/1.1 200 OK\r\n")
  })

  test.each([
    ["GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"],
    ["GET / HTTP/1.0\r\n\r\n"],
  ])("%p is the last one", async (request) => {
    await using app = await RawServer.listen(answering(ok("yes")))
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write(request)
    expect(await client.ended()).toMatch(/\r\nConnection: close\r\n\r\nyes$/)
  })

  test("a response without a size ends with its connection", async () => {
    await using app = await RawServer.listen((connection) => {
      connection.socket.once("data", () => {
        connection.write("HTTP/1.1 200 OK\r\n\r\nas long as it is")
        connection.socket.end()
      })
    })
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    expect(await client.ended()).toBe(
      "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nas long as it is",
    )
  })

  test("HEAD, 204 and 304 have no body, and the next request follows", async () => {
    const statuses = ["200 OK", "204 No Content", "304 Not Modified"]
    await using app = await RawServer.listen(
      answering((request) => {
        const index = Number(/\/(\d)/.exec(request)?.[1])
        if (index === 3) return ok("end")
        return `HTTP/1.1 ${statuses[index]}\r\nContent-Length: 500\r\n\r\n`
      }),
    )
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write("HEAD /0 HTTP/1.1\r\nHost: a\r\n\r\n")
    for (const index of [1, 2, 3]) client.write(`GET /${index} HTTP/1.1\r\nHost: a\r\n\r\n`)
    await client.until("\r\n\r\nend")
    expect(client.text.match(/HTTP\/1\.1 \d+/g)).toEqual([
      "HTTP/1.1 200",
      "HTTP/1.1 204",
      "HTTP/1.1 304",
      "HTTP/1.1 200",
    ])
  })

  test("an application that closes an idle connection is asked on another, once", async () => {
    let count = 0
    await using app = await RawServer.listen((connection) => {
      connection.socket.on("data", () => {
        count += 1
        if (count === 2) connection.socket.resetAndDestroy()
        else connection.write(ok(`answer ${count}`))
      })
    })
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await client.until("answer 1")
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await client.until("answer 3")
    client.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    await client.until("answer 4")
    expect(count).toBe(4)
  })

  test("a POST that breaks off is never sent again", async () => {
    let count = 0
    await using app = await RawServer.listen((connection) => {
      connection.socket.on("data", () => {
        count += 1
        if (count === 2) connection.socket.resetAndDestroy()
        else connection.write(ok(`answer ${count}`))
      })
    })
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await client.until("answer 1")
    client.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    await client.until("HTTP/1.1 502 ")
    expect(count).toBe(2)
  })

  test("requests that are left when their client goes are not done", async () => {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write(
      "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    )
    const served = await app.connection(0)
    await served.until("GET /1")
    client.destroy()
    await served.ended()
    const next = await proxy.client()
    next.write("GET /3 HTTP/1.1\r\nHost: a\r\n\r\n")
    await (await app.connection(1)).until("GET /3")
    expect(app.connections.map(({ text }) => text).join()).not.toContain("/2")
  })
})
