/** Nodes whose primary a store names, when something fails. Real nodes, and a real etcd. */
import { describe, expect } from "bun:test"
import { caughtUp, failureOf, pos, run, sqlite3, sqlite3Command, start } from "../support/client.ts"
import {
  CANDIDATE,
  caughtUpWith,
  info,
  pair,
  primaryOf,
  rows,
  test,
  tries,
  untilHeld,
  Writer,
} from "../support/elected-cluster.ts"
import { Etcd } from "../support/etcd.ts"
import { FaultProxy } from "../support/fault-proxy.ts"
import { PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { until } from "../support/until.ts"

async function health(node: TestNode): Promise<{ status: number; reason?: string }> {
  const response = await fetch(`${node.url}/health?role=primary`)
  return { ...((await response.json()) as object), status: response.status }
}

describe("A primary that is killed", () => {
  test("is followed by a candidate that has its rows, and comes back as its replica", async () => {
    await using scope = new Scope()
    const etcd = await Etcd.start(scope)
    const { lease, primary, replica } = await pair(scope, etcd)
    const startMs = performance.now()
    primary.signal("SIGKILL")
    await primary.exited
    await primaryOf([replica])
    await until("it takes writes", () => tries(replica, "insert into t values('after')").code === 0)
    const gapMs = performance.now() - startMs
    console.log(`no primary for ${Math.round(gapMs)} ms with a TTL of 3 s`)
    expect(gapMs).toBeLessThan(20_000)
    const back = await scope.again(primary, { lease, flags: CANDIDATE })
    await caughtUp(replica, back, "a.db")
    expect(rows(back)).toBe("before,after")
    expect((await info(back))?.lease?.epoch).toBe(2)
  }, 60_000)

  test("and started again at once, goes on with the same epoch", async () => {
    await using scope = new Scope()
    const etcd = await Etcd.start(scope)
    const { lease, primary, replica } = await pair(scope, etcd, "20s")
    primary.signal("SIGKILL")
    await primary.exited
    const back = await scope.again(primary, { lease, flags: CANDIDATE })
    await primaryOf([back, replica])
    expect(sqlite3(back, "a.db", "insert into t values('after'); select count(*) from t")).toBe("2")
    expect((await info(back))?.lease?.epoch).toBe(1)
  }, 60_000)

  test("has no successor that lacks what it had, until a person says so", async () => {
    await using scope = new Scope()
    const etcd = await Etcd.start(scope)
    const { lease, primary, replica: away } = await pair(scope, etcd)
    await away.stop()
    sqlite3(primary, "a.db", "insert into t values('alone')")
    const position = pos(primary, "a.db")
    const isTold = async () => (await etcd.content()).get("last")?.includes(position) === true
    await until("the store knows of it", isTold, { everyMs: 50 })
    primary.signal("SIGKILL")
    await primary.exited
    const replica = await scope.again(away, { lease, flags: CANDIDATE })
    await replica.logged(/this node does not take it by itself" .*the last primary had/)
    expect(tries(replica, "insert into t values('no')").code).not.toBe(0)
    expect(run([...PROGRAM, "promote", "--force", "--url", replica.url])).toContain("What node-")
    await primaryOf([replica])
    expect(sqlite3(replica, "a.db", "insert into t values('yes')")).toBe("")
    expect(rows(replica)).toBe("before,yes")
  }, 60_000)
})

test("A primary that is suspended for longer than its lease commits nothing afterwards, and follows", async () => {
  await using scope = new Scope()
  const etcd = await Etcd.start(scope)
  const { primary, replica } = await pair(scope, etcd)
  const writer = new Writer(scope, primary, "old")
  await until("a row is written", () => rows(primary).includes("old1"), { everyMs: 50 })
  primary.signal("SIGSTOP")
  const writes = ["during 1", "during 2"].map((text) =>
    start(sqlite3Command(primary, "a.db"), { input: `insert into t values('${text}');` }),
  )
  await replica.logged(/this node is the primary/)
  const later = new Writer(scope, replica, "new")
  await until("a row is written", () => rows(replica).includes("new1"), { everyMs: 50 })
  primary.signal("SIGCONT")
  for (const write of writes) expect((await write.ended).code).not.toBe(0)
  await primary.logged(/this node is a replica/)
  const [old, found] = await Promise.all([writer.end(), later.end()])
  await caughtUp(replica, primary, "a.db")
  const last = Math.max(...old.map(({ us }) => us))
  expect(Math.min(...found.map(({ us }) => us))).toBeGreaterThan(last)
  expect(rows(primary)).not.toContain("during")
  expect(tries(primary, "insert into t values('no')").code).not.toBe(0)
}, 60_000)

describe("A store that is away", () => {
  test("for less than the time of the lease changes nothing", async () => {
    await using scope = new Scope()
    const etcd = await Etcd.start(scope)
    const { primary, replica } = await pair(scope, etcd, "6s")
    etcd.signal("SIGSTOP")
    for (let count = 0; count < 10; count++) {
      sqlite3(primary, "a.db", "insert into t values('during')")
      await Bun.sleep(150)
    }
    etcd.signal("SIGCONT")
    await Bun.sleep(2000)
    sqlite3(primary, "a.db", "insert into t values('after')")
    expect((await info(primary))?.lease?.epoch).toBe(1)
    await caughtUp(primary, replica, "a.db")
  }, 60_000)

  test("for longer ends the writes of the primary, which goes on when it is back", async () => {
    await using scope = new Scope()
    const etcd = await Etcd.start(scope)
    const { primary, replica } = await pair(scope, etcd)
    await etcd.kill()
    await primary.logged(/the lease could not be renewed, this node takes no writes/)
    expect(tries(primary, "insert into t values('during')").text).toMatch(/readonly|disk I\/O/)
    expect(await health(primary)).toMatchObject({
      status: 503,
      reason: expect.stringMatching(/takes no writes: .*nothing listens there/),
    })
    const sql = "insert into t values('through a borrowed lock')"
    const env = ["env", `LITEFS_FUSE_DIR=${replica.mount}`, `LITEFS_URL=${replica.url}`]
    expect(failureOf([...env, ...PROGRAM, "sql", "--with-halt-lock", "a.db", sql])).toMatch(
      /ERROR: .*(lock|primary)/,
    )
    expect(rows(primary)).toBe("before") // it still answers readers
    await etcd.run()
    const again = await primaryOf([primary, replica])
    await untilHeld(again, true)
    await until("it takes writes", () => tries(again, "insert into t values('after')").code === 0)
    const other = again === primary ? replica : primary
    await caughtUp(again, other, "a.db")
    expect(rows(other)).toBe("before,after")
    expect(primary.output.match(/cannot use the store of the lease/g)?.length).toBe(1)
  }, 60_000)

  test("at the start is waited for, with a line that says where", async () => {
    await using scope = new Scope()
    const etcd = await Etcd.start(scope)
    await etcd.kill()
    const node = await scope.node({ lease: etcd.url(), flags: CANDIDATE })
    const line = await node.logged(/level=warn .*cannot use the store of the lease.*/)
    expect(line).toMatch(
      /store=etcd:\/\/127.0.0.1:\d+\/litefs\/test problem=.*nothing listens there/,
    )
    await Bun.sleep(1500)
    await etcd.run()
    await primaryOf([node])
    expect(node.output.match(/level=(warn|error)/g)?.length).toBe(1)
  }, 60_000)

  test("in one of three members changes nothing", async () => {
    await using scope = new Scope()
    const etcd = await Etcd.start(scope, 3)
    const { primary, replica } = await pair(scope, etcd, "8s")
    for (const member of etcd.members) {
      await member.kill()
      const endMs = performance.now() + 5000
      while (performance.now() < endMs) {
        sqlite3(primary, "a.db", "insert into t values('during')")
        await Bun.sleep(200)
      }
      member.run()
      await until("it is back", () => member.answers(), { everyMs: 100 })
    }
    await caughtUp(primary, replica, "a.db")
    expect((await info(primary))?.isPrimary).toBe(true)
  }, 90_000)
})

test("A store without a majority renews nothing, and the primary goes on when it has one again", async () => {
  await using scope = new Scope()
  const etcd = await Etcd.start(scope, 3)
  const primary = await scope.node({ lease: etcd.url(), flags: CANDIDATE })
  await primaryOf([primary])
  sqlite3(primary, "a.db", "create table t(x)")
  for (const member of etcd.members.slice(1)) member.signal("SIGSTOP")
  await primary.logged(/the lease could not be renewed, this node takes no writes/)
  expect(tries(primary, "insert into t values('during')").code).not.toBe(0)
  for (const member of etcd.members.slice(1)) member.signal("SIGCONT")
  await untilHeld(primary, true)
  await until("it takes writes", () => tries(primary, "insert into t values('after')").code === 0)
  expect(rows(primary)).toBe("after")
}, 60_000)

const allRows = (node: TestNode) => new Set(rows(node).split(","))

test("A primary that is cut off from the store stops before another starts, and no acknowledged row is lost", async () => {
  await using scope = new Scope()
  const etcd = await Etcd.start(scope)
  const proxy = await FaultProxy.start(Number(etcd.members[0]?.host.split(":")[1]))
  scope.defer(() => proxy[Symbol.asyncDispose]())
  const direct = etcd.url()
  const lease = direct.replace(/127.0.0.1:\d+/, `127.0.0.1:${proxy.port}`)
  const primary = await scope.node({ lease, flags: CANDIDATE })
  await primaryOf([primary])
  const replica = await scope.node({ lease: direct, flags: CANDIDATE })
  await caughtUpWith(primary, replica)
  const writers = [new Writer(scope, primary, "old"), new Writer(scope, replica, "new")]
  await until("a row is written", () => rows(primary).includes("old1"), { everyMs: 50 })
  proxy.hold() // nobody is told
  await replica.logged(/this node is the primary/)
  await until("a row is written", () => rows(replica).includes("new1"), { everyMs: 50 })
  proxy.heal()
  await primary.logged(/this node is a replica/)
  const [old = [], later = []] = await Promise.all(writers.map((writer) => writer.end()))
  const last = Math.max(...old.map(({ us }) => us))
  const first = Math.min(...later.map(({ us }) => us))
  console.log(`no commit for ${Math.round((first - last) / 1000)} ms with a TTL of 3 s`)
  expect(first).toBeGreaterThan(last)
  await caughtUp(replica, primary, "a.db")
  const found = allRows(replica)
  expect([...old, ...later].filter(({ row }) => !found.has(row))).toEqual([])
}, 60_000)

/** More of them with LITEFS_TEST_FAILOVERS. */
const FAILOVERS = Number(process.env.LITEFS_TEST_FAILOVERS ?? 2)

const FAILOVER_TTL = process.env.LITEFS_TEST_TTL ?? "3s"

test(
  "Failovers one after the other leave one primary that commits, and lose nothing that the other had",
  async () => {
    await using scope = new Scope()
    const etcd = await Etcd.start(scope)
    let { lease, primary, replica } = await pair(scope, etcd, FAILOVER_TTL)
    const gaps: number[] = []
    for (let round = 0; round < FAILOVERS; round++) {
      const writers = [
        new Writer(scope, primary, `old${round}.`),
        new Writer(scope, replica, `new${round}.`),
      ]
      await until("rows are written", () => rows(primary).includes(`old${round}.9`), {
        everyMs: 50,
      })
      const had = allRows(replica)
      primary.signal("SIGKILL")
      await primary.exited
      await until("rows are written", () => rows(replica).includes(`new${round}.`), {
        ...{ everyMs: 50, limitMs: 40_000, context: () => replica.output },
      })
      const [old = [], later = []] = await Promise.all(writers.map((writer) => writer.end()))
      const last = Math.max(...old.map(({ us }) => us))
      const first = Math.min(...later.map(({ us }) => us))
      expect(first).toBeGreaterThan(last)
      gaps.push(Math.round((first - last) / 1000))
      const back = await scope.again(primary, { lease, flags: CANDIDATE })
      await caughtUp(replica, back, "a.db")
      const found = allRows(back)
      expect([...had].filter((row) => !found.has(row))).toEqual([])
      expect(later.filter(({ row }) => !found.has(row))).toEqual([])
      ;[primary, replica] = [replica, back]
    }
    gaps.sort((a, b) => a - b)
    const median = gaps[Math.floor(gaps.length / 2)]
    console.log(
      `no commit for ${median} ms (median), ${gaps.at(-1)} ms (worst) in ${FAILOVERS} failovers with a TTL of ${FAILOVER_TTL}`,
    )
    expect((await info(primary))?.lease?.epoch).toBeGreaterThan(FAILOVERS)
  },
  60_000 + FAILOVERS * 30_000,
)

test("What only the killed primary had is kept as diverged when it comes back", async () => {
  await using scope = new Scope()
  const etcd = await Etcd.start(scope)
  const { lease, primary, replica: away } = await pair(scope, etcd, "8s")
  await away.stop()
  // Just after a renewal the store does not hear of it for two seconds.
  const isRenewed = async () => ((await info(primary))?.leaseStore?.leftMs ?? 0) > 7000
  await until("the lease is renewed", async () => !(await isRenewed()), { everyMs: 20 })
  await until("the lease is renewed", isRenewed, { everyMs: 20 })
  sqlite3(primary, "a.db", "insert into t values('tail')")
  primary.signal("SIGKILL")
  await primary.exited
  const replica = await scope.again(away, { lease, flags: CANDIDATE })
  await primaryOf([replica])
  await until("it takes writes", () => tries(replica, "insert into t values('after')").code === 0)
  const back = await scope.again(primary, { lease, flags: CANDIDATE })
  await caughtUp(replica, back, "a.db")
  expect(rows(back)).toBe("before,after")
  expect(run([...PROGRAM, "diverged", "list", "--data-dir", back.data])).toContain("a.db")
}, 60_000)
