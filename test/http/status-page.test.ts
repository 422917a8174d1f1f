import { describe, expect, test } from "bun:test"
import { createHash } from "node:crypto"
import type { IncomingMessage, ServerResponse } from "node:http"
import { PAGE_DOCUMENT } from "../../src/http/page/document.ts"
import { WATCHER_COUNT_MAX } from "../../src/http/page/watch-feed.ts"
import { logger } from "../../src/lib/log.ts"
import { LogLines } from "../support/log-lines.ts"
import { PageNode, TOKEN } from "../support/page-node.ts"
import { connect, Watcher } from "../support/page-watcher.ts"
import { RawSocket } from "../support/raw-socket.ts"
import { posOf } from "../support/status-node.ts"

const BROWSER = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"

describe("GET / for a browser", () => {
  test("is a page that holds nothing of the node, without the token", async () => {
    await using page = await PageNode.start()
    page.node.commit("secret.db", 1)
    const answer = await fetch(`${page.url}/`, { headers: { Accept: "text/html" } })
    expect([answer.status, answer.headers.get("content-type")]).toEqual([
      200,
      "text/html; charset=utf-8",
    ])
    const text = await answer.text()
    expect(text).toBe(PAGE_DOCUMENT)
    expect(text.length).toBeLessThan(40_000)
    expect(text).not.toMatch(/secret\.db|page\.(?:js|css)/)
    // The namespace of SVG is a name.
    const addresses = text.replaceAll("http://www.w3.org/2000/svg", "").match(/https?:\/\/\w+/g)
    expect(addresses).toBeNull()
  })

  test("runs nothing but its own script, and loads nothing", async () => {
    await using page = await PageNode.start()
    const answer = await fetch(`${page.url}/`, { headers: { Accept: "text/html" } })
    const policy = answer.headers.get("content-security-policy") ?? ""
    const text = await answer.text()
    for (const [tag, rule] of [
      ["script", "script-src"],
      ["style", "style-src"],
    ]) {
      const content = new RegExp(`<${tag}>(.*?)</${tag}>`, "s").exec(text)?.[1] ?? ""
      expect(content.length).toBeGreaterThan(1000)
      const sum = createHash("sha256").update(content).digest("base64")
      expect(policy).toContain(`${rule} 'sha256-${sum}'`)
    }
    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain("frame-ancestors 'none'")
    expect(text).not.toMatch(/ on\w+=| style=|innerHTML|insertAdjacent|document\.write|\beval\(/)
  })

  test.each([
    ["GET /", [BROWSER], 200],
    ["GET /", [BROWSER, "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"], 200],
    // A link leads there, on a page of anybody.
    [
      "GET /",
      [
        BROWSER,
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Dest: document",
      ],
      200,
    ],
    [
      "GET /",
      [BROWSER, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"],
      403,
    ],
    [
      "GET /",
      [BROWSER, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"],
      403,
    ],
    ["GET /", [BROWSER, "Origin: http://evil.example"], 403],
    ["POST /", [BROWSER, "Content-Length: 0"], 401],
    ["GET /?x", [BROWSER], 401],
    ["GET //", [BROWSER], 401],
    ["GET /info", [BROWSER], 401],
    ["GET /watch", [BROWSER], 401],
    // Other clients find what they have always found.
    ["GET /", [], 401],
    ["GET /", ["Accept: */*"], 401],
    ["GET /", ["Accept: */*", `Authorization: Bearer ${TOKEN}`], 404],
    ["GET /", ["Accept: application/json, text/htmlx", `Authorization: Bearer ${TOKEN}`], 404],
    ["HEAD /", ["Accept: */*", `Authorization: Bearer ${TOKEN}`], 404],
    // What the page asks for, and what others' pages would.
    [
      "GET /watch",
      ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: empty"],
      401,
    ],
    [
      "GET /watch",
      ["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"],
      403,
    ],
    [
      "GET /watch",
      ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"],
      403,
    ],
    [
      "GET /watch",
      ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Dest: empty", "Origin: http://localhost"],
      403,
    ],
    [
      "POST /watch",
      ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Dest: empty", "Content-Length: 0"],
      403,
    ],
    ["GET /info", ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Dest: empty"], 403],
    ["GET /export?name=/watch", ["Sec-Fetch-Site: same-origin", "Sec-Fetch-Dest: empty"], 403],
  ])("%s with %p is answered %d", async (line, fields, status) => {
    await using page = await PageNode.start()
    expect(Number((await page.ask(line, ...fields)).split(" ")[1])).toBe(status)
  })

  test("is refused under a strange name of a loopback address, as all else", async () => {
    await using page = await PageNode.start()
    const socket = await RawSocket.connect(page.port)
    socket.write(`GET / HTTP/1.1\r\nHost: evil.example\r\n${BROWSER}\r\n\r\n`)
    expect(await socket.until("\r\n\r\n")).toStartWith("HTTP/1.1 403 ")
    socket.destroy()
  })
})

describe("GET /watch", () => {
  test("begins with everything, and goes on with what has changed", async () => {
    await using page = await PageNode.start()
    const { node } = page
    node.commit("a.db", 3)
    node.commit("b.db", 7, { commit: 9 })
    const stream = connect(page, "two", { "a.db": 3, "b.db": 5 })
    node.api.status.markReady()
    node.clock.advance(2000)
    const { watcher, first } = await Watcher.open(page)
    expect(first).toMatchObject({
      event: "picture",
      wallMs: node.nowMs,
      node: { hostname: "one", role: "primary", databases: 2, size: 11 * 4096, findings: [] },
      nodes: [
        { hostname: "one", isThis: true, role: "primary" },
        { hostname: "two", isThis: false, transactions: 2, url: "http://two", isConnected: true },
      ],
      matchingCount: 2,
      samples: [{ rate: 0, lagMs: 0, unsent: 2 }],
    })
    expect(first.rows?.map(({ name }) => name)).toEqual(["b.db", "a.db"])
    node.commit("a.db", 5)
    node.clock.advance(1000)
    expect(await watcher.next()).toMatchObject({
      event: "change",
      rows: [{ name: "a.db", position: `0000000000000005/${posOf(5).checksum.toString(16)}` }],
      nodes: [{}, { transactions: 4 }],
    })
    node.clock.advance(1000)
    expect(await watcher.next()).toEqual({
      event: "change",
      wallMs: node.nowMs,
      samples: [{ wallMs: node.nowMs, rate: 1, lagMs: 0, unsent: 4 }],
    })
    node.clock.advance(1000)
    expect(await watcher.next()).toEqual({ event: "change", wallMs: node.nowMs })
    Object.assign(stream, { silentMs: 8210 })
    node.clock.advance(1000)
    const silent = await watcher.next()
    expect(silent.nodes?.[1]).toMatchObject({ isConnected: true, silentMs: 8000 })
    expect(silent.node?.findings).toMatchObject([
      {
        level: "warn",
        text: 'The replica "two" has said nothing for 8s: what it was sent may not be there',
      },
    ])
    node.streams.delete(stream)
    node.clock.advance(1000)
    const { node: facts, nodes } = await watcher.next()
    expect(facts?.findings).toMatchObject([
      {
        level: "warn",
        text: 'The replica "two" is no longer connected',
        steps: [{ command: "litefs info --url http://two" }],
      },
    ])
    expect(nodes?.[1]).toMatchObject({
      hostname: "two",
      isConnected: false,
      sinceMs: node.nowMs - 1000,
    })
    await watcher[Symbol.asyncDispose]()
  })

  test("tells a replica, its primary, and what is wrong", async () => {
    await using page = await PageNode.start("replica")
    const { node } = page
    node.api.setPrimaryName("zero")
    await node.heartbeat()
    node.api.status.markReady()
    node.remarked.set("left.db", { isArriving: false, problem: "it is damaged" })
    const { watcher, first } = await Watcher.open(page)
    expect(first.nodes).toMatchObject([
      { hostname: "zero", role: "primary", isConnected: true, url: "http://zero:20202" },
      { hostname: "one", role: "replica", isThis: true, lagMs: 0 },
    ])
    expect(first.node?.findings).toMatchObject([
      { level: "bad", text: '1 database is left out: "left.db"', cause: "it is damaged" },
    ])
    node.api.setPrimaryName(undefined)
    node.api.status.problems.begin("primary", "not connected to the primary: gone")
    node.clock.advance(1000)
    const { node: facts, nodes } = await watcher.next()
    expect(nodes?.[0]).toMatchObject({ hostname: "zero", isConnected: false })
    expect(facts).toMatchObject({ lagMs: 0, isConnected: false })
    expect(facts?.findings[0]).toMatchObject({
      level: "bad",
      text: "This replica is not connected to its primary",
      cause: "gone",
    })
    node.clock.advance(20_000)
    let lagMs: number | null | undefined
    while (lagMs !== 21_000) lagMs = (await watcher.next()).node?.lagMs
    await watcher[Symbol.asyncDispose]()
  })

  test("filters by name, and forgets what no longer belongs", async () => {
    await using page = await PageNode.start()
    for (const name of ["Users.db", "sessions.db", "user-2.db"]) page.node.commit(name, 1)
    const { watcher, first } = await Watcher.open(page, "USER")
    expect(first.rows?.map(({ name }) => name).toSorted()).toEqual(["Users.db", "user-2.db"])
    expect([first.matchingCount, first.node?.databases]).toEqual([2, 3])
    page.node.positions.free(page.node.positions.find("Users.db") as number)
    page.node.clock.advance(1000)
    expect(await watcher.next()).toMatchObject({ gone: ["Users.db"], matchingCount: 1 })
    await watcher[Symbol.asyncDispose]()
  })

  test("has the first of many databases", async () => {
    await using page = await PageNode.start()
    const { node } = page
    for (let number = 1; number <= 3000; number++) {
      const size = { pageSize: 4096, commit: 1 + (number % 1000) }
      const slot = node.positions.add(`${number}.db`)
      node.positions.write(slot, { pos: posOf(1), timestampMs: node.nowMs, ...size }, posOf(1))
    }
    node.remarked.set("7.db", { isArriving: false, problem: "it is damaged" })
    const { watcher, first } = await Watcher.open(page)
    expect([first.rows?.length, first.matchingCount]).toEqual([200, 3000])
    const names = first.rows?.map(({ name }) => name) ?? []
    expect(names.slice(0, 5)).toEqual(["7.db", "1999.db", "2999.db", "999.db", "1998.db"])
    expect(names.at(-1)).toBe("1933.db")
    await watcher[Symbol.asyncDispose]()
    const { watcher: other, first: few } = await Watcher.open(page, "299")
    expect(few.matchingCount).toBe(13)
    await other[Symbol.asyncDispose]()
  })

  test("tells the same bytes to who comes later", async () => {
    await using page = await PageNode.start()
    page.node.commit("a.db", 1)
    const { watcher, first } = await Watcher.open(page)
    const { watcher: second, first: again } = await Watcher.open(page)
    expect(again).toEqual(first)
    page.node.commit("a.db", 2)
    page.node.clock.advance(1000)
    const change = await watcher.next()
    expect(change.rows?.length).toBe(1)
    expect(await second.next()).toEqual(change)
    await watcher[Symbol.asyncDispose]()
    await second[Symbol.asyncDispose]()
  })

  test("tells what the log says, once", async () => {
    using _ = new LogLines()
    await using page = await PageNode.start()
    logger("member").warn("another node has become the primary", { primary: "</script>" })
    const { watcher, first } = await Watcher.open(page)
    expect(first.events).toMatchObject([
      { level: "warn", msg: "another node has become the primary", count: 1 },
    ])
    logger("member").info("this node is a replica")
    page.node.clock.advance(1000)
    expect((await watcher.next()).events).toMatchObject([{ msg: "this node is a replica" }])
    await watcher[Symbol.asyncDispose]()
  })

  test("looks at nothing while nobody watches", async () => {
    await using page = await PageNode.start()
    page.node.clock.advance(60_000)
    expect(page.lookCount).toBe(0)
    const { watcher } = await Watcher.open(page)
    const seen = page.lookCount
    expect(seen).toBeGreaterThan(0)
    await watcher[Symbol.asyncDispose]()
    const deadline = Date.now() + 10_000
    while (page.page.watcherCount > 0 && Date.now() < deadline) await Bun.sleep(1)
    page.node.clock.advance(60_000)
    expect(page.lookCount).toBe(seen)
    // The plots have what came meanwhile.
    const { watcher: later, first } = await Watcher.open(page)
    expect(first.samples?.length).toBeGreaterThan(20)
    await later[Symbol.asyncDispose]()
  })

  test("has room for so many, and refuses what it does not know", async () => {
    await using page = await PageNode.start()
    const watchers = []
    for (let count = 0; count < WATCHER_COUNT_MAX; count++) {
      watchers.push((await Watcher.open(page, `filter ${count}`)).watcher)
    }
    const headers = { Authorization: `Bearer ${TOKEN}` }
    const refused = await fetch(`${page.url}/watch`, { headers })
    expect([refused.status, await refused.text()]).toEqual([
      503,
      `Cannot watch this node: ${WATCHER_COUNT_MAX} others do, try again later\n`,
    ])
    for (const watcher of watchers) await watcher[Symbol.asyncDispose]()
    expect((await fetch(`${page.url}/watch?all`, { headers })).status).toBe(400)
    const long = await fetch(`${page.url}/watch?filter=${"x".repeat(256)}`, { headers })
    expect(long.status).toBe(400)
  })

  test("cuts off who does not read", async () => {
    using log = new LogLines()
    await using page = await PageNode.start()
    let isDestroyed = false
    const response = {
      on: () => {},
      writeHead: () => {},
      write: () => true,
      writableLength: 600 * 1024,
      destroy: () => {
        isDestroyed = true
      },
    } as unknown as ServerResponse
    const request = {
      headers: {},
      socket: { remoteAddress: "10.0.0.9" },
    } as unknown as IncomingMessage
    const handle = page.page.routes["/watch"]?.GET
    await handle?.(request, response, new URL("http://node/watch"))
    expect(isDestroyed).toBe(false)
    page.node.clock.advance(1000)
    expect(isDestroyed).toBe(true)
    expect(log.text).toMatch(/cut off a watcher that does not read.* from=10\.0\.0\.9/)
  })
})
