/** What clients and operators see of real nodes: `.lag`, `<db>-lock`, the API that tells, and its commands. */
import { describe, expect, test } from "bun:test"
import { readdirSync, statSync } from "node:fs"
import { join } from "node:path"
import { appeared } from "../support/appeared.ts"
import {
  cat,
  caughtUp,
  expectQuiet,
  expectSame,
  failureOf,
  pos,
  run,
  sqlite3,
  start,
} from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import {
  canMount,
  flagsOf,
  freePort,
  PROGRAM,
  Scope,
  STRICT,
  type TestNode,
} from "../support/node.ts"
import {
  type Event,
  eventsOf,
  getText,
  healthOf,
  infoOf,
  metricOf,
  nextEvent,
  rawStatus,
} from "../support/node-api.ts"
import { pair } from "../support/pair.ts"
import { until } from "../support/until.ts"

/** Far more than a heartbeat takes on a machine that is very busy. */
const BUSY_MS = 4000

function lagMs(node: TestNode): number {
  const text = cat(node, ".lag")
  expect(text).toMatch(/^[+]\d{9}\n$/)
  return Number(text)
}

/** Modified at, milliseconds since 1970. */
function modifiedMs(node: TestNode, name: string): number {
  return Number(run(["stat", "-c", "%.3Y", `${node.mount}/${name}`])) * 1000
}

/** Resolves when the lag is less than it was: something has come from the primary. */
async function dropOfLag(node: TestNode): Promise<void> {
  let before = lagMs(node)
  await until("the lag has fallen", () => {
    const [now, last] = [lagMs(node), before]
    before = now
    return now < last
  })
}

function commandOf(node: TestNode, ...words: string[]): string[] {
  const [name = "", ...others] = words
  return [...PROGRAM, name, "--url", node.url, ...others]
}

describe.skipIf(!canMount)("files of the mount", () => {
  test(".lag of a primary is zero, and changed now", async () => {
    await using scope = new Scope()
    const primary = await scope.node()
    expect(cat(primary, ".lag")).toBe("+000000000\n")
    const before = Date.now()
    const changed = modifiedMs(primary, ".lag")
    expect(changed).toBeGreaterThanOrEqual(before - 1000)
    expect(changed).toBeLessThanOrEqual(Date.now() + 1000)
  }, 30_000)

  test(".lag of a replica that has no primary yet is the original's", async () => {
    await using scope = new Scope()
    const url = `http://127.0.0.1:${await freePort()}`
    const replica = await scope.node({ follows: { url } })
    expect(cat(replica, ".lag")).toBe("+2147483647")
    expect(modifiedMs(replica, ".lag")).toBe(0)
  }, 30_000)

  test(".lag of a replica falls with every sign of the primary, idle and under load, grows while the primary is silent, and shrinks again", async () => {
    await using scope = await pair()
    const { primary, replica } = scope
    await until("a lag is told", () => cat(replica, ".lag").endsWith("\n"))
    for (let heartbeat = 0; heartbeat < 3; heartbeat++) await dropOfLag(replica)

    // Two databases, one of which is idle: it is the heartbeats that say that it is up to date.
    sqlite3(primary, "idle.db", "create table t(x)")
    const client = new LongClient(scope, primary, "a.db")
    await client.exec("pragma journal_mode = wal; create table t(x)")
    let isOver = false
    const load = (async () => {
      while (!isOver) await client.exec("insert into t values(randomblob(500))")
    })()
    for (let heartbeat = 0; heartbeat < 3; heartbeat++) await dropOfLag(replica)
    isOver = true
    await load
    await caughtUp(primary, replica, "a.db")

    primary.signal("SIGSTOP")
    const [lag, atMs] = [lagMs(replica), performance.now()]
    await until("the lag has grown", () => lagMs(replica) >= lag + 3000)
    expect(performance.now() - atMs).toBeGreaterThan(2900) // not faster than time
    primary.signal("SIGCONT")
    await until("the lag has fallen", () => lagMs(replica) < 2000)
  }, 60_000)

  test("the -pos file was changed when its last transaction was made, on both nodes", async () => {
    await using scope = await pair()
    const { primary, replica } = scope
    const before = Date.now()
    sqlite3(primary, "a.db", "create table t(x)")
    const after = Date.now()
    await caughtUp(primary, replica, "a.db")
    const changed = modifiedMs(primary, "a.db-pos")
    expect(changed).toBeGreaterThanOrEqual(before - 1)
    expect(changed).toBeLessThanOrEqual(after + 1)
    expect(modifiedMs(replica, "a.db-pos")).toBe(changed)
  }, 30_000)

  test("the -lock file can be locked with flock(1) on both nodes, one after the other, and its holder writes", async () => {
    await using scope = await pair({ sql: "create table t(x)" })
    const { primary, replica } = scope
    for (const node of [primary, replica]) {
      const file = `${node.mount}/a.db-lock`
      const log = join(scope.directory, `log-${node.port}`)
      const holder = start([
        "flock",
        "-F",
        file,
        "sh",
        "-c",
        'echo held >> "$0"; exec sleep 60',
        log,
      ])
      await appeared(log, /held/)
      expect((await start(["flock", "-n", "-E", "9", file, "true"]).ended).code).toBe(9)
      sqlite3(node, "a.db", "insert into t values(1)")
      const other = node === primary ? replica : primary
      const otherFile = `${other.mount}/a.db-lock`
      expect((await start(["flock", "-n", "-E", "9", otherFile, "true"]).ended).code).toBe(9)
      holder.kill("SIGKILL")
      await holder.ended
      expect((await start(["flock", "-w", "10", file, "true"]).ended).code).toBe(0)
    }
    await expectSame(primary, replica, "a.db")
    expect(failureOf(["cat", `${primary.mount}/none.db-lock`])).toContain("No such file")
  }, 30_000)
})

describe.skipIf(!canMount)("the API", () => {
  test("/events tells every transaction of the primary, and what a replica has applied, once and in order", async () => {
    await using scope = await pair({ flags: flagsOf(STRICT) })
    const { primary, replica } = scope
    await replica.logged(/msg="connected to the primary"/)
    const feeds = [await eventsOf(scope, primary), await eventsOf(scope, replica)] as const
    const [first, second] = await Promise.all(feeds.map(nextEvent))
    expect(first).toEqual({ type: "init", data: { isPrimary: true } })
    const hostname = `node-${primary.port}`
    expect(second).toEqual({ type: "init", data: { isPrimary: false, hostname } })

    const client = new LongClient(scope, primary, "a.db")
    await client.exec("pragma journal_mode = wal; create table t(x)")
    await client.run("for (let n = 0; n < 300; n++) rows('insert into t values(?)', n)")
    const last = await caughtUp(primary, replica, "a.db")
    const txidsOf = async (feed: AsyncGenerator<Event>) => {
      const txids: number[] = []
      for (;;) {
        const { type, db, data } = await nextEvent(feed)
        expect({ type, db }).toEqual({ type: "tx", db: "a.db" })
        txids.push(Number.parseInt(data.txID ?? "", 16))
        if (`${data.txID}/${data.postApplyChecksum}` === last) return txids
      }
    }
    const [made, applied] = [await txidsOf(feeds[0]), await txidsOf(feeds[1])]
    expect(made).toEqual(Array.from({ length: 302 }, (_, index) => index + 1))
    expect(applied).toEqual([...new Set(applied)].sort((a, b) => a - b))
    await primary.stop()
    const change = { type: "primaryChange", data: { isPrimary: false } }
    expect(await nextEvent(feeds[1])).toEqual(change)
  }, 60_000)

  test("/health follows the primary: stopped, continued", async () => {
    await using scope = await pair()
    const { primary, replica } = scope
    expect((await healthOf(primary, "?wait=20000")).status).toBe(200)
    expect((await healthOf(replica, "?wait=20000")).status).toBe(200)
    const limit = `?max-lag-ms=${BUSY_MS}`
    expect((await healthOf(replica, `${limit}&wait=20000`)).status).toBe(200)
    primary.signal("SIGSTOP")
    await until("it lags", async () => (await healthOf(replica, limit)).status === 503)
    const { health } = await healthOf(replica, limit)
    expect(health.reason).toMatch(/^the lag is \d+ ms, over 4000 ms$/)
    expect((await healthOf(replica)).status).toBe(200) // it serves what it has
    primary.signal("SIGCONT")
    expect((await healthOf(replica, `${limit}&wait=20000`)).status).toBe(200)
  }, 60_000)

  test("/info and /metrics tell what has happened", async () => {
    await using scope = new Scope()
    const primary = await scope.node({ flags: flagsOf(STRICT) }) // each commit is a transaction, and each write counts
    sqlite3(primary, "d.db", "create table t(x); insert into t values(1)")
    const replica = await scope.node({ follows: primary })
    await caughtUp(primary, replica, "d.db")
    const client = new LongClient(scope, primary, "w.db")
    await client.exec("pragma journal_mode = wal; create table t(x)")
    for (let n = 0; n < 10; n++) await client.exec("insert into t values(1)")
    const position = await caughtUp(primary, replica, "w.db")
    // As many files as there are transactions, or less when one is a snapshot of the first few.
    const appliedCount = () => metricOf(replica, 'litefs_db_apply_count{db="w.db"}')
    const isApplied = async () => (await metricOf(replica, 'litefs_db_lag_bytes{db="w.db"}')) === 0
    await until("it is applied", async () => (await appliedCount()) > 0 && (await isApplied()))
    expect(await appliedCount()).toBeLessThanOrEqual(12)

    for (const node of [primary, replica]) {
      const info = await infoOf(node)
      expect(info.clusterID).toMatch(/^LFSC[0-9A-F]{16}$/)
      expect(info).toMatchObject({
        isPrimary: node === primary,
        path: node.data,
        mount: node.mount,
      })
      expect(info.primary.hostname).toBe(`node-${primary.port}`)
      const databases = info.databases.map((each) => [each.name, each.position, each.journalMode])
      expect(databases).toEqual([
        ["d.db", pos(primary, "d.db"), "rollback"],
        ["w.db", position, "wal"],
      ])
    }
    const { replicas } = await infoOf(primary)
    expect(replicas).toMatchObject([{ hostname: `node-${replica.port}`, lag: { transactions: 0 } }])

    expect(await metricOf(primary, 'litefs_db_commit_count{db="w.db"}')).toBe(12)
    expect(await metricOf(primary, 'litefs_db_commit_count{db="d.db"}')).toBe(2)
    expect(await metricOf(primary, "litefs_commit_seconds_count")).toBe(14)
    expect(await metricOf(primary, "litefs_http_stream_count")).toBe(1)
    const snapshots = 'litefs_http_frame_send_count{db="d.db",type="ltx:snapshot"}'
    expect(await metricOf(primary, snapshots)).toBe(1)
    expect(await metricOf(primary, 'litefs_db_wal_write_count{db="w.db"}')).toBeGreaterThan(20)
    expect(await metricOf(primary, 'litefs_db_journal_write_count{db="d.db"}')).toBeGreaterThan(2)
    expect(await metricOf(primary, 'litefs_fuse_request_count{op="write"}')).toBeGreaterThan(40)
    expect(await metricOf(replica, 'litefs_db_snapshot_receive_count{db="d.db"}')).toBe(1)
    expect(await metricOf(replica, 'litefs_db_txid{db="w.db"}')).toBe(12)
    await client.close()
    await expectQuiet(replica, primary)
  }, 60_000)

  test("/metrics tells how many LTX files there are, once they were counted", async () => {
    const flags = ["--retention-interval", "100ms"]
    await using scope = await pair({ flags })
    const { primary, replica } = scope
    sqlite3(primary, "a.db", "create table t(x); insert into t values(1)")
    sqlite3(primary, "a.db", "insert into t values(2)")
    await caughtUp(primary, replica, "a.db")
    for (const node of [primary, replica]) {
      const directory = join(node.data, "dbs/a.db/ltx")
      const files = readdirSync(directory).map((name) => statSync(join(directory, name)).size)
      const size = files.reduce((sum, each) => sum + each)
      const name = (what: string) => `litefs_db_ltx_${what}{db="a.db"}`
      await until(
        "all are counted",
        async () => (await metricOf(node, name("count"))) === files.length,
      )
      await until("all bytes are", async () => (await metricOf(node, name("bytes"))) === size)
    }
  }, 30_000)

  test("hostile requests are refused, and change nothing", async () => {
    await using scope = new Scope()
    const primary = await scope.node()
    sqlite3(primary, "a.db", "create table t(x)")
    for (const path of [
      "/info?x",
      "/events?since=1",
      "/metrics?a=1&a=2",
      "/health?max-lag-ms=-1",
      "/health?max-lag-ms=0x10",
      "/health?wait=99999999999999999999",
      "/health?pos=..%2f..%2fetc%2fpasswd=1",
      "/health?pos=%00=1",
      `/health?pos=${"a".repeat(300)}=1`,
      "/health?__proto__=1",
    ]) {
      expect([path, await rawStatus(primary, path)]).toEqual([path, 400])
    }
    for (const path of [
      "//[",
      "//info",
      "/info/",
      "/INFO",
      "/%69nfo",
      "/../info/x",
      "/constructor",
    ]) {
      expect([path, await rawStatus(primary, path)]).toEqual([path, 404])
    }
    for (const method of ["POST", "PUT", "DELETE"]) {
      expect([method, await rawStatus(primary, "/info", method)]).toEqual([method, 405])
    }
    expect(JSON.parse(await getText(primary, "/info")).databases).toHaveLength(1)
    await expectQuiet(primary)
  }, 30_000)
})

describe.skipIf(!canMount)("commands", () => {
  test("litefs info shows both nodes", async () => {
    await using scope = await pair()
    const { primary, replica } = scope
    sqlite3(primary, "a.db", "create table t(x)")
    const position = await caughtUp(primary, replica, "a.db")
    const first = run(commandOf(primary, "info"))
    expect(first).toMatch(/^role {5}primary$/m)
    expect(first).toContain(`a.db      ${position}  rollback`)
    expect(first).toMatch(new RegExp(`^node-${replica.port} .* 0$`, "m"))
    const second = run(commandOf(replica, "info"))
    expect(second).toContain(`role     replica of node-${primary.port} at ${primary.url}\n`)
    expect(second).toContain(`a.db      ${position}  rollback`)
    expect(JSON.parse(run(commandOf(replica, "info", "--json"))).isPrimary).toBe(false)
  }, 30_000)

  test("litefs wait waits for a node that is started later, and for a transaction that is made later", async () => {
    await using scope = new Scope()
    const port = await freePort()
    const url = `http://127.0.0.1:${port}`
    const synced = start([...PROGRAM, "wait", "--url", url, "--synced"])
    const primary = await scope.node()
    sqlite3(primary, "a.db", "create table t(x)")
    const replica = await scope.node({ follows: primary, port })
    expect(await synced.ended).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^http:\S+ /),
      stderr: "",
    })
    expect(pos(replica, "a.db")).toBe(pos(primary, "a.db"))

    const later = start(commandOf(replica, "wait", "--pos", "a.db=2"))
    sqlite3(primary, "a.db", "insert into t values(1)")
    expect((await later.ended).code).toBe(0)
    expect(sqlite3(replica, "a.db", "select count(*) from t")).toBe("1")

    run(
      commandOf(primary, "wait", "--primary", "--synced", "--pos", `a.db=${pos(replica, "a.db")}`),
    )
    run([...PROGRAM, "wait", "--http", `:${port}`])
    const refused = await start(commandOf(replica, "wait", "--primary", "--timeout", "100ms")).ended
    expect(refused).toMatchObject({
      code: 1,
      stderr: "ERROR: Cannot wait over 100ms: this node is a replica\n",
    })
    const wrong = await start(commandOf(replica, "wait", "--pos", "a.db=last")).ended
    expect(wrong).toMatchObject({
      code: 2,
      stderr:
        "ERROR: Cannot use pos=a.db=last: DB=TXID expected, with the 16 hexadecimal digits of DB-pos or a decimal number\n",
    })
  }, 60_000)
})
