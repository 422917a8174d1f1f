/** Clients and primaries that make no progress, by a clock that only the test moves. */
import { describe, expect, test } from "bun:test"
import { HEAD_MS_MAX, IDLE_MS_MAX, STALL_MS_MAX } from "../../src/proxy/client-connection.ts"
import { APPLICATION_MS_MAX } from "../../src/proxy/exchange.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { ProxyUnderTest } from "../support/proxy-under-test.ts"
import { answering, ok, RawServer, type RawSocket } from "../support/raw-socket.ts"
import { until } from "../support/until.ts"

const HEAD = "HTTP/1.1\r\nHost: a\r\n"

function connections(proxy: ProxyUnderTest): number {
  return Number(proxy.metric("litefs_proxy_connections")[0]?.slice("{} ".length))
}

/** Until the proxy has that many connections: it has seen what was sent before then. */
async function connected(proxy: ProxyUnderTest, count = 1): Promise<void> {
  await until(`${count} connections`, () => connections(proxy) === count, { everyMs: 1 })
}

describe("more clients than there is room for", () => {
  const ended = ({ isClosed, hasEnded }: RawSocket) => isClosed || hasEnded
  const GET = `GET / ${HEAD}\r\n`

  test("have those give way that ask nothing, and then those that take nothing", async () => {
    await using app = await RawServer.listen()
    const clock = new FakeClock()
    using proxy = new ProxyUnderTest(app.port, {}, clock, 3)
    const [asking, idle, slow] = [await proxy.client(), await proxy.client(), await proxy.client()]
    await connected(proxy, 3)
    asking.write(GET)
    const upstream = await app.connection(0)
    await upstream.until("\r\n\r\n")
    clock.advance(2000)
    slow.write("GET / ") // it is the last that has begun something
    await Bun.sleep(50)
    const next = await proxy.client()
    await idle.ended()
    next.write(`POST / ${HEAD}Content-Length: 10\r\n\r\n1`)
    await app.connection(1)
    await proxy.client()
    await slow.ended()
    clock.advance(2000)
    await (await proxy.client()).until(() => true)
    clock.advance(10_000) // the upload has not moved
    await proxy.client()
    const last = await proxy.client()
    await next.ended()
    upstream.write(ok("yes"))
    await asking.until("yes")
    expect([asking, last].map(ended)).toEqual([false, false])
  })

  test("are refused when all the others are served", async () => {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port, {}, new FakeClock(), 2)
    const served = [await proxy.client(), await proxy.client()]
    for (const client of served) client.write(GET)
    for (const index of [0, 1]) await (await app.connection(index)).until("\r\n\r\n")
    const late = await proxy.client()
    await late.ended()
    expect(served.map(ended)).toEqual([false, false])
  })
})

describe("a client", () => {
  test("that says nothing is let go after a while", async () => {
    await using app = await RawServer.listen(answering(ok("yes")))
    const clock = new FakeClock()
    using proxy = new ProxyUnderTest(app.port, {}, clock)
    const client = await proxy.client()
    await connected(proxy)
    clock.advance(IDLE_MS_MAX - 2000)
    client.write(`GET / ${HEAD}\r\n`)
    await client.until("yes")
    clock.advance(IDLE_MS_MAX - 2000)
    client.write(`GET / ${HEAD}\r\n`)
    await client.until(/yes[\s\S]*yes/)
    clock.advance(IDLE_MS_MAX + 2000)
    expect(await client.ended()).toEndWith("yes")
  })

  test("that sends its head bit by bit gets 408, however diligently it sends", async () => {
    await using app = await RawServer.listen()
    const clock = new FakeClock()
    using proxy = new ProxyUnderTest(app.port, {}, clock)
    const client = await proxy.client()
    client.write("GET / HTTP/1.1\r\n")
    await connected(proxy)
    // The head begins when the proxy reads it, which cannot be seen from outside: so time goes on until it has.
    await until("it has ended", () => {
      if (client.hasEnded) return true
      clock.advance(HEAD_MS_MAX / 2)
      if (!client.hasEnded) client.write("X: a\r\n")
      return false
    })
    expect(client.text).toStartWith("HTTP/1.1 408 ")
    expect(app.connections).toEqual([])
  })

  test("that stops in its body is broken off, as is its request", async () => {
    await using app = await RawServer.listen()
    const clock = new FakeClock()
    using proxy = new ProxyUnderTest(app.port, {}, clock)
    const client = await proxy.client()
    client.write(`POST / ${HEAD}Content-Length: 100\r\n\r\nhalf`)
    const served = await app.connection(0)
    await served.until("half")
    clock.advance(STALL_MS_MAX - 2000)
    client.write("more")
    await served.until("halfmore")
    clock.advance(STALL_MS_MAX - 2000)
    expect(served.isClosed || served.hasEnded).toBe(false)
    clock.advance(4000)
    await served.ended()
    await client.until(() => client.isClosed)
  })

  test("that does not read its response is broken off", async () => {
    await using app = await RawServer.listen(({ socket }) => {
      socket.once("data", () => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${64 << 20}\r\n\r\n`)
        socket.write(Buffer.alloc(64 << 20))
      })
    })
    const clock = new FakeClock()
    using proxy = new ProxyUnderTest(app.port, {}, clock)
    const client = await proxy.client()
    client.socket.pause()
    client.write(`GET / ${HEAD}\r\n`)
    const served = await app.connection(0)
    await until("it is closed", () => {
      if (!served.isClosed) clock.advance(STALL_MS_MAX / 2)
      return served.isClosed
    })
  })

  test("that reads the last response late still gets all of it", async () => {
    const text = "x".repeat(1_000_000)
    await using app = await RawServer.listen(answering(ok(text)))
    const clock = new FakeClock()
    using proxy = new ProxyUnderTest(app.port, {}, clock)
    const client = await proxy.client()
    client.socket.pause()
    client.write(`GET / ${HEAD}Connection: close\r\n\r\n`)
    await until("it is let go", () => {
      if (connections(proxy) > 0) clock.advance(2000)
      return connections(proxy) === 0
    })
    client.socket.resume()
    expect(await client.ended()).toEndWith(`\r\n\r\n${text}`)
  })

  test("that waits for its application has all the time of the world", async () => {
    await using app = await RawServer.listen()
    const clock = new FakeClock()
    using proxy = new ProxyUnderTest(app.port, {}, clock)
    const client = await proxy.client()
    client.write(`GET /long-poll ${HEAD}\r\n`)
    const served = await app.connection(0)
    await served.until("\r\n\r\n")
    clock.advance(3600_000)
    served.write(ok("at last"))
    await client.until("at last")
  })
})

test.each([
  [5000, APPLICATION_MS_MAX],
  [15_000, 15_000],
])(
  "an application that never comes, when writes wait %p ms: 502, after %p ms",
  async (redirectTimeoutMs, waitMs) => {
    const clock = new FakeClock()
    using proxy = new ProxyUnderTest(1, { redirectTimeoutMs }, clock)
    const client = await proxy.client()
    client.write(`GET / ${HEAD}\r\n`)
    let passedMs = 0
    const isAnswered = () => {
      if (client.text.includes("\r\n\r\n")) return true
      clock.advance(100)
      passedMs += 100
      return false
    }
    await until("an answer", isAnswered, { everyMs: 1 })
    expect(client.text).toStartWith("HTTP/1.1 502 ")
    await client.until("the application at 127.0.0.1:1: ")
    expect(passedMs).toBeGreaterThanOrEqual(waitMs)
  },
)

describe("a primary that vanishes without a word", () => {
  test.each([
    ["GET", "/admin", "503"],
    ["POST", "/", "502"],
  ])("%p %p is answered with %p", async (method, path, status) => {
    await using primary = await RawServer.listen()
    const clock = new FakeClock()
    using proxy = new ProxyUnderTest(
      1,
      { alwaysForward: ["/admin"], redirectTimeoutMs: 5000 },
      clock,
    )
    const url = `http://127.0.0.1:${primary.port}`
    proxy.cluster.set({ isPrimary: false, primaryName: "p", primaryProxyUrl: url })
    const client = await proxy.client()
    client.write(`${method} ${path} ${HEAD}\r\n`)
    const served = await primary.connection(0)
    await served.until("\r\n\r\n")
    clock.advance(3600_000) // it may think as long as it is known to be there
    expect(client.text).toBe("")
    proxy.cluster.set({ primaryName: undefined, primaryProxyUrl: undefined })
    clock.advance(4000)
    expect(client.text).toBe("")
    clock.advance(10_000)
    expect(await client.until("\r\n\r\n")).toStartWith(`HTTP/1.1 ${status} `)
    expect(primary.connections).toHaveLength(1)
  })
})
