/** What a replica shows of the others: a primary that tells, one that does not, and one that lies. */
import { expect, test } from "bun:test"
import type { NodeAnswer } from "../../src/cluster/node-client.ts"
import type { ClusterNode } from "../../src/http/page/picture.ts"
import { PageNode, TOKEN } from "../support/page-node.ts"
import { connect, Watcher } from "../support/page-watcher.ts"
import { posOf } from "../support/status-node.ts"
import { until } from "../support/until.ts"

const TWO = {
  ...{ id: "0000000000000002", hostname: "two", url: "http://two:20202", isConnected: true },
  ...{ sinceMs: 1.6e12 - 5000, transactions: 7, databases: 3, leftOut: [], leftOutCount: 0 },
}
const ZERO = "0000000000000000"

function answer(replicas: unknown, wallMs: unknown = 1.6e12): NodeAnswer {
  return { status: 200, headers: {}, text: JSON.stringify({ wallMs, replicas }) }
}

/** A replica that is connected and in sync, and whose primary is asked once for each time that it may be. */
async function replica(): Promise<PageNode> {
  const page = await PageNode.start("replica")
  page.node.api.setPrimaryName("zero")
  await page.node.heartbeat()
  page.node.api.status.markReady()
  return page
}

/** What is shown when the first answer has come. */
async function first(page: PageNode, watcher: Watcher): Promise<readonly ClusterNode[]> {
  await watcher.next()
  await Bun.sleep(1)
  page.node.clock.advance(0)
  return (await watcher.next()).nodes ?? []
}

/** What is shown when the answers to all questions have come. */
async function shown(page: PageNode, watcher: Watcher, ms = 2000): Promise<readonly ClusterNode[]> {
  await Bun.sleep(1)
  page.node.clock.advance(ms)
  await Bun.sleep(1)
  page.node.clock.advance(1000)
  return watcher.nodesNow(page.node.nowMs)
}

test("GET /nodes of a primary tells of its replicas, to who has the token", async () => {
  await using page = await PageNode.start()
  const { node } = page
  node.commit("a.db", 3)
  const two = connect(page, "2", { "a.db": 1 })
  connect(page, "3", { "a.db": 3 })
  const get = (init?: RequestInit) => fetch(`${page.url}/nodes`, init)
  expect((await get()).status).toBe(401)
  const ask = () => get({ headers: { Authorization: `Bearer ${TOKEN}` } })
  const answered = await ask()
  expect(answered.status).toBe(200)
  const told = await answered.json()
  expect(told).toEqual({
    wallMs: node.nowMs,
    replicas: [
      {
        ...{ id: "0000000000000002", hostname: "2", url: "http://2", isConnected: true },
        ...{
          sinceMs: node.nowMs,
          silentMs: null,
          transactions: 2,
          databases: 1,
          leftOut: [],
          leftOutCount: 0,
        },
      },
      expect.objectContaining({ hostname: "3", transactions: 0 }),
    ],
  })
  // It is made once in a while, and tells who is away.
  node.commit("a.db", 4)
  expect(await (await ask()).json()).toEqual(told)
  node.streams.delete(two)
  node.clock.advance(1000)
  const { replicas } = (await (await ask()).json()) as { replicas: unknown[] }
  expect(replicas).toMatchObject([
    { hostname: "3", transactions: 1 },
    { hostname: "2", isConnected: false, transactions: null },
  ])
})

test("GET /nodes is as long as a replica takes, however long the names are", async () => {
  await using page = await PageNode.start()
  for (let count = 0; count < 300; count++) connect(page, `${count}`.padStart(400, "x"), {})
  const headers = { Authorization: `Bearer ${TOKEN}` }
  const text = await (await fetch(`${page.url}/nodes`, { headers })).text()
  expect(text.length).toBeLessThanOrEqual(128 * 1024)
  expect(JSON.parse(text).replicas.length).toBeGreaterThan(100)
})

test("GET /nodes of a replica is refused", async () => {
  await using page = await PageNode.start("replica")
  const headers = { Authorization: `Bearer ${TOKEN}` }
  const refused = await fetch(`${page.url}/nodes`, { headers })
  expect([refused.status, await refused.text()]).toEqual([
    503,
    "Cannot tell of replicas: this node is a replica, its primary knows them\n",
  ])
})

test("a replica shows the others, asks for them only while it is watched, and in its own time", async () => {
  await using page = await replica()
  const { node } = page
  const own = { ...TWO, id: "00000000000000AB", hostname: "one" }
  const three = { ...TWO, id: "0000000000000003", hostname: "three", isConnected: false }
  page.answer = async () => answer([own, TWO, three])
  node.clock.advance(60_000)
  await node.heartbeat()
  expect(page.askCount).toBe(0)
  await using watcher = new Watcher(page)
  const nodes = await first(page, watcher)
  expect(nodes).toMatchObject([
    { hostname: "zero", role: "primary" },
    { hostname: "one", isThis: true },
    { ...TWO, role: "replica", isThis: false, asOfMs: null, sinceMs: node.nowMs - 5000 },
    { hostname: "three", isConnected: false },
  ])
  expect(watcher.last?.node).toMatchObject({
    knowsReplicas: true,
    findings: [
      { level: "warn", text: 'The replica "three" is no longer connected to the primary' },
    ],
  })
  // An answer that is late does not make it another time.
  page.answer = async () => answer([own, TWO, three], 1.6e12 + 3500)
  expect((await shown(page, watcher)).slice(2)).toEqual(nodes.slice(2))
  const before = page.askCount
  node.clock.advance(10_000)
  expect(page.askCount).toBeGreaterThan(before)
  await watcher[Symbol.asyncDispose]()
  await until("nobody watches", () => page.page.watcherCount === 0)
  const asked = page.askCount
  node.clock.advance(60_000)
  expect(page.askCount).toBe(asked)
})

test("what a primary has told is said to be old when it is gone, until another one tells", async () => {
  await using page = await replica()
  const { node } = page
  const four = { ...TWO, id: "0000000000000004", hostname: "four" }
  page.answer = async () => answer([TWO, four])
  await using watcher = new Watcher(page)
  expect(await first(page, watcher)).toMatchObject([{}, {}, { hostname: "two", asOfMs: null }, {}])
  const toldMs = node.nowMs
  node.api.setPrimaryName(undefined)
  const old = await shown(page, watcher)
  expect(old.slice(2)).toMatchObject([
    { hostname: "two", asOfMs: toldMs },
    { hostname: "four", asOfMs: toldMs },
  ])
  const asked = page.askCount
  node.clock.advance(60_000)
  expect(page.askCount).toBe(asked)
  // "two" has become the primary, and has not said anything yet.
  node.record = { primary: { id: TWO.id, hostname: "two" } } as typeof node.record
  page.answer = () => Promise.reject(new Error("it resets"))
  node.api.setPrimaryName("two")
  expect((await shown(page, watcher)).slice(2)).toMatchObject([
    { hostname: "four", asOfMs: toldMs },
  ])
  page.answer = async () => answer([four])
  const now = await shown(page, watcher)
  expect(now.slice(2)).toMatchObject([{ hostname: "four", asOfMs: null }])
})

test("what a primary has told is old when it is silent", async () => {
  await using page = await replica()
  page.answer = async () => answer([TWO])
  await using watcher = new Watcher(page)
  await first(page, watcher)
  page.answer = () => new Promise(() => {})
  const toldMs = page.node.nowMs
  await shown(page, watcher)
  expect((await shown(page, watcher, 20_000))[2]).toMatchObject({ hostname: "two", asOfMs: toldMs })
})

test("an answer that comes from a primary that is no longer it is not believed", async () => {
  await using page = await replica()
  const late = Promise.withResolvers<NodeAnswer>()
  page.answer = () => late.promise
  await using watcher = new Watcher(page)
  await watcher.next()
  page.node.api.setPrimaryName("other")
  page.answer = () => new Promise(() => {})
  late.resolve(answer([TWO]))
  expect(await shown(page, watcher)).toHaveLength(2)
})

test("a primary that does not tell is asked less often", async () => {
  await using page = await replica()
  await using watcher = new Watcher(page)
  await watcher.next()
  expect(await shown(page, watcher)).toHaveLength(2)
  expect(watcher.known.node).toMatchObject({ knowsReplicas: false, findings: [] })
  page.node.clock.advance(20_000)
  expect(page.askCount).toBe(1)
  page.node.clock.advance(10_000)
  expect(page.askCount).toBe(2)
})

test.each<[string, NodeAnswer]>([
  ["a list without an end", answer(Array.from({ length: 2000 }, () => TWO))],
  ["no list", answer({ length: 3, every: true, filter: "x" })],
  ["nothing", answer(null)],
  ["no JSON", { status: 200, headers: {}, text: "<html>" }],
  ["nesting", { status: 200, headers: {}, text: "[".repeat(120_000) }],
  ["no time", answer([TWO], "now")],
  ["a time that no calendar has", answer([TWO], 9e15)],
  ["an error", { status: 500, headers: {}, text: "" }],
])("a replica does not believe %s", async (_, told) => {
  await using page = await replica()
  page.answer = async () => told
  await using watcher = new Watcher(page)
  await watcher.next()
  expect(await shown(page, watcher)).toHaveLength(2)
  expect(watcher.known.node).toMatchObject({ knowsReplicas: false })
})

test.each<[string, unknown]>([
  ["nothing", null],
  ["a name without an end", { ...TWO, hostname: "x".repeat(256) }],
  ["no name", { ...TWO, hostname: undefined }],
  ["an id that is none", { ...TWO, id: ZERO.slice(1) }],
  ["a script for an address", { ...TWO, url: "javascript:alert(1)" }],
  ["a path in an address", { ...TWO, url: "http://two:20202/promote" }],
  ["an address without an end", { ...TWO, url: `http://${"x".repeat(400)}` }],
  ["a negative count", { ...TWO, transactions: -1 }],
  ["a count beyond all numbers", { ...TWO, databases: 2 ** 53 }],
  ["a text for a count", { ...TWO, leftOutCount: "<b>" }],
  ["a time of no calendar", { ...TWO, sinceMs: 8.65e15 }],
  ["more names than there are to be", { ...TWO, leftOut: ["a", "b", "c", "d"] }],
  ["names that are none", { ...TWO, leftOut: [{}] }],
  ["itself", { ...TWO, id: "00000000000000AB" }],
])("a replica leaves out %s in a list", async (_, wrong) => {
  await using page = await replica()
  page.answer = async () => answer([wrong, TWO])
  await using watcher = new Watcher(page)
  const nodes = await first(page, watcher)
  expect(nodes.map(({ hostname }) => hostname)).toEqual(["zero", "one", "two"])
})

test("a node that becomes the primary knows its replicas itself", async () => {
  await using page = await PageNode.start()
  page.node.positions.write(
    page.node.positions.add("a.db"),
    {
      ...{ pos: posOf(1), timestampMs: page.node.nowMs, pageSize: 4096, commit: 1 },
    },
    posOf(1),
  )
  page.answer = async () => answer([TWO])
  await using watcher = new Watcher(page)
  const { nodes, node } = await watcher.next()
  expect([nodes?.length, node?.knowsReplicas]).toEqual([1, true])
  page.node.clock.advance(10_000)
  expect(page.askCount).toBe(0)
})
