/** Nodes whose primary a store names: real nodes, a real etcd, clients in processes of their own. */
import { describe, expect } from "bun:test"
import { spawnSync } from "node:child_process"
import { caughtUp, pos, run, sqlite3, sqlite3Command, start } from "../support/client.ts"
import { Etcd, hasEtcd } from "../support/etcd.ts"
import { test as mountTest } from "../support/mount-test.ts"
import { PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { until } from "../support/until.ts"

const test = hasEtcd ? mountTest : mountTest.skip
const CANDIDATE = ["--candidate"]

interface Info {
  readonly isPrimary: boolean
  readonly leaseStore?: {
    readonly isHeld: boolean
    readonly holder: string | null
    readonly leftMs: number
  }
  readonly lease?: { readonly epoch: number; readonly primary: { readonly hostname: string } }
}

async function info(node: TestNode): Promise<Info | undefined> {
  try {
    const response = await fetch(`${node.url}/info`, { signal: AbortSignal.timeout(2000) })
    return (await response.json()) as Info
  } catch {
    return undefined
  }
}

/** The one of the nodes that is the primary. */
async function primaryOf(nodes: readonly TestNode[], limitMs = 20_000): Promise<TestNode> {
  const look = async () => {
    const infos = await Promise.all(nodes.map(info))
    const primaries = nodes.filter((_, index) => infos[index]?.isPrimary === true)
    expect(primaries.length).toBeLessThan(2)
    return primaries[0] !== undefined && primaries[0]
  }
  const context = () => nodes.map(({ output }) => output).join("\n---\n")
  return until("a node is the primary", look, { limitMs, everyMs: 50, context })
}

test("Two candidates at once become one primary and its replica", async () => {
  await using scope = new Scope()
  const etcd = await Etcd.start(scope)
  const nodes = await Promise.all(
    [0, 1].map(() => scope.node({ lease: etcd.url(), flags: CANDIDATE })),
  )
  const primary = await primaryOf(nodes)
  const replica = nodes.find((each) => each !== primary) as TestNode
  sqlite3(primary, "a.db", "create table t(x); insert into t values(1)")
  await caughtUp(primary, replica, "a.db")
  expect(sqlite3(replica, "a.db", "select x from t")).toBe("1")
}, 60_000)

/** A primary and a replica of it that have a row, both candidates. */
async function pair(scope: Scope, etcd: Etcd, ttl = "3s") {
  const lease = etcd.url("litefs/test", ttl)
  const first = await scope.node({ lease, flags: CANDIDATE })
  const primary = await primaryOf([first])
  const replica = await scope.node({ lease, flags: CANDIDATE })
  await caughtUpWith(primary, replica)
  return { lease, primary, replica }
}

async function caughtUpWith(primary: TestNode, replica: TestNode) {
  const sql = "create table if not exists t(x); insert into t values('before')"
  await until("it takes writes", () => tries(primary, sql).code === 0)
  await caughtUp(primary, replica, "a.db")
}

function tries(node: TestNode, sql: string): { code: number | null; text: string } {
  const [program = "", ...args] = sqlite3Command(node, "a.db")
  const { status, stdout, stderr } = spawnSync(program, args, {
    ...{ input: sql, encoding: "utf8", timeout: 20_000 },
  })
  return { code: status, text: `${stdout}${stderr}`.trim() }
}

const rows = (node: TestNode) => sqlite3(node, "a.db", "select group_concat(x) from t")

/** Its answer, when it says that this node holds the lease or not. */
async function untilHeld(node: TestNode, isHeld: boolean): Promise<void> {
  const look = async () => (await info(node))?.leaseStore?.isHeld === isHeld
  const context = () => node.output
  await until(`the lease is ${isHeld ? "" : "not "}held`, look, { everyMs: 50, context })
}

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
  primary.signal("SIGSTOP")
  const writes = ["during 1", "during 2"].map((text) =>
    start(sqlite3Command(primary, "a.db"), { input: `insert into t values('${text}');` }),
  )
  await replica.logged(/this node is the primary/)
  await until("it takes writes", () => tries(replica, "insert into t values('after')").code === 0)
  primary.signal("SIGCONT")
  for (const write of writes) expect((await write.ended).code).not.toBe(0)
  await primary.logged(/this node is a replica/)
  await caughtUp(replica, primary, "a.db")
  expect(rows(primary)).toBe("before,after")
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
    const { primary, replica } = await pair(scope, etcd)
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

test("A wrong password is said, and the right one of a user works", async () => {
  await using scope = new Scope()
  const etcd = await Etcd.start(scope)
  await etcd.call("/v3/auth/user/add", { name: "root", password: "r00t" })
  await etcd.call("/v3/auth/role/add", { name: "root" })
  await etcd.call("/v3/auth/user/grant", { user: "root", role: "root" })
  await etcd.call("/v3/auth/enable", {})
  const url = (password: string) => etcd.url().replace("://", `://root:${password}@`)
  const wrong = await scope.node({ lease: url("nope"), flags: CANDIDATE })
  const line = await wrong.logged(/cannot use the store of the lease.*/)
  expect(line).toContain("authentication failed, invalid user ID or password")
  const right = await scope.node({ lease: url("r00t"), flags: CANDIDATE })
  await primaryOf([right])
  sqlite3(right, "a.db", "create table t(x)")
  expect(`${wrong.output}${right.output}`).not.toMatch(/nope|r00t/)
}, 60_000)

test("A node that is no candidate never takes the lease", async () => {
  await using scope = new Scope()
  const etcd = await Etcd.start(scope)
  const lease = etcd.url()
  const replica = await scope.node({ lease })
  await replica.logged(/nobody holds the lease/)
  await Bun.sleep(3000)
  expect((await info(replica))?.isPrimary).toBe(false)
  const primary = await scope.node({ lease, flags: CANDIDATE })
  await primaryOf([primary, replica])
  sqlite3(primary, "a.db", "create table t(x)")
  await caughtUp(primary, replica, "a.db")
  primary.signal("SIGKILL")
  await replica.logged(/(nobody holds the lease(.|\n)*){2}/)
  await Bun.sleep(3000)
  expect((await info(replica))?.isPrimary).toBe(false)
}, 60_000)

describe("A handoff through the store", () => {
  test("by litefs promote moves the role at once, there and back", async () => {
    await using scope = new Scope()
    const etcd = await Etcd.start(scope)
    const { primary, replica } = await pair(scope, etcd, "20s")
    run([...PROGRAM, "promote", "--url", replica.url])
    expect(sqlite3(replica, "a.db", "insert into t values('there')")).toBe("")
    await caughtUp(replica, primary, "a.db")
    run([...PROGRAM, "promote", "--url", primary.url])
    expect(sqlite3(primary, "a.db", "insert into t values('back')")).toBe("")
    await caughtUp(primary, replica, "a.db")
    expect(rows(replica)).toBe("before,there,back")
    expect((await info(primary))?.lease?.epoch).toBe(3)
  }, 60_000)

  test("by --promote at a start", async () => {
    await using scope = new Scope()
    const etcd = await Etcd.start(scope)
    const { lease, primary } = await pair(scope, etcd, "20s")
    const third = await scope.node({ lease, flags: ["--promote"] })
    await third.logged(/this node is the primary/)
    await primary.logged(/this node is a replica/)
    expect(sqlite3(third, "a.db", "insert into t values('third')")).toBe("")
  }, 60_000)

  test("by SIGTERM of the primary, long before its lease would run out", async () => {
    await using scope = new Scope()
    const etcd = await Etcd.start(scope)
    const { primary, replica } = await pair(scope, etcd, "60s")
    sqlite3(primary, "a.db", "insert into t values('last')")
    expect(await primary.stop()).toEqual({ code: 0, signal: null })
    await primaryOf([replica])
    expect(sqlite3(replica, "a.db", "insert into t values('after')")).toBe("")
    expect(rows(replica)).toBe("before,last,after")
  }, 60_000)

  test("by a primary that stops alone, to the one that comes next", async () => {
    await using scope = new Scope()
    const etcd = await Etcd.start(scope)
    const lease = etcd.url("litefs/test", "60s")
    const first = await scope.node({ lease, flags: CANDIDATE })
    await primaryOf([first])
    sqlite3(first, "a.db", "create table t(x)")
    expect(await first.stop()).toEqual({ code: 0, signal: null })
    expect([...(await etcd.content()).keys()].sort()).toEqual(["clusterid", "last"])
    const again = await scope.again(first, { lease, flags: CANDIDATE })
    await primaryOf([again])
    expect((await info(again))?.lease?.epoch).toBe(2)
  }, 60_000)
})
