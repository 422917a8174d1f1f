/** What clients and applications send to get past the proxy, or to keep it busy. */
import { describe, expect, test } from "bun:test"
import { COUNT_MAX, PositionWaiters } from "../../src/proxy/position-waiters.ts"
import { TrackedDatabases } from "../../src/proxy/tracked-databases.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { FakeProxyCluster } from "../support/fake-proxy-cluster.ts"
import { ProxyUnderTest } from "../support/proxy-under-test.ts"
import { RawServer } from "../support/raw-socket.ts"

const TRAILERS = [
  "X-Forwarded-For: 10.0.0.1",
  "x_forwarded_for: 10.0.0.1",
  "Authorization: Bearer x",
  "Cookie: a=b",
  "Litefs-Forwarded-By: evil",
  "Litefs-Position: 0000000000000001",
  "Content-Type: text/html",
  "X-Unknown: 1",
]
const KEPT = ["Content-Digest: sha-256=:x:", "grpc-status: 0", "x-amz-checksum-crc32c: AAAA"]

describe("trailers", () => {
  const lines = (texts: string[]) => texts.map((text) => `${text}\r\n`).join("")
  const sent = `3\r\none\r\n0;x\r\n${lines([...TRAILERS, ...KEPT])}\r\n`
  const passed = `3\r\none\r\n0;x\r\n${lines(KEPT)}\r\n`

  test.each([1, 7, 4096])(
    "of a request, in parts of %d bytes: some are passed on",
    async (size) => {
      await using app = await RawServer.listen()
      using proxy = new ProxyUnderTest(app.port)
      const client = await proxy.client()
      client.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
      const served = await app.connection(0)
      await served.until("\r\n\r\n")
      served.text = ""
      for (let at = 0; at < sent.length; at += size) {
        client.write(sent.slice(at, at + size))
        if (size === 1 && at % 50 === 0) await Bun.sleep(1)
      }
      await served.until("0;x\r\n")
      await served.until("\r\n\r\n")
      served.write("HTTP/1.1 204 No Content\r\n\r\n")
      client.write("GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
      await served.until("GET /next")
      expect(served.text.slice(0, passed.length)).toBe(passed)
    },
  )

  test("of a response: some are passed on", async () => {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    const served = await app.connection(0)
    await served.until("\r\n\r\n")
    served.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${sent}`)
    expect(await client.until("grpc-status")).toEndWith(`\r\n\r\n${passed}`)
    client.write("GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    await served.until("GET /next") // on the same connection
  })
})

test.each(["204 No Content", "103 Early Hints"])(
  "a response of %s says no size, whatever the application says",
  async (status) => {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port)
    const client = await proxy.client()
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    const served = await app.connection(0)
    await served.until("\r\n\r\n")
    served.write(`HTTP/1.1 ${status}\r\nContent-Length: 5\r\nX-Is: here\r\n\r\n`)
    const answer = await client.until("\r\n\r\n")
    expect(answer).toContain("X-Is: here")
    expect(answer).not.toMatch(/content-length/i)
  },
)

describe("positions that clients ask for", () => {
  const entry = (txid: string, name: string) =>
    `${txid.padStart(16, "0")}-1-${"0".repeat(16)}-${name}`

  test("count once for each database, the furthest", () => {
    const cluster = new FakeProxyCluster()
    cluster.move("a.db", 5n)
    const tracked = new TrackedDatabases(["a.db", "b.db"], cluster)
    const tokens = [
      `${entry("6", "a.db")}&${entry("7", "a.db")}&${entry("8", "b.db")}`,
      entry("9", "a.db"),
    ]
    const wanted = tracked.wanted(tokens)
    expect(wanted.map(({ database, txid }) => [database, txid])).toEqual([["a.db", 9n]])
    const both = tracked.wanted([`${entry("6", "a.db")}&${entry("3", "b.db")}`])
    expect(both.map(({ database }) => database)).toEqual(["a.db", "b.db"])
    expect(tracked.wanted([`${entry("6", "a.db")}&`.repeat(1000)])).toEqual([])
  })

  test("of a request, the first header alone is read", async () => {
    await using app = await RawServer.listen((connection) => {
      connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    })
    using proxy = new ProxyUnderTest(app.port)
    proxy.cluster.set({ isPrimary: false })
    proxy.cluster.move("a.db", 5n)
    const client = await proxy.client()
    const header = (txid: string) => `Litefs-Position: ${entry(txid, "a.db")}\r\n`
    client.write(`GET / HTTP/1.1\r\nHost: a\r\n${header("4")}${header("6").repeat(200)}\r\n`)
    await client.until("ok")
    expect(proxy.metric("litefs_proxy_wait_seconds")).toEqual([])
  })

  test("are waited for by so many, and more are late", () => {
    const clock = new FakeClock()
    const waiters = new PositionWaiters(new FakeProxyCluster(), clock)
    const outcomes: string[] = []
    const wait = () =>
      waiters.wait(
        () => false,
        20_000,
        (outcome) => void outcomes.push(outcome),
      )
    for (let count = 0; count < COUNT_MAX; count++) wait()
    wait()
    const cancel = wait()
    cancel()
    clock.advance(100)
    expect([waiters.count, outcomes]).toEqual([COUNT_MAX, ["late"]])
    waiters.close()
  })

  test("are looked for less often when looking takes long", () => {
    const clock = new FakeClock()
    const cluster = new FakeProxyCluster()
    const waiters = new PositionWaiters(cluster, clock)
    let looks = 0
    let hasCome = false
    let outcome = ""
    const look = () => {
      looks += 1
      clock.advance(5)
      return hasCome
    }
    waiters.wait(look, 20_000, (which) => {
      outcome = which
    })
    for (let change = 1n; change <= 100n; change++) cluster.move("a.db", change)
    expect(looks).toBe(1)
    hasCome = true
    clock.advance(45)
    expect([looks, outcome]).toEqual([2, "reached"])
    waiters.close()
  })
})
