/** Nodes whose primary a store names: how it becomes one, and how the role moves. Real nodes, and a real etcd. */
import { describe, expect } from "bun:test"
import { mkdirSync } from "node:fs"
import { Certificates } from "../support/certificates.ts"
import { caughtUp, run, sqlite3 } from "../support/client.ts"
import { FakeConsul } from "../support/consul.ts"
import {
  CANDIDATE,
  caughtUpWith,
  info,
  pair,
  primaryOf,
  rows,
  test,
  tries,
} from "../support/elected-cluster.ts"
import { Etcd } from "../support/etcd.ts"
import { freePort, PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { until } from "../support/until.ts"

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
  expect(await info(replica)).toMatchObject({ isPrimary: false, role: "replica" })
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
