/** Which node is the primary after a promotion, a stop, a start and a crash, and what becomes of what it took. */
import { expect } from "bun:test"
import { spawnSync } from "node:child_process"
import { chmodSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { caughtUp, expectSame, failureOf, run, sqlite3, sqlite3Command } from "../support/client.ts"
import { LongClient, readablePackages } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { canMount, flagsOf, PROGRAM, Scope, STRICT, type TestNode } from "../support/node.ts"
import { infoOf } from "../support/node-api.ts"
import { testRandom } from "../support/random.ts"
import { until } from "../support/until.ts"
import { promote } from "../torture/handoffs.ts"

const random = testRandom()

const CANDIDATE = ["--candidate"]
const MODES = ["wal", "delete"] as const

async function pair(scope: Scope, mode: string, flags: readonly string[] = []) {
  const primary = await scope.node({ flags })
  const replica = await scope.node({ follows: primary, flags: [...CANDIDATE, ...flags] })
  sqlite3(
    primary,
    "a.db",
    `pragma journal_mode = ${mode}; create table t(x); insert into t values(1)`,
  )
  await caughtUp(primary, replica, "a.db")
  return { primary, replica }
}

/** Starts a node again that has ended. */
function leaseOf(node: TestNode): { epoch?: number; primary?: { url: string } } {
  return JSON.parse(readFileSync(join(node.data, "lease.json"), "utf8"))
}

async function becomes(node: TestNode, role: "primary" | "replica"): Promise<void> {
  await node.logged(role === "primary" ? /this node is the primary/ : /this node is a replica/)
  expect((await infoOf(node)).role).toBe(role)
}

test.each(random.someOf(MODES))(
  "%s mode: a forced promotion takes the role, and the former primary keeps its tail as a divergence",
  async (mode) => {
    await using scope = new Scope()
    // Writers that pass are waited for (behind-roles.mount.test.ts).
    const { primary, replica: stopped } = await pair(scope, mode, flagsOf(STRICT))
    await stopped.stop()
    sqlite3(primary, "a.db", "insert into t values('tail')")
    const other = new LongClient(scope, primary, "a.db")
    await other.exec("begin immediate; insert into t values('open')")
    primary.signal("SIGSTOP")
    const replica = await scope.again(stopped, { follows: primary })
    const text = run([...PROGRAM, "promote", "--force", "--url", replica.url])
    expect(text).toContain("This node is the primary from here on")
    sqlite3(replica, "a.db", "insert into t values('new')")
    primary.signal("SIGCONT")
    await becomes(primary, "replica")
    await replica.logged(/another node has been told who is the primary/)
    await expect(other.exec("commit")).rejects.toThrow()
    await other.close()
    await caughtUp(replica, primary, "a.db")
    expect(sqlite3(replica, "a.db", "select group_concat(x) from t")).toBe("1,new")
    expect(readdirSync(join(primary.data, "diverged"))).toHaveLength(1)
    await expectSame(replica, primary, "a.db")
    expect(leaseOf(primary)).toMatchObject({ epoch: 1, primary: { url: replica.url } })
    expect(leaseOf(replica)).toMatchObject({
      epoch: 1,
      primary: { url: replica.url },
      unfenced: [],
    })
    expect(failureOf(sqlite3Command(primary, "a.db"), "insert into t values(0)")).not.toBe("")
  },
  60_000,
)

test("a forced primary that nobody can reach is believed at once where it calls", async () => {
  await using scope = new Scope()
  const { primary, replica: stopped } = await pair(scope, "wal")
  await stopped.stop()
  const flags = [...CANDIDATE, "--advertise-url", "http://127.0.0.1:1"]
  const replica = await scope.again(stopped, { follows: primary, flags })
  await promote(replica, "?force=true")
  const startMs = Date.now()
  await becomes(primary, "replica")
  expect(Date.now() - startMs).toBeLessThan(2500)
  expect(failureOf(sqlite3Command(primary, "a.db"), "insert into t values(0)")).not.toBe("")
  sqlite3(replica, "a.db", "insert into t values(2)")
  expect(statSync(join(replica.data, "clusterkey")).mode & 0o777).toBe(0o600)
}, 60_000)

test("a forced primary without the key of the cluster is believed when it says so at its address", async () => {
  await using scope = new Scope()
  const { primary, replica: stopped } = await pair(scope, "wal")
  await stopped.stop()
  primary.signal("SIGSTOP")
  rmSync(join(stopped.data, "clusterkey"))
  const replica = await scope.again(stopped, { follows: primary, flags: CANDIDATE })
  await promote(replica, "?force=true")
  primary.signal("SIGCONT")
  await becomes(primary, "replica")
  await caughtUp(replica, primary, "a.db")
  const keyOf = ({ data }: TestNode) => readFileSync(join(data, "clusterkey"), "utf8")
  await until("the old primary has the key of the new one", () => {
    return keyOf(primary) === keyOf(replica)
  })
}, 60_000)

test("a transaction that has spilled into the database file is undone when another node takes the role", async () => {
  await using scope = new Scope()
  const { primary, replica } = await pair(scope, "delete")
  const client = new LongClient(scope, primary, "a.db")
  // More pages than are held back in memory.
  await client.exec("pragma cache_size = 10; begin immediate")
  await client.exec(
    "create table big(x); with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) insert into big select randomblob(4000) from n",
  )
  await promote(replica, "?force=true")
  await becomes(primary, "replica")
  await expect(client.exec("commit")).rejects.toThrow()
  await client.close()
  sqlite3(replica, "a.db", "insert into t values(2)")
  await expectSame(replica, primary, "a.db")
  expect(sqlite3(primary, "a.db", "select group_concat(x) from t")).toBe("1,2")
  expect(readdirSync(primary.data).includes("diverged")).toBe(false)
}, 60_000)

test("a handoff is refused while a client keeps a write transaction open, and the primary goes on", async () => {
  await using scope = new Scope()
  const { primary, replica } = await pair(scope, "wal")
  const client = new LongClient(scope, primary, "a.db")
  await client.exec("begin immediate; insert into t values(2)")
  const blocker = `process ${client.pid} (node) on "node-${primary.port}"`
  const asked = promote(replica).catch((error: Error) => error.message)
  let ownRefusal = ""
  await until("the primary drains", async () => {
    ownRefusal = await promote(primary).then(
      () => "", // it is the primary still
      (error: Error) => error.message,
    )
    return ownRefusal !== ""
  })
  expect(ownRefusal).toContain(
    "this node is the primary and is handing its role over, ask again when that is over",
  )
  const refusal = await asked
  expect(refusal).toContain("a client has been in a write transaction")
  expect(JSON.stringify(refusal).replaceAll("\\", "")).toContain(blocker)
  await client.exec("commit")
  await client.close()
  sqlite3(primary, "a.db", "insert into t values(3)")
  await expectSame(primary, replica, "a.db")
  expect(leaseOf(primary).epoch).toBeUndefined()
}, 60_000)

test("a primary that is stopped hands its role over, and comes back as a replica whatever its flags say", async () => {
  await using scope = new Scope()
  const { primary, replica } = await pair(scope, "wal")
  const position = sqlite3(primary, "a.db", "insert into t values(2); select count(*) from t")
  expect(await primary.stop()).toEqual({ code: 0, signal: null })
  await becomes(replica, "primary")
  expect(sqlite3(replica, "a.db", "select count(*) from t")).toBe(position)
  sqlite3(replica, "a.db", "insert into t values(3)")
  const back = await scope.again(primary)
  await expectSame(replica, back, "a.db")
  expect((await infoOf(back)).role).toBe("replica")
  // And the other way: it is a candidate, as --primary says that it may be one.
  expect(await replica.stop()).toEqual({ code: 0, signal: null })
  await becomes(back, "primary")
  expect(sqlite3(back, "a.db", "select group_concat(x) from t")).toBe("1,2,3")
}, 60_000)

test("--promote takes the role when the node is in sync, --no-handoff-on-exit keeps it, a third node follows", async () => {
  await using scope = new Scope()
  const first = await scope.node({ flags: ["--no-handoff-on-exit"] })
  sqlite3(first, "a.db", "create table t(x); insert into t values(1)")
  const third = await scope.node({ follows: first })
  await caughtUp(first, third, "a.db")
  const second = await scope.node({
    follows: first,
    flags: ["--promote"],
    command: ["sleep", "60"],
  })
  await second.logged(/command started/)
  expect((await infoOf(second)).role).toBe("primary")
  await becomes(first, "replica")
  sqlite3(second, "a.db", "insert into t values(2)")
  await caughtUp(second, third, "a.db")
  expect((await infoOf(third)).lease?.primary.url).toBe(second.url)
  await expect(promote(third)).rejects.toThrow(/409 not eligible to become primary/)
  await promote(first)
  await first.stop()
  expect((await infoOf(second)).role).toBe("replica")
  const back = await scope.again(first)
  expect((await infoOf(back)).role).toBe("primary")
}, 60_000)

test.each(random.someOf(MODES))(
  "%s mode: a node whose database has diverged becomes the primary again, under a client that remembers the old content",
  async (mode) => {
    await using scope = new Scope()
    const { primary, replica: stopped } = await pair(scope, mode)
    const old = new LongClient(scope, primary, "a.db")
    expect(await old.rows("select x from t")).toEqual([[1]])
    await stopped.stop()
    await old.exec("insert into t values('tail')")
    primary.signal("SIGSTOP")
    const replica = await scope.again(stopped, { follows: primary, flags: CANDIDATE })
    await promote(replica, "?force=true")
    // As many changes as the tail had: the counters in both headers are the same.
    sqlite3(replica, "a.db", "insert into t values('new')")
    primary.signal("SIGCONT")
    await becomes(primary, "replica")
    await caughtUp(replica, primary, "a.db")
    expect(readdirSync(join(primary.data, "diverged"))).toHaveLength(1)
    await promote(primary)
    expect((await infoOf(primary)).role).toBe("primary")
    const rows = await old.rows("select x from t")
    expect(rows).toEqual([[1], ["new"]])
    await old.exec("insert into t values('again')")
    sqlite3(primary, "a.db", "insert into t values('last')")
    expect(await old.value("pragma integrity_check")).toBe("ok")
    await old.close()
    await expectSame(primary, replica, "a.db")
    await promote(replica)
    sqlite3(replica, "a.db", "create table u(x)")
    await expectSame(replica, primary, "a.db")
  },
  60_000,
)

/** A user who is not root, and who may look into the directory of the test. */
const NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
const canBeNobody =
  canMount &&
  spawnSync("setpriv", [...NOBODY.slice(1), "sh", "-c", "cd $0 && node -e 0", tmpdir()]).status ===
    0

test.skipIf(!canBeNobody).each([
  ["wal", "SQLITE_IOERR_WRITE"],
  ["delete", "SQLITE_IOERR_WRITE"],
])(
  "%s mode: a program that is not root writes on the connection that it has had since before the promotion",
  async (mode, code) => {
    await using scope = new Scope()
    chmodSync(scope.directory, 0o755)
    const { primary, replica } = await pair(scope, mode)
    for (const node of [primary, replica]) {
      chmodSync(node.directory, 0o755)
      run(["chmod", "777", node.mount])
      run(["sh", "-c", 'chmod 666 "$0"/a.db*', node.mount])
    }
    const packages = readablePackages(scope)
    const former = new LongClient(scope, primary, "a.db", NOBODY, packages)
    const client = new LongClient(scope, replica, "a.db", NOBODY, packages)
    await former.exec("insert into t values(2)")
    await caughtUp(primary, replica, "a.db")
    await expect(client.exec("insert into t values(0)")).rejects.toMatchObject({ code })
    expect(await client.value("select count(*) from t")).toBe(2)
    await promote(replica)
    await client.exec("insert into t values(3)")
    // It passed when it was opened, and is locked out.
    const own = mode === "wal" ? "SQLITE_BUSY" : code
    await expect(former.exec("insert into t values(0)")).rejects.toMatchObject({ code: own })
    await expectSame(replica, primary, "a.db")
    expect(await former.value("select group_concat(x) from t")).toBe("1,2,3")
    await promote(primary)
    await former.exec("insert into t values(4)")
    await expect(client.exec("insert into t values(0)")).rejects.toMatchObject({ code })
    for (const each of [former, client]) await each.close()
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)

test("databases that are new, dropped, empty or in a mode of their own come along", async () => {
  await using scope = new Scope()
  const { primary, replica } = await pair(scope, "wal")
  sqlite3(primary, "b.db", "create table t(x); insert into t values('b')")
  sqlite3(primary, "gone.db", "create table t(x)")
  await caughtUp(primary, replica, "b.db")
  await caughtUp(primary, replica, "gone.db")
  run(["rm", `${primary.mount}/gone.db`])
  run(["touch", `${primary.mount}/empty.db`])
  const switching = new LongClient(scope, primary, "b.db")
  await switching.exec(
    "pragma journal_mode = wal; insert into t values('wal'); pragma journal_mode = delete",
  )
  await promote(replica)
  sqlite3(replica, "b.db", "pragma journal_mode = wal; insert into t values('again')")
  sqlite3(replica, "gone.db", "create table other(x); insert into other values('back')")
  sqlite3(replica, "empty.db", "create table t(x); insert into t values('not any more')")
  sqlite3(replica, "c.db", "create table t(x); insert into t values('c')")
  for (const name of ["a.db", "b.db", "gone.db", "empty.db", "c.db"]) {
    await caughtUp(replica, primary, name)
    await expectSame(replica, primary, name)
  }
  expect(await switching.value("select group_concat(x) from t")).toBe("b,wal,again")
  await promote(primary)
  await switching.exec("insert into t values('back')")
  await switching.close()
  for (const name of ["a.db", "b.db", "gone.db", "empty.db", "c.db"]) {
    sqlite3(primary, name, "create table more(x)")
    await expectSame(primary, replica, name)
  }
}, 60_000)

test("nodes with a token hand over, events tell of it, and a node without the token changes nothing", async () => {
  await using scope = new Scope()
  const env = { LITEFS_AUTH_TOKEN: "a-token-of-the-cluster" }
  const headers = { Authorization: `Bearer ${env.LITEFS_AUTH_TOKEN}` }
  const primary = await scope.node({ env })
  const replica = await scope.node({ env, follows: primary, flags: CANDIDATE })
  sqlite3(primary, "a.db", "create table t(x); insert into t values(1)")
  await caughtUp(primary, replica, "a.db")
  const forged = { epoch: 9, id: "F".repeat(16), hostname: "x", url: "http://127.0.0.1:1" }
  const refused = await fetch(`${primary.url}/info`, {
    headers: { "Litefs-Lease": JSON.stringify(forged) },
  })
  expect(refused.status).toBe(401)
  const events = await fetch(`${primary.url}/events`, { headers })
  const heard = (async () => {
    for await (const part of events.body as ReadableStream<Uint8Array>) {
      const text = new TextDecoder().decode(part)
      if (text.includes(`"isPrimary":false,"hostname":"node-${replica.port}"`)) return true
    }
    return false
  })()
  run([
    "env",
    `LITEFS_AUTH_TOKEN=${env.LITEFS_AUTH_TOKEN}`,
    ...PROGRAM,
    "promote",
    "--url",
    replica.url,
  ])
  sqlite3(replica, "a.db", "insert into t values(2)")
  await expectSame(replica, primary, "a.db")
  expect(await heard).toBe(true)
}, 60_000)
