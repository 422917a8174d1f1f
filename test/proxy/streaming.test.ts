/** Bodies and connections that last: streams, uploads, tunnels, and what happens when one side goes. */
import { describe, expect, test } from "bun:test"
import { createHash } from "node:crypto"
import { connect } from "node:net"
import { ProxyUnderTest } from "../support/proxy-under-test.ts"
import { answering, ok, RawServer } from "../support/raw-socket.ts"
import { until } from "../support/until.ts"

const HEAD = "HTTP/1.1\r\nHost: a\r\n"

/** Until the kernel and the proxy take no more. */
async function standsStill(sent: () => number): Promise<void> {
  let before = 0
  const isStill = () => {
    const isSame = before > 0 && before === sent()
    before = sent()
    return isSame
  }
  await until("no more is taken", isStill, { everyMs: 300 })
}

describe("a stream", () => {
  test("of events passes on each when it comes", async () => {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write(`GET /events ${HEAD}\r\n`)
    const served = await app.connection(0)
    await served.until("\r\n\r\n")
    served.write(
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    )
    await client.until("\r\n\r\n")
    for (const event of ["data: one\n\n", "data: two\n\n"]) {
      served.write(`${event.length.toString(16)};x=y\r\n${event}\r\n`)
      await client.until(event)
    }
    served.write("0\r\nServer-Timing: end\r\n\r\n")
    await client.until("0\r\nServer-Timing: end\r\n\r\n")
    client.write(`GET /next ${HEAD}\r\n`)
    await served.until("GET /next") // on the same connection
  })

  test("waits for the positions, and then comes whole and in order", async () => {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port)
    const { cluster } = proxy
    const waits: (() => void)[] = []
    cluster.captured = () => new Promise((done) => waits.push(done))
    const client = await proxy.client()
    for (const n of [1, 2]) {
      client.text = ""
      client.write(`POST /${n} ${HEAD}Content-Length: 0\r\n\r\n`)
      const served = await app.connection(0)
      await served.until(`POST /${n}`)
      served.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none")
      await until("the proxy asks", () => waits.length === n)
      served.write("two")
      await Bun.sleep(50)
      expect(client.text).toBe("")
      cluster.move("a.db", BigInt(n))
      waits.at(-1)?.()
      await client.until("onetwo")
      expect(client.text).toMatch(new RegExp(`Litefs-Position: \\S*000000000000000${n}`))
    }
  })

  test("both ways at once", async () => {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write(`POST / ${HEAD}Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n`)
    const served = await app.connection(0)
    await served.until("3\r\none\r\n")
    served.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nuno\r\n")
    await client.until("uno")
    client.write("3\r\ntwo\r\n")
    await served.until("two")
    served.write("3\r\ndue\r\n")
    await client.until("due")
    client.write("0\r\nContent-Digest: 1\r\n\r\n")
    await served.until("0\r\nContent-Digest: 1\r\n\r\n")
    served.write("0\r\n\r\n")
    await client.until("0\r\n\r\n")
    client.write(`GET /next ${HEAD}\r\n`)
    await served.until("GET /next")
  })

  test("Expect: 100-continue is between the client and the application, as are 103 and others", async () => {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write(`POST / ${HEAD}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n`)
    const served = await app.connection(0)
    await served.until("Expect: 100-continue\r\n")
    served.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    await client.until("Link: </x>\r\n\r\n")
    client.write("hello")
    await served.until("hello")
    served.write(ok("done"))
    await client.until("done")
    expect(client.text.match(/HTTP\/1\.1 \d+/g)).toEqual([
      "HTTP/1.1 100",
      "HTTP/1.1 103",
      "HTTP/1.1 200",
    ])
  })

  test("an upload that is refused before it is over: the client gets the answer, and the end", async () => {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write(`POST / ${HEAD}Content-Length: 1000000\r\n\r\nfirst`)
    const served = await app.connection(0)
    await served.until("first")
    served.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!")
    client.write("x".repeat(500_000))
    expect(await client.ended()).toEndWith("\r\n\r\nno!")
    await served.ended()
  })
})

describe("what does not fit", () => {
  const SIZE = 64 * 1024 * 1024
  const PART = Buffer.alloc(1024 * 1024, "0123456789abcdef")

  function digest(count: number): string {
    const hash = createHash("sha1")
    for (let index = 0; index < count; index++) hash.update(PART)
    return hash.digest("hex")
  }

  test("an upload waits for an application that does not read, then arrives whole", async () => {
    const hash = createHash("sha1")
    let size = 0
    await using app = await RawServer.listen(({ socket }) => {
      socket.removeAllListeners("data")
      socket.pause()
    })
    using proxy = new ProxyUnderTest(app.port)
    const socket = connect({ port: proxy.server.port, host: "127.0.0.1" })
    socket.write(`POST / ${HEAD}Content-Length: ${SIZE}\r\n\r\n`)
    let sent = 0
    const send = () => {
      while (sent < SIZE) {
        sent += PART.length
        if (!socket.write(PART)) return void socket.once("drain", send)
      }
    }
    send()
    const served = await app.connection(0)
    // It stands still with what the kernel and one read of the proxy hold.
    await standsStill(() => sent)
    expect(sent).toBeLessThan(SIZE)
    const isWhole = Promise.withResolvers<void>()
    served.socket.on("data", (bytes: Buffer) => {
      const start = size === 0 ? bytes.indexOf("\r\n\r\n") + 4 : 0
      hash.update(bytes.subarray(start))
      size += bytes.length - start
      if (size >= SIZE) isWhole.resolve()
    })
    served.socket.resume()
    await isWhole.promise
    socket.destroy()
    expect(size).toBe(SIZE)
    expect(hash.digest("hex")).toBe(digest(SIZE / PART.length))
  })

  test("a download waits for a client that does not read, then arrives whole", async () => {
    let sent = 0
    await using app = await RawServer.listen(({ socket }) => {
      socket.once("data", () => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${SIZE}\r\n\r\n`)
        const send = () => {
          while (sent < SIZE) {
            sent += PART.length
            if (!socket.write(PART)) return void socket.once("drain", send)
          }
        }
        send()
      })
    })
    using proxy = new ProxyUnderTest(app.port)
    const socket = connect({ port: proxy.server.port, host: "127.0.0.1" })
    socket.pause()
    socket.write(`GET / ${HEAD}\r\n`)
    await standsStill(() => sent)
    expect(sent).toBeLessThan(SIZE)
    const hash = createHash("sha1")
    let size = 0
    const isWhole = Promise.withResolvers<void>()
    socket.on("data", (bytes: Buffer) => {
      const start = size === 0 ? bytes.indexOf("\r\n\r\n") + 4 : 0
      hash.update(bytes.subarray(start))
      size += bytes.length - start
      if (size >= SIZE) isWhole.resolve()
    })
    socket.resume()
    await isWhole.promise
    socket.destroy()
    expect(hash.digest("hex")).toBe(digest(SIZE / PART.length))
  })
})

describe("who goes in the middle", () => {
  test.each(["end", "resetAndDestroy"] as const)(
    "a client, by %p: the application learns of it",
    async (how) => {
      await using app = await RawServer.listen()
      using proxy = new ProxyUnderTest(app.port)
      const client = await proxy.client()
      client.write(`GET /slow ${HEAD}\r\n`)
      const served = await app.connection(0)
      await served.until("\r\n\r\n")
      client.socket[how]()
      await served.ended()
      expect(proxy.metric("litefs_proxy_request_seconds").join()).toContain("abandoned")
    },
  )

  test("a client in an upload: the application sees that it is not whole", async () => {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write(`POST / ${HEAD}Content-Length: 100\r\n\r\nhalf`)
    const served = await app.connection(0)
    await served.until("half")
    client.destroy()
    await served.ended()
  })

  test("the application before it has answered: 502", async () => {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write(`GET / ${HEAD}\r\n`)
    const served = await app.connection(0)
    await served.until("\r\n\r\n")
    served.socket.resetAndDestroy()
    await client.until("Proxy error: the application: ")
    expect(client.text).toStartWith("HTTP/1.1 502 ")
  })

  test.each(["end", "resetAndDestroy"] as const)(
    "the application in its answer, by %p: the client's connection breaks",
    async (how) => {
      await using app = await RawServer.listen()
      using proxy = new ProxyUnderTest(app.port)
      const client = await proxy.client()
      client.write(`GET / ${HEAD}\r\n`)
      const served = await app.connection(0)
      await served.until("\r\n\r\n")
      served.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
      await client.until("half")
      served.socket[how]()
      await client.until(() => client.isClosed)
      expect((client.error as NodeJS.ErrnoException | undefined)?.code).toBe("ECONNRESET")
    },
  )

  test("an application that is not there yet is waited for", async () => {
    const port = await (async () => {
      await using free = await RawServer.listen()
      return free.port
    })()
    using proxy = new ProxyUnderTest(port)
    const client = await proxy.client()
    client.write(`POST / ${HEAD}Content-Length: 5\r\n\r\nhello`)
    await Bun.sleep(100)
    await using app = await RawServer.listen(
      answering((request) => ok(request.slice(-5))),
      port,
    )
    await client.until("\r\n\r\nhello")
    expect(app.connections).toHaveLength(1)
  })
})

describe("a tunnel", () => {
  const UPGRADE = `GET /socket ${HEAD}Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n`
  const SWITCHED =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

  test("carries bytes both ways, and the ends of both", async () => {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write(UPGRADE)
    const served = await app.connection(0)
    expect(await served.until("\r\n\r\n")).toContain(
      "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
    )
    served.write(`${SWITCHED}first`)
    await client.until("\r\n\r\nfirst")
    expect(client.text).toContain("\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    expect(proxy.metric("litefs_proxy_tunnels")).toEqual(["{} 1"])
    client.write("GET / no HTTP\n\0")
    await served.until("GET / no HTTP\n\0")
    client.socket.end()
    await served.ended()
    served.write("still")
    await client.until("still")
    served.socket.end()
    await client.ended()
    await client.until(() => client.isClosed)
  })

  test("breaks when one side breaks", async () => {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write(UPGRADE)
    const served = await app.connection(0)
    await served.until("\r\n\r\n")
    served.write(SWITCHED)
    await client.until("\r\n\r\n")
    served.socket.resetAndDestroy()
    await client.until(() => client.isClosed)
    expect((client.error as NodeJS.ErrnoException | undefined)?.code).toBe("ECONNRESET")
  })

  test("is none when the application does not want it", async () => {
    await using app = await RawServer.listen(answering(ok("no")))
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write(UPGRADE)
    await client.until("\r\n\r\nno")
    client.write(`GET / ${HEAD}\r\n`)
    await client.until(/no[\s\S]*\r\n\r\nno/)
  })

  test("that nobody has asked for is refused", async () => {
    await using app = await RawServer.listen(answering(SWITCHED))
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write(`GET / ${HEAD}\r\n`)
    expect(await client.until("\r\n\r\n")).toStartWith("HTTP/1.1 502 ")
  })
})
