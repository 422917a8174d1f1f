/** Which node serves what: reads wait for what their client has written, writes go to the primary. */
import { describe, expect, test } from "bun:test"
import type { ProxyOptions } from "../../src/litefs-options.ts"
import { ProxyUnderTest } from "../support/proxy-under-test.ts"
import { answering, ok, RawServer, type RawSocket } from "../support/raw-socket.ts"
import { until } from "../support/until.ts"

const NEXT = "0000000000000006-1-00000000000000ba-a.db" // of epoch 1, after TXID 5

interface Answer {
  readonly status: number
  readonly text: string
  readonly headers: Headers
}

async function ask(proxy: ProxyUnderTest, path: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(`${proxy.url}${path}`, { redirect: "manual", ...init })
  return { status: response.status, text: await response.text(), headers: response.headers }
}

const withCookie = (token: string): RequestInit => ({ headers: { Cookie: `x=1; __txid=${token}` } })

/** A primary and a replica at TXID 5, each with an application that says where it is. */
class Pair implements AsyncDisposable {
  readonly primary: ProxyUnderTest
  readonly replica: ProxyUnderTest
  readonly #apps: readonly RawServer[]
  readonly requests: string[]

  private constructor(
    apps: readonly [RawServer, RawServer],
    requests: string[],
    options: Partial<ProxyOptions>,
  ) {
    this.#apps = apps
    this.requests = requests
    this.primary = new ProxyUnderTest(apps[0].port, options)
    this.replica = new ProxyUnderTest(apps[1].port, options)
    for (const { cluster } of [this.primary, this.replica]) cluster.move("a.db", 5n)
    this.replica.follow(this.primary)
  }

  static async open(options: Partial<ProxyOptions> = {}): Promise<Pair> {
    const requests: string[] = []
    let pair: Pair | undefined
    const app = (name: string) =>
      RawServer.listen(
        answering((request) => {
          requests.push(request)
          if (request.startsWith("POST /commit") && name === "primary") {
            const txid = (pair?.primary.cluster.position("a.db")?.txid ?? 0n) + 1n
            pair?.primary.cluster.move("a.db", txid)
          }
          return ok(`the ${name}`)
        }),
      )
    pair = new Pair([await app("primary"), await app("replica")], requests, options)
    return pair
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.primary[Symbol.dispose]()
    this.replica[Symbol.dispose]()
    for (const app of this.#apps) await app[Symbol.asyncDispose]()
  }
}

async function waiting(proxy: ProxyUnderTest, count = 1): Promise<void> {
  const isSo = () => proxy.metric("litefs_proxy_waiting")[0] === `{} ${count}`
  await until(`${count} are waiting`, isSo, { everyMs: 1 })
}

describe("a read on a replica", () => {
  test("is served there when its client has seen nothing, or no more than is there", async () => {
    await using pair = await Pair.open()
    for (const init of [
      {},
      withCookie("0000000000000005-1-000000000000009b-a.db"),
      withCookie("0000000000000004-1-0000000000000000-a.db"),
      withCookie("0000000000000005"), // of the original
      withCookie('"0000000000000005"'),
      { method: "OPTIONS" },
    ]) {
      expect((await ask(pair.replica, "/", init)).text).toBe("the replica")
    }
    expect(pair.replica.metric("litefs_proxy_wait_seconds")).toEqual([])
  })

  test.each([
    ["no token", "x"],
    ["15 digits", "000000000000006"],
    ["zero", "0000000000000000"],
    ["another database", "0000000000000006-1-00000000000000ba-b.db"],
    ["a TXID that no replica is behind", "ffffffffffffffff"],
    ["the same with a name", "00ffffffffffffff-1-00000000000000ba-a.db"],
    ["an epoch that is far away", "0000000000000001-ffffffffffff-00000000000000ba-a.db"],
    ["a name that cannot be decoded", "0000000000000006-1-00000000000000ba-%zz"],
    ["more than a cookie has", `${NEXT}&`.repeat(200)],
    ["an entry without a name", "0000000000000006-1-00000000000000ba-"],
  ])("does not wait for what is made up: %s", async (_, token) => {
    await using pair = await Pair.open()
    expect((await ask(pair.replica, "/", withCookie(token))).text).toBe("the replica")
    expect(pair.replica.metric("litefs_proxy_wait_seconds")).toEqual([])
  })

  test.each([
    ["its cookie", { Cookie: `__txid=${NEXT}` }],
    ["a header", { "Litefs-Position": NEXT }],
    ["the cookie of the original", { Cookie: "__txid=0000000000000006" }],
  ])("waits for the position of %s", async (_, headers) => {
    await using pair = await Pair.open()
    const answer = ask(pair.replica, "/", { headers })
    await waiting(pair.replica)
    pair.replica.cluster.move("b.db", 9n)
    await waiting(pair.replica)
    expect(pair.requests).toEqual([])
    pair.replica.cluster.move("a.db", 6n)
    expect((await answer).text).toBe("the replica")
    expect(pair.replica.metric("litefs_proxy_wait_seconds").at(-1)).toBe(
      '_count{"reason":"position","result":"reached"} 1',
    )
  })

  test("waits for every database that it names", async () => {
    await using pair = await Pair.open({ databases: ["a.db", "b b.db"] })
    const token = `${NEXT}&0000000000000001-1-0000000000000007-b%20b.db`
    const answer = ask(pair.replica, "/", withCookie(token))
    await waiting(pair.replica)
    pair.replica.cluster.move("a.db", 6n)
    await waiting(pair.replica)
    pair.replica.cluster.move("b b.db", 1n, 7n)
    expect((await answer).text).toBe("the replica")
  })

  test("waits for another history with the same TXID, or a higher one", async () => {
    await using pair = await Pair.open()
    const other = ask(pair.replica, "/", withCookie("0000000000000005-1-0000000000000001-a.db"))
    const newer = ask(pair.replica, "/", withCookie("0000000000000002-2-0000000000000001-a.db"))
    await waiting(pair.replica, 2)
    pair.replica.cluster.move("a.db", 5n, 1n)
    expect((await other).text).toBe("the replica")
    await waiting(pair.replica, 1)
    pair.replica.cluster.set({ epoch: 2n })
    expect((await newer).text).toBe("the replica")
  })

  test("is served by the primary when its position does not come in time", async () => {
    await using pair = await Pair.open({ readTimeoutMs: 20 })
    pair.primary.cluster.move("a.db", 6n)
    expect((await ask(pair.replica, "/", withCookie(NEXT))).text).toBe("the primary")
    expect(pair.requests[0]).toContain("\r\nX-Forwarded-For: 127.0.0.1, 127.0.0.1\r\n")
  })

  test("that the primary does not answer is served here when the position comes after all", async () => {
    await using pair = await Pair.open({ readTimeoutMs: 1 })
    pair.replica.cluster.set({ primaryName: undefined, primaryProxyUrl: undefined })
    const answer = ask(pair.replica, "/", withCookie(NEXT))
    const isLate = () => pair.replica.metric("litefs_proxy_wait_seconds").join().includes("late")
    await until("it is late", isLate, { everyMs: 1 })
    await waiting(pair.replica)
    pair.replica.cluster.move("a.db", 6n)
    expect((await answer).text).toBe("the replica")
  })

  test("fails with 504 only when there is no primary either", async () => {
    await using pair = await Pair.open({ readTimeoutMs: 1, redirectTimeoutMs: 1 })
    pair.replica.cluster.set({ primaryName: undefined, primaryProxyUrl: undefined })
    const { status, headers } = await ask(pair.replica, "/", withCookie(NEXT))
    expect([status, headers.get("retry-after")]).toEqual([504, "1"])
  })

  test("for a primary without a proxy is 502, and says so", async () => {
    await using pair = await Pair.open({ redirectTimeoutMs: 1 })
    pair.replica.cluster.set({ primaryName: "node-p", primaryProxyUrl: undefined })
    const { status, text } = await ask(pair.replica, "/", { method: "POST" })
    expect([status, text]).toEqual([
      502,
      "Proxy error: the primary, node-p, has no proxy, start it with --proxy-addr\n",
    ])
  })

  test("of a path that is always forwarded goes to the primary", async () => {
    await using pair = await Pair.open({ alwaysForward: ["/admin/*"] })
    expect((await ask(pair.replica, "/admin/x?y")).text).toBe("the primary")
    expect((await ask(pair.replica, "/adm%69n/x")).text).toBe("the primary")
    expect((await ask(pair.replica, "/admin?/admin/x")).text).toBe("the replica")
  })

  test("ends its wait when its client goes", async () => {
    await using pair = await Pair.open()
    const client = await pair.replica.client()
    client.write(`GET / HTTP/1.1\r\nHost: a\r\nCookie: __txid=${NEXT}\r\n\r\n`)
    await waiting(pair.replica, 1)
    client.destroy()
    await waiting(pair.replica, 0)
    expect(pair.requests).toEqual([])
  })
})

describe("a write on a replica", () => {
  test.each(["POST", "PUT", "PATCH", "DELETE", "PROPFIND"])(
    "%s is done by the primary, and its client reads it everywhere",
    async (method) => {
      await using pair = await Pair.open()
      const { text, headers } = await ask(pair.replica, "/commit", { method, body: "some" })
      expect(text).toBe("the primary")
      expect(pair.requests[0]).toMatch(/\r\n\r\nsome$/)
      expect(headers.get("set-cookie")).toBe(
        method === "POST" ? `__txid=${NEXT}; Path=/; Max-Age=300; HttpOnly; SameSite=Lax` : null, // this application commits in no other way
      )
      expect(pair.requests[0]).not.toContain("Litefs-Forwarded-By")
    },
  )

  test("of a passed-through path is not looked at", async () => {
    await using pair = await Pair.open({ passthrough: ["/local/*"] })
    const { text, headers } = await ask(pair.replica, "/local/x", { method: "POST" })
    expect([text, headers.get("set-cookie")]).toEqual(["the replica", null])
    pair.primary.cluster.move("a.db", 4n)
    const answer = await ask(pair.primary, "/local/commit", { method: "POST" })
    expect(answer.headers.get("set-cookie")).toBeNull()
  })

  test("waits for a primary, with its body unread", async () => {
    await using pair = await Pair.open()
    const { primaryProxyUrl } = pair.replica.cluster
    pair.replica.cluster.set({ primaryName: undefined, primaryProxyUrl: undefined })
    const body = "x".repeat(3_000_000)
    const answer = ask(pair.replica, "/", { method: "POST", body })
    await waiting(pair.replica)
    pair.replica.cluster.set({ primaryName: "node-p", primaryProxyUrl })
    expect((await answer).text).toBe("the primary")
    expect(pair.requests[0]?.length).toBeGreaterThan(body.length)
  })

  test("waits for a primary that is not reached", async () => {
    await using pair = await Pair.open()
    const { primaryProxyUrl } = pair.replica.cluster
    pair.replica.cluster.set({ primaryProxyUrl: "http://127.0.0.1:1" })
    const answer = ask(pair.replica, "/", { method: "POST", body: "some" })
    await waiting(pair.replica)
    pair.replica.cluster.set({ primaryProxyUrl })
    expect((await answer).text).toBe("the primary")
  })

  test("is done here when this node becomes the primary meanwhile", async () => {
    await using pair = await Pair.open()
    pair.replica.cluster.set({ primaryName: undefined, primaryProxyUrl: undefined })
    const answer = ask(pair.replica, "/", { method: "POST", body: "some" })
    await waiting(pair.replica)
    pair.replica.cluster.set({ isPrimary: true, primaryName: "node-r" })
    expect((await answer).text).toBe("the replica")
  })

  test("fails with 503 when no primary comes in time", async () => {
    await using pair = await Pair.open({ redirectTimeoutMs: 1 })
    pair.replica.cluster.set({ primaryName: undefined, primaryProxyUrl: undefined })
    const answer = await ask(pair.replica, "/", { method: "POST", body: "some" })
    expect([answer.status, answer.text]).toEqual([503, "Proxy error: no primary available\n"])
    expect(pair.requests).toEqual([])
  })

  test("is answered with fly-replay when asked to, and not as if it were done", async () => {
    await using pair = await Pair.open({ mode: "fly-replay", alwaysForward: ["/admin"] })
    for (const [path, method] of [
      ["/", "POST"],
      ["/admin", "GET"],
    ] as const) {
      const { status, headers } = await ask(pair.replica, path, { method })
      expect([status, headers.get("fly-replay")]).toEqual([409, "instance=node-p"])
    }
    expect(pair.requests).toEqual([])
  })

  test("to a primary whose address is this node itself ends after one hop", async () => {
    await using pair = await Pair.open({ redirectTimeoutMs: 50 })
    pair.replica.cluster.set({ primaryProxyUrl: pair.replica.url })
    const { status } = await ask(pair.replica, "/", { method: "POST", body: "some" })
    expect(status).toBe(503)
    expect(pair.requests).toEqual([])
  })

  test("to a replica that takes this one for the primary ends after one hop", async () => {
    await using pair = await Pair.open({ redirectTimeoutMs: 1000 })
    pair.primary.follow(pair.replica)
    const { status } = await ask(pair.replica, "/", { method: "POST", body: "some" })
    expect(status).toBe(503)
    expect(pair.requests).toEqual([])
    const handled = (proxy: ProxyUnderTest) =>
      proxy
        .metric("litefs_proxy_request_seconds")
        .filter((line) => line.startsWith("_count"))
        .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0)
    expect(handled(pair.replica)).toBe(1)
    expect(handled(pair.primary)).toBeWithin(1, 20) // one each 100 ms
  })

  test("breaks with the primary: 502, since nobody knows whether it was done", async () => {
    await using app = await RawServer.listen()
    await using pair = await Pair.open()
    const primaryProxyUrl = `http://127.0.0.1:${app.port}`
    pair.replica.cluster.set({ primaryProxyUrl, hostname: "n\u010aEvil: 1" })
    const answer = ask(pair.replica, "/", { method: "POST", body: "some" })
    const served = await app.connection(0)
    expect(await served.until("\r\n\r\nsome")).toContain(
      "\r\nLitefs-Forwarded-By: n%C4%8AEvil:%201\r\n",
    )
    served.socket.resetAndDestroy()
    expect((await answer).status).toBe(502)
    expect(app.connections).toHaveLength(1)
  })
})

test("a read that breaks with the primary is asked again", async () => {
  await using app = await RawServer.listen()
  await using pair = await Pair.open({ alwaysForward: ["/live"] })
  pair.replica.cluster.set({ primaryProxyUrl: `http://127.0.0.1:${app.port}` })
  const answer = ask(pair.replica, "/live")
  const first = await app.connection(0)
  await first.until("GET /live")
  first.socket.resetAndDestroy()
  const second = await app.connection(1)
  await second.until("GET /live")
  second.write(ok("found"))
  expect((await answer).text).toBe("found")
})

describe("a primary whose client has seen a newer one", () => {
  const NEWER = "0000000000000002-2-0000000000000001-a.db"
  const write = { method: "POST", body: "some", ...withCookie(NEWER) }

  test.each([
    ["read", withCookie(NEWER), 504],
    ["write", write, 503],
  ])("asks the others, and does no %s while they do not answer", async (_, init, status) => {
    await using pair = await Pair.open({ readTimeoutMs: 20, redirectTimeoutMs: 20 })
    const answer = await ask(pair.primary, "/", init)
    expect([answer.status, answer.text]).toEqual([
      status,
      "Proxy error: there is a newer primary, which this node does not know\n",
    ])
    expect(pair.requests).toEqual([])
    expect(pair.primary.cluster.asked).toBe(1)
    expect((await ask(pair.primary, "/", withCookie(NEXT))).text).toBe("the primary")
  })

  test("turns back what a replica sends on for it", async () => {
    await using pair = await Pair.open({ readTimeoutMs: 20, redirectTimeoutMs: 20 })
    expect((await ask(pair.replica, "/", write)).status).toBe(503)
    expect((await ask(pair.replica, "/", withCookie(NEWER))).status).toBe(504)
    expect(pair.requests).toEqual([])
  })

  test.each([withCookie(NEWER), write])(
    "sends it on when it has heard who that is",
    async (init) => {
      await using pair = await Pair.open()
      const answer = ask(pair.primary, "/", init)
      await waiting(pair.primary)
      pair.replica.cluster.set({ epoch: 2n, isPrimary: true, primaryName: "node-r" })
      pair.primary.cluster.set({
        isPrimary: false,
        primaryName: "node-r",
        primaryProxyUrl: pair.replica.url,
      })
      if (init !== write) pair.primary.cluster.set({ epoch: 2n }) // it has what the new one has
      expect((await answer).text).toBe(init === write ? "the replica" : "the primary")
    },
  )

  test.each([withCookie(NEWER), write])("does it when the others know of none", async (init) => {
    await using pair = await Pair.open()
    const answer = ask(pair.primary, "/", init)
    await waiting(pair.primary)
    pair.primary.cluster.set({ isConfirmed: true })
    expect((await answer).text).toBe("the primary")
  })
})

describe("a handoff", () => {
  test("holds writes on the old primary until there is a new one, which gets them", async () => {
    await using pair = await Pair.open()
    pair.primary.cluster.set({ isHandingOff: true })
    const answer = ask(pair.primary, "/", { method: "POST", body: "some" })
    await waiting(pair.primary)
    expect((await ask(pair.primary, "/")).text).toBe("the primary")
    pair.replica.cluster.set({ isPrimary: true, primaryName: "node-r" })
    pair.primary.cluster.set({
      isHandingOff: false,
      isPrimary: false,
      primaryProxyUrl: pair.replica.url,
    })
    expect((await answer).text).toBe("the replica")
  })

  test("that is called off lets them go on", async () => {
    await using pair = await Pair.open()
    pair.primary.cluster.set({ isHandingOff: true })
    const answer = ask(pair.primary, "/", { method: "POST", body: "some" })
    await waiting(pair.primary)
    pair.primary.cluster.set({ isHandingOff: false })
    expect((await answer).text).toBe("the primary")
  })

  test("turns a write back that is on its way, and it is sent to the new one, once", async () => {
    await using pair = await Pair.open()
    pair.primary.cluster.set({ isHandingOff: true })
    const answer = ask(pair.replica, "/", { method: "POST", body: "some" })
    await waiting(pair.replica)
    pair.replica.cluster.set({ isPrimary: true, primaryName: "node-r", primaryProxyUrl: undefined })
    expect((await answer).text).toBe("the replica")
    expect(pair.requests).toHaveLength(1)
    expect(pair.requests[0]).toMatch(/\r\n\r\nsome$/)
  })

  test("waits for the writes that the application does, and for nothing else", async () => {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port, {
      passthrough: ["/local"],
      alwaysForward: ["/events", "/chat"],
    })
    const begin = async (line: string) => {
      const client = await proxy.client()
      client.write(`${line} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1`)
      const served = await app.connection(app.connections.length)
      await served.until(line)
      return { client, served }
    }
    const settled = async () => (await proxy.server.settled(10)) === 0
    for (const line of ["GET /", "OPTIONS /", "POST /local"]) await begin(line)
    expect(await settled()).toBe(true)

    const events = await begin("GET /events")
    expect(await settled()).toBe(false)
    events.served.write("HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n")
    await events.client.until("data: 1")
    expect(await settled()).toBe(true)

    const chat = await begin("POST /chat") // what it stores in the end it has not stored yet
    chat.served.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
    await chat.client.until("x")
    const upload = await begin("PUT /")
    const gone = await begin("DELETE /")
    const broken = await begin("PATCH /")
    expect(await proxy.server.settled(10)).toBe(4)
    const done = proxy.server.settled(20_000)
    chat.served.write("0\r\n\r\n")
    gone.client.destroy()
    broken.served.socket.resetAndDestroy()
    expect(await Promise.race([done, Bun.sleep(50)])).toBeUndefined()
    upload.client.write("2")
    upload.served.write(ok("done"))
    expect(await done).toBe(0)
  })

  test("takes a write along that waits for an application which is not up", async () => {
    await using pair = await Pair.open()
    using proxy = new ProxyUnderTest(1) // nobody listens there
    const answer = ask(proxy, "/", { method: "POST", body: "some" })
    await Bun.sleep(50) // it has been tried, or is about to be: either way it is not done there
    proxy.cluster.set({ isHandingOff: true })
    expect(await proxy.server.settled(0)).toBe(0)
    pair.replica.cluster.set({ isPrimary: true })
    proxy.cluster.set({
      isHandingOff: false,
      isPrimary: false,
      primaryProxyUrl: pair.replica.url,
    })
    expect((await answer).text).toBe("the replica")
  })

  test.each<[string, RequestInit["body"]]>([
    ["of a known size", "#".repeat(200_000)],
    ["in chunks", new Blob(["#".repeat(200_000)]).stream()],
  ])("a large body, %s, goes to the node that takes it, and to no other", async (_, body) => {
    await using turned = await RawServer.listen(async (connection: RawSocket) => {
      await connection.until("\r\n\r\n")
      connection.write("HTTP/1.1 503 No\r\nLitefs-Not-Primary: 1\r\nContent-Length: 0\r\n\r\n")
    })
    await using app = await RawServer.listen()
    using primary = new ProxyUnderTest(app.port)
    using replica = new ProxyUnderTest(1)
    replica.follow(primary)
    replica.cluster.set({ primaryProxyUrl: `http://127.0.0.1:${turned.port}` })
    const answer = ask(replica, "/", { method: "POST", body })
    const first = await turned.connection(0)
    await first.ended()
    replica.cluster.set({ primaryProxyUrl: primary.url })
    const served = await app.connection(0)
    await served.until(() => served.text.split("#").length === 200_001)
    served.write(ok("done"))
    expect((await answer).text).toBe("done")
    expect(first.text).not.toContain("#")
    expect(served.text).not.toContain("Litefs-Body-Waits")
  })

  test("a body that a node has begun to take is not sent again: 503", async () => {
    await using turned = await RawServer.listen((connection: RawSocket) => {
      connection.write("HTTP/1.1 100 Continue\r\n\r\n")
      let size = 0
      connection.socket.on("data", (bytes) => {
        size += bytes.length
        if (size < 200_000) return
        connection.write("HTTP/1.1 503 No\r\nLitefs-Not-Primary: 1\r\nContent-Length: 0\r\n\r\n")
      })
    })
    await using pair = await Pair.open()
    pair.replica.cluster.set({ primaryProxyUrl: `http://127.0.0.1:${turned.port}` })
    const answer = ask(pair.replica, "/", { method: "POST", body: "x".repeat(200_000) })
    expect((await answer).status).toBe(503)
    expect(turned.connections).toHaveLength(1)
  })

  test("that takes longer than a write waits: 503", async () => {
    await using pair = await Pair.open({ redirectTimeoutMs: 1 })
    pair.primary.cluster.set({ isHandingOff: true })
    for (const proxy of [pair.primary, pair.replica]) {
      expect((await ask(proxy, "/", { method: "POST", body: "some" })).status).toBe(503)
    }
    expect(pair.requests).toEqual([])
  })
})

describe("on the primary", () => {
  test("a response says where the databases are when they have moved meanwhile, whatever its method", async () => {
    await using app = await RawServer.listen()
    using proxy = new ProxyUnderTest(app.port, { databases: ["a.db", "b.db"] })
    proxy.cluster.move("a.db", 0x12n, 0xabn)
    for (const method of ["GET", "POST"]) {
      const client = await proxy.client()
      client.write(
        `${method} / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nContent-Length: 0\r\n\r\n`,
      )
      const served = await app.connection(0)
      await served.until(`${method} /`)
      proxy.cluster.move("b.db", method === "GET" ? 1n : 2n, 0xcdn)
      served.write(ok("done"))
      await client.until("done")
      const token = `0000000000000012-1-00000000000000ab-a.db&000000000000000${method === "GET" ? 1 : 2}-1-00000000000000cd-b.db`
      expect(client.text).toContain(
        `\r\nSet-Cookie: __txid=${token}; Path=/; Max-Age=300; HttpOnly; SameSite=Lax; Secure\r\n`,
      )
      expect(client.text).toContain(`\r\nLitefs-Position: ${token}\r\n`)
    }
  })

  test("a client that shows a position is told one, and gets no cookie", async () => {
    await using pair = await Pair.open()
    const { headers } = await ask(pair.primary, "/", { headers: { "Litefs-Position": "" } })
    expect(headers.get("litefs-position")).toBe("0000000000000005-1-000000000000009b-a.db")
    expect(headers.get("set-cookie")).toBeNull()
  })

  test("a read never waits, and a token of what was lost is replaced", async () => {
    await using pair = await Pair.open()
    const { text, headers } = await ask(
      pair.primary,
      "/",
      withCookie("0000000000000009-1-0000000000000001-a.db"),
    )
    expect(text).toBe("the primary")
    expect(headers.get("set-cookie")).toStartWith("__txid=0000000000000005-1-")
  })

  test("a response has no cookie when nothing was written", async () => {
    await using pair = await Pair.open()
    const { headers } = await ask(pair.primary, "/", { method: "POST" })
    expect(headers.get("set-cookie")).toBeNull()
  })
})

describe("GET /litefs/health", () => {
  test.each<[number | undefined, number, string]>([
    [0, 200, "OK\n"],
    [10_000, 200, "OK\n"],
    [10_001, 503, "Replication lag exceeded\n"],
    [undefined, 503, "Not in sync yet\n"],
  ])("with a lag of %p ms it is %p", async (lagMs, status, text) => {
    await using pair = await Pair.open()
    pair.replica.cluster.set({ lagMs })
    expect(await ask(pair.replica, "/litefs/health?x")).toMatchObject({ status, text })
    expect(await ask(pair.replica, "/litefs/health", { method: "HEAD" })).toMatchObject({
      status,
      text: "",
    })
    expect(pair.requests).toEqual([])
  })
})
