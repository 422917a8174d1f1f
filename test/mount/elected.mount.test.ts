/** Nodes whose primary a store names: real nodes, a real etcd, clients in processes of their own. */
import { describe, expect } from "bun:test"
import { spawnSync } from "node:child_process"
import { mkdirSync } from "node:fs"
import { Certificates } from "../support/certificates.ts"
import {
  caughtUp,
  failureOf,
  nodeCommand,
  pos,
  type Running,
  run,
  sqlite3,
  sqlite3Command,
  start,
} from "../support/client.ts"
import { FakeConsul } from "../support/consul.ts"
import { Etcd, hasEtcd } from "../support/etcd.ts"
import { FaultProxy } from "../support/fault-proxy.ts"
import { test as mountTest } from "../support/mount-test.ts"
import { freePort, PROGRAM, Scope, type TestNode } from "../support/node.ts"
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
  const env = ["env", `LITEFS_FUSE_DIR=${replica.mount}`, `LITEFS_URL=${replica.url}`]
  run([...env, ...PROGRAM, "sql", "--with-halt-lock", "a.db", "insert into t values(2)"])
  expect(sqlite3(primary, "a.db", "select sum(x) from t")).toBe("3")
  const metrics = async (node: TestNode) => (await fetch(`${node.url}/metrics`)).text()
  const holder = `holder="node-${primary.port}"`
  expect(await metrics(primary)).toMatch(/^litefs_is_primary 1$/m)
  expect(await metrics(primary)).toMatch(/^litefs_lease_held 1$/m)
  expect(await metrics(primary)).toMatch(/^litefs_lease_left_seconds [12]\.\d+$/m)
  expect(await metrics(primary)).toContain(`litefs_lease_epoch{type="etcd",${holder}} 1`)
  expect(await metrics(replica)).toMatch(/litefs_lease_held 0\n/)
  expect(await metrics(replica)).toContain(`litefs_lease_epoch{type="etcd",${holder}} 1`)
  expect(run([...PROGRAM, "info", "--url", replica.url])).toMatch(
    /lease {4}held by node-\d+, epoch 1, in etcd:\/\/127.0.0.1:\d+\/litefs\/test/,
  )
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
    for (const [text, to, from] of [
      ["there", replica, primary],
      ["back", primary, replica],
      ["there", replica, primary],
      ["back", primary, replica],
    ] as const) {
      // The command has not ended before the node takes writes.
      run([...PROGRAM, "promote", "--url", to.url])
      expect(sqlite3(to, "a.db", `insert into t values('${text}')`)).toBe("")
      await caughtUp(to, from, "a.db")
    }
    expect(rows(replica)).toBe("before,there,back,there,back")
    expect((await info(primary))?.lease?.epoch).toBe(5)
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

interface Acknowledged {
  readonly row: string
  /** By CLOCK_MONOTONIC, which all processes share, microseconds. */
  readonly us: number
}

/** A client that inserts rows one after the other, in a process of its own, until it is told to end. */
class Writer {
  readonly #running: Running

  constructor(scope: Scope, node: TestNode, name: string) {
    const source = `
      import { setTimeout as sleep } from "node:timers/promises"
      let [d, count] = [undefined, 0]
      process.on("SIGTERM", () => process.exit(0))
      const endMs = Date.now() + 120_000
      while (Date.now() < endMs) {
        try {
          d ??= db("a.db", { timeout: 100 })
          const row = ${JSON.stringify(name)} + count++
          d.prepare("insert into t values(?)").run(row)
          console.log(row, String(process.hrtime.bigint() / 1000n))
        } catch {
          await sleep(5)
        }
        await sleep(1)
      }`
    this.#running = start(nodeCommand(node, source), { limitMs: 120_000 })
    scope.defer(() => this.#running.kill("SIGKILL"))
  }

  async end(): Promise<Acknowledged[]> {
    this.#running.kill("SIGTERM")
    const { stdout } = await this.#running.ended
    const lines = stdout
      .trim()
      .split("\n")
      .filter((line) => line !== "")
    return lines.map((line) => {
      const [row = "", us] = line.split(" ")
      return { row, us: Number(us) }
    })
  }
}

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
const FAILOVERS = Number(process.env.LITEFS_TEST_FAILOVERS ?? 3)
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

test("etcd with TLS asks for a certificate of this node, and gets it", async () => {
  await using scope = new Scope()
  const certificates = new Certificates()
  scope.defer(() => certificates[Symbol.dispose]())
  const [server, client] = [certificates.make("server"), certificates.make("client")]
  const etcd = await Etcd.start(
    scope,
    1,
    [
      ...["--cert-file", server.cert, "--key-file", server.key],
      ...["--client-cert-auth", "--trusted-ca-file", certificates.ca],
    ],
    certificates,
  )
  const lease = etcd.url().replace("etcd://", "etcd+https://")
  const bare = await scope.node({ lease, flags: CANDIDATE })
  await bare.logged(/cannot use the store of the lease.*/)
  const ca = ["--lease-tls-ca", certificates.ca]
  const own = ["--lease-tls-cert", client.cert, "--lease-tls-key", client.key]
  const node = await scope.node({ lease, flags: [...CANDIDATE, ...ca, ...own] })
  await primaryOf([node])
  expect((await info(bare))?.isPrimary).toBe(false)
}, 60_000)

/** As the original has it, but for the directories. */
const CONSUL_YML = (directory: string, port: number, consul: string) => `
fuse:
  dir: "${directory}/mnt"
data:
  dir: "${directory}/data"
http:
  addr: ":${port}"
lease:
  type: "consul"
  hostname: "node-${port}"
  advertise-url: "http://127.0.0.1:${port}"
  candidate: true
  promote: false
  reconnect-delay: "1s"
  demote-delay: "10s"
  consul:
    url: "http://:s3cret@${consul}/app"
    key: "litefs/primary"
    ttl: "10s"
    lock-delay: "1s"
`

test("A litefs.yml of the original with Consul starts as it is, and the role moves and fails over", async () => {
  await using scope = new Scope()
  const consul = await FakeConsul.start("s3cret")
  scope.defer(() => consul[Symbol.asyncDispose]())
  const begin = async (again?: TestNode) => {
    const port = again?.port ?? (await freePort())
    const directory = again?.directory ?? `${scope.directory}/n${port}`
    mkdirSync(`${directory}/mnt`, { recursive: true })
    return scope.node({ directory, port, config: CONSUL_YML(directory, port, consul.host) })
  }
  const first = await begin()
  await primaryOf([first])
  const second = await begin()
  await caughtUpWith(first, second)
  expect(consul.keys.sort()).toEqual([
    "app/litefs/primary",
    `app/litefs/primary/candidates/${(await nodeId(second)) ?? ""}`,
    "app/litefs/primary/clusterid",
    "app/litefs/primary/last",
  ])
  await first.stop()
  await primaryOf([second])
  expect(sqlite3(second, "a.db", "insert into t values('handed over')")).toBe("")
  const back = await begin(first)
  await caughtUp(second, back, "a.db")
  second.signal("SIGKILL")
  await primaryOf([back], 40_000)
  await until("it takes writes", () => tries(back, "insert into t values('after')").code === 0)
  expect(rows(back)).toBe("before,handed over,after")
  expect(consul.odd).toEqual([])
  expect(`${first.output}${second.output}${back.output}`).not.toContain("s3cret")
}, 90_000)

async function nodeId(node: TestNode): Promise<string | undefined> {
  const response = await fetch(`${node.url}/info`)
  return ((await response.json()) as { id?: string }).id
}
