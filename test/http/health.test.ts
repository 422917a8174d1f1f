import { describe, expect, test } from "bun:test"
import { StatusNode } from "../support/status-node.ts"
import { until } from "../support/until.ts"

/** The server looks after its connections. */
const SERVER_TIMERS = 1

async function health(node: StatusNode, query = "") {
  const response = await node.get(`/health${query}`)
  const { reason } = (await response.json()) as { reason?: string }
  return { status: response.status, reason }
}

/** A replica that is in sync. */
async function syncedReplica(): Promise<StatusNode> {
  const node = await StatusNode.start("replica")
  node.api.setPrimaryName("zero")
  node.commit("a.db", 3)
  await node.heartbeat()
  node.api.status.markReady()
  return node
}

/** Until so many timers are waiting: a request has come, or has gone. */
async function timers({ clock }: StatusNode, count: number): Promise<void> {
  await until(`${count} timers`, () => clock.timerCount === SERVER_TIMERS + count, { everyMs: 1 })
}

const OK = { status: 200, reason: undefined }

test.each(["/health", "/info", "/metrics"])(
  "HEAD %s is answered as GET is, without a body",
  async (path) => {
    await using node = await StatusNode.start()
    for (const status of path === "/health" ? [503, 200] : [200]) {
      if (status === 200) node.api.status.markReady()
      const [get, head] = [await node.get(path), await node.get(path, { method: "HEAD" })]
      expect([get.status, head.status]).toEqual([status, status])
      expect(await head.text()).toBe("")
      expect(head.headers.get("content-type")).toBe(get.headers.get("content-type"))
    }
    expect((await node.get(path, { method: "PUT" })).headers.get("allow")).toBe("GET, HEAD")
  },
)

describe("GET /health", () => {
  test("is 503 until a primary is mounted", async () => {
    await using node = await StatusNode.start()
    expect(await health(node)).toEqual({ status: 503, reason: "not mounted yet" })
    node.api.status.markReady()
    expect(await health(node)).toEqual(OK)
  })

  test("is 503 until a replica has been where its primary was", async () => {
    await using node = await StatusNode.start("replica")
    expect((await health(node)).reason).toBe("not connected to the primary yet")
    node.api.setPrimaryName("zero")
    expect((await health(node)).reason).toBe("not in sync with the primary yet")
    node.api.status.markReady()
    expect(await health(node)).toEqual(OK)
  })

  test("tells a candidate what to do when the primary of its lease record is gone", async () => {
    await using node = await StatusNode.start("replica")
    const primary = { id: "00000000000000CD", hostname: "two", url: "http://two:20202" }
    node.record = { epoch: 3, primary }
    const reason =
      'not connected to the primary yet; if "two" is gone for good: litefs promote --force'
    expect((await health(node)).reason).toBe(reason)
    node.record = { epoch: 3, primary: { ...primary, id: "00000000000000AB" } }
    expect((await health(node)).reason).toBe("not connected to the primary yet")
  })

  test("tells role, readiness and lag", async () => {
    await using node = await syncedReplica()
    node.clock.advance(250.4)
    expect(await (await node.get("/health")).json()).toEqual({
      status: "ok",
      role: "replica",
      isReady: true,
      lag: { ms: 250, transactions: 0 },
    })
  })

  test("without a limit a replica that has lost its primary stays healthy", async () => {
    await using node = await syncedReplica()
    node.api.setPrimaryName(undefined)
    node.clock.advance(3_600_000)
    expect(await health(node)).toEqual(OK)
  })

  test("max-lag-ms limits the time", async () => {
    await using node = await syncedReplica()
    node.clock.advance(1500)
    expect(await health(node, "?max-lag-ms=1500")).toEqual(OK)
    const reason = "the lag is 1500 ms, over 1499 ms"
    expect(await health(node, "?max-lag-ms=1499")).toEqual({ status: 503, reason })
    await node.heartbeat()
    expect(await health(node, "?max-lag-ms=0")).toEqual(OK)
  })

  test("max-lag-tx limits the transactions that are missing", async () => {
    await using node = await syncedReplica()
    node.progress?.head("a.db", 8n)
    expect(await health(node, "?max-lag-tx=5")).toEqual(OK)
    const reason = "the lag is 5 transactions, over 4"
    expect(await health(node, "?max-lag-tx=4")).toEqual({ status: 503, reason })
  })

  test("a primary has no lag, and is no replica", async () => {
    await using node = await StatusNode.start()
    node.api.status.markReady()
    expect(await health(node, "?max-lag-ms=0&max-lag-tx=0&role=primary")).toEqual(OK)
    expect((await health(node, "?role=replica")).reason).toBe("this node is the primary")
    await using other = await syncedReplica()
    expect((await health(other, "?role=primary")).reason).toBe("this node is a replica")
    expect(await health(other, "?role=replica")).toEqual(OK)
  })

  test("several databases and positions are looked at together", async () => {
    await using node = await syncedReplica()
    expect(await health(node, "?pos=a.db=3&pos=a.db=2&db=a.db&db=a.db")).toEqual(OK)
    expect((await health(node, "?db=a.db&db=b.db")).reason).toBe('there is no database "b.db"')
    expect((await health(node, "?pos=a.db=3&pos=a.db=4")).reason).toContain("not at")
  })

  test.each([
    ["a.db=3", undefined],
    ["a.db=0000000000000003", undefined],
    ["a.db=0000000000000003/8000000000000003", undefined],
    ["a.db=2", undefined],
    ["a.db=0000000000000002/8000000000000007", undefined], // of a past that is not known here
    ["a.db=4", '"a.db" is at TXID 0000000000000003, not at 0000000000000004 yet'],
    ["a.db=000000000000000a", '"a.db" is at TXID 0000000000000003, not at 000000000000000a yet'],
    ["a.db=0000000000000003/8000000000000007", '"a.db" has another transaction 0000000000000003'],
    ["b=c.db=1", 'there is no database "b=c.db"'],
  ])("pos=%s", async (pos, reason) => {
    await using node = await syncedReplica()
    const expected = reason === undefined ? OK : { status: 503, reason }
    expect(await health(node, `?pos=${encodeURIComponent(pos)}`)).toEqual(expected)
  })

  test("synced without a wait is so when all is here that the primary had a moment ago", async () => {
    await using node = await syncedReplica()
    const reason = "not in sync with the primary yet"
    for (let count = 0; count < 5; count++) {
      node.clock.advance(1100)
      if (count > 0) await node.heartbeat()
      node.clock.advance(700)
      expect(await health(node, "?synced")).toEqual(OK)
      expect(await health(node, "?synced&wait=0")).toEqual({ status: 503, reason })
    }
    node.clock.advance(3001)
    expect(await health(node, "?synced")).toEqual({ status: 503, reason })
    await node.heartbeat()
    expect(await health(node, "?synced")).toEqual(OK)
    node.api.setPrimaryName(undefined)
    expect((await health(node, "?synced")).status).toBe(503)
  })

  test("tells which reader keeps the node waiting, wherever something is missing", async () => {
    await using node = await syncedReplica()
    const { problems } = node.api.status
    const of = (database: string, pid: number) =>
      `waiting for readers of "${database}": process ${pid} (python3)`
    problems.tell("readers", of("a.db", 7), "a.db")
    problems.tell("readers", of("b.db", 8), "b.db")
    problems.tell("readers", undefined, "b.db")
    node.clock.advance(5000)
    expect(await health(node)).toEqual(OK)
    for (const query of ["?synced", "?pos=a.db=9", "?max-lag-ms=100"]) {
      expect((await health(node, query)).reason).toEndWith(of("a.db", 7))
    }
    problems.tell("readers", undefined, "a.db")
    expect((await health(node, "?max-lag-ms=100")).reason).toBe("the lag is 5000 ms, over 100 ms")
  })

  test("synced waits for a heartbeat that is younger than the question", async () => {
    await using node = await syncedReplica()
    node.clock.advance(500)
    const reason = "not in sync with the primary yet"
    expect(await health(node, "?synced&wait=0")).toEqual({ status: 503, reason })
    const waiting = health(node, "?synced&wait=30000")
    await timers(node, 1)
    node.clock.advance(200)
    await node.heartbeat()
    expect(await waiting).toEqual(OK)
    await using primary = await StatusNode.start()
    primary.api.status.markReady()
    expect(await health(primary, "?synced")).toEqual(OK)
  })

  test("synced is not so without a primary, or while a database is missing", async () => {
    await using node = await syncedReplica()
    expect(await health(node, "?synced")).toEqual(OK)
    node.remarked.set("a.db", { isArriving: false, problem: "rotten" })
    expect(await health(node, "?synced")).toEqual(OK) // some of it is here
    node.remarked.set("b.db", { isArriving: false, problem: "rotten" })
    expect((await health(node, "?synced")).reason).toBe('"b.db" is not here: rotten')
    node.remarked.set("b.db", { isArriving: true })
    expect((await health(node, "?synced")).reason).toBe('"b.db" is on its way')
    node.remarked.clear()
    node.api.setPrimaryName(undefined)
    expect((await health(node, "?synced")).reason).toBe("not connected to the primary")
  })

  test("db is so when the database is here", async () => {
    await using node = await syncedReplica()
    node.commit("gone.db", 2, { commit: 0 })
    expect(await health(node, "?db=a.db")).toEqual(OK)
    for (const name of ["b.db", "gone.db"]) {
      const reason = `there is no database "${name}"`
      expect(await health(node, `?db=${name}`)).toEqual({ status: 503, reason })
    }
    node.remarked.set("b.db", { isArriving: true })
    expect((await health(node, "?db=b.db")).reason).toBe('"b.db" is on its way')
    node.remarked.set("b.db", { isArriving: false, problem: "rotten" })
    expect((await health(node, "?db=b.db")).reason).toBe('"b.db" is not here: rotten')
  })

  test("names what is left out and what is on its way, and is 200 all the same", async () => {
    await using node = await syncedReplica()
    node.remarked.set("b.db", { isArriving: false, problem: "rotten" })
    node.remarked.set("c.db", { isArriving: true })
    const response = await node.get("/health")
    expect(response.status).toBe(200)
    expect(await response.json()).toMatchObject({
      status: "degraded",
      leftOut: [{ name: "b.db", problem: "rotten" }],
      arriving: ["c.db"],
    })
  })

  test("waits for what is not so yet, and answers when it is", async () => {
    await using node = await syncedReplica()
    const transaction = health(node, "?pos=a.db=5&wait=30000")
    const lag = (async () => {
      node.clock.advance(5000)
      return health(node, "?max-lag-ms=100&wait=30000")
    })()
    await timers(node, 2)
    node.commit("a.db", 4)
    node.commit("a.db", 5)
    expect(await transaction).toEqual(OK)
    await node.heartbeat()
    expect(await lag).toEqual(OK)
    expect(node.clock.timerCount).toBe(SERVER_TIMERS)
  })

  test("stops waiting when the time is over, or nobody listens any more", async () => {
    await using node = await syncedReplica()
    const late = health(node, "?pos=a.db=5&wait=2000")
    await timers(node, 1)
    node.clock.advance(2000)
    expect((await late).reason).toBe(
      '"a.db" is at TXID 0000000000000003, not at 0000000000000005 yet',
    )

    const abort = new AbortController()
    const gone = node.get("/health?pos=a.db=5&wait=2000", { signal: abort.signal })
    await timers(node, 1)
    abort.abort()
    await expect(gone).rejects.toThrow()
    await timers(node, 0)
  })

  test.each([
    "?max-lag=5",
    "?max-lag-ms=",
    "?max-lag-ms=-1",
    "?max-lag-ms=1.5",
    "?max-lag-ms=1e3",
    "?max-lag-ms=5s",
    "?max-lag-ms=9999999999999999",
    "?max-lag-ms=5&max-lag-ms=6",
    "?db=a.db&db=../b.db",
    "?max-lag-tx=NaN",
    "?role=candidate",
    "?role=",
    "?pos=a.db",
    "?pos==5",
    "?pos=a.db=",
    "?pos=a.db=x",
    "?pos=a.db=12345678901234567",
    "?pos=../a.db=1",
    "?pos=a.db-wal=1",
    "?pos=%00=1",
    "?pos=%ff%fe=1%00",
    "?wait=-1",
    "?wait=10s",
    "?__proto__=1",
    "?constructor=1",
  ])("%s is 400", async (query) => {
    await using node = await syncedReplica()
    const response = await node.get(`/health${query}`)
    expect(response.status).toBe(400)
    expect(await response.text()).toMatch(/^Cannot /)
  })
})
