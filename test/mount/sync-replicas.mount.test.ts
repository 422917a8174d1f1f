/**
 * `--sync-replicas`: what clients of a primary see of it. sync-failover.mount.test.ts has the failovers that lose
 * nothing.
 */
import { describe, expect, setDefaultTimeout } from "bun:test"
import { join } from "node:path"
import { PUBLISH_MS } from "../../src/peer/wal/wal-applier.ts"
import {
  caughtUp,
  failureOf,
  output,
  pos,
  run,
  sqlite3,
  sqlite3Command,
  start,
} from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, type Scope, type TestNode } from "../support/node.ts"
import { becomes, healthOf, infoOf, metricOf } from "../support/node-api.ts"
import { pair } from "../support/pair.ts"
import { testRandom } from "../support/random.ts"
import { until } from "../support/until.ts"
import { locked } from "../support/write-lock.ts"
import { someModes } from "../torture/model.ts"

setDefaultTimeout(120_000)

const MODES = someModes(testRandom())
const STRICT = ["--sync-replicas", "1"]
const QUICK = [...STRICT, "--sync-commit-timeout", "1s"]
const SQL = "create table t(x); insert into t values (1)"
const ROWS = "select group_concat(x) from t"
const LIMIT_MS = 60_000

async function acknowledging(node: TestNode, count: number): Promise<void> {
  const isSo = async () => (await infoOf(node)).sync?.acknowledging === count
  await until(`${count} replicas acknowledge`, isSo, { everyMs: 20, context: () => node.output })
}

/** Commits that are durable here, and wait; `held`: that do not count yet. */
async function waiting(node: TestNode, count = 1, what = "waiting"): Promise<void> {
  const isSo = async () => (await metricOf(node, `litefs_sync_${what}`)) === count
  await until(`${count} commits are ${what}`, isSo, { everyMs: 20, context: () => node.output })
}

interface Waiting {
  readonly client: LongClient
  /** Resolves with why the commit failed; undefined: it did not. */
  readonly ended: Promise<string | undefined>
}

/** A commit that waits for a replica, which hangs just before it: later ones would not count before it is back. */
async function commitWaits(
  scope: Scope,
  node: TestNode,
  replica: TestNode,
  sql: string,
): Promise<Waiting> {
  const client = new LongClient(scope, node, "a.db")
  await client.value("select count(*) from t")
  replica.signal("SIGSTOP")
  const committing = client.run(`db.exec(${JSON.stringify(sql)})`, LIMIT_MS)
  const ended = committing.then(
    () => undefined,
    (error: Error) => error.message,
  )
  await waiting(node)
  return { client, ended }
}

async function isOver(ended: Promise<unknown>): Promise<boolean> {
  return Promise.race([ended.then(() => true), Bun.sleep(300).then(() => false)])
}

/** Not root: when root opens a WAL, its SQLite sets the owner, for which it has to wait for a write that waits. */
function asNobody(node: TestNode, timeoutMs: number): string[] {
  const sqlite = ["sqlite3", "-cmd", `.timeout ${timeoutMs}`, `${node.mount}/a.db`]
  return ["setpriv", "--reuid=1000", "--clear-groups", ...sqlite]
}

test.each(MODES)(
  "a commit in %s mode waits for a replica that hangs, and then returns",
  async (mode) => {
    await using scope = await pair({ primary: { flags: STRICT }, mode, sql: SQL })
    const { primary, replica } = scope
    const { ended } = await commitWaits(scope, primary, replica, "insert into t values (2)")
    const before = pos(primary, "a.db") // it is in the log, and stands
    expect(await isOver(ended)).toBe(false)
    replica.signal("SIGCONT")
    expect(await ended).toBeUndefined()
    expect(pos(primary, "a.db")).toBe(before)
    await caughtUp(primary, replica, "a.db")
    expect(sqlite3(primary, "a.db", ROWS)).toBe("1,2")
  },
)

test("readers in WAL mode do not see a commit that waits, and do not wait; writers do", async () => {
  await using scope = await pair({ primary: { flags: STRICT }, mode: "wal", sql: SQL })
  const { primary, replica } = scope
  run(["chmod", "777", scope.directory, primary.directory, primary.mount])
  run(["sh", "-c", `chmod 666 '${primary.mount}'/a.db*`])
  const { ended } = await commitWaits(scope, primary, replica, "insert into t values (2)")
  expect(run(asNobody(primary, 5000), ROWS).trim()).toBe("1")
  expect(failureOf(asNobody(primary, 0), "insert into t values (3)")).toContain("locked")
  replica.signal("SIGCONT")
  expect(await ended).toBeUndefined()
  expect(run(asNobody(primary, 5000), ROWS).trim()).toBe("1,2")
})

test.each(MODES)(
  "without replicas a commit in %s mode is refused, and nothing of it is there",
  async (mode) => {
    await using scope = await pair({ primary: { flags: QUICK }, mode, sql: SQL })
    const { primary, replica } = scope
    await replica.stop()
    await acknowledging(primary, 0)
    const before = pos(primary, "a.db")
    const failure = failureOf(sqlite3Command(primary, "a.db"), "insert into t values (2)")
    expect(failure).toContain("disk I/O error")
    expect(pos(primary, "a.db")).toBe(before)
    expect(sqlite3(primary, "a.db", ROWS)).toBe("1")
    await primary.logged(/refused a commit.*waiting for 1 replica: have 0/)
    const { status, health } = await healthOf(primary)
    expect([status, health.status, health.sync?.state]).toEqual([200, "degraded", "waiting"])
    expect(health.lastProblem?.problem).toBe("waiting for 1 replica: have 0")
    const info = run([...PROGRAM, "info", "--url", primary.url])
    expect(info).toMatch(/^sync +waiting \(strict\), waiting for 1 replica: have 0$/m)

    await scope.again(replica, { follows: primary })
    await acknowledging(primary, 1)
    sqlite3(primary, "a.db", "insert into t values (3)")
    expect(sqlite3(primary, "a.db", ROWS)).toBe("1,3")
    expect((await infoOf(primary)).sync).toEqual({
      ...{ replicas: 1, mode: "strict", acknowledging: 1, state: "synchronous" },
    })
  },
)

test.each(MODES)(
  "a replica that hangs for seconds makes commits in %s mode wait before they count",
  async (mode) => {
    await using scope = await pair({ primary: { flags: STRICT }, mode, sql: SQL })
    const { primary, replica } = scope
    replica.signal("SIGSTOP")
    await acknowledging(primary, 0)
    const before = pos(primary, "a.db")
    const writer = start(sqlite3Command(primary, "a.db"), {
      input: "insert into t values (2)",
      limitMs: LIMIT_MS,
    })
    await waiting(primary, 1, "held")
    expect(pos(primary, "a.db")).toBe(before)
    replica.signal("SIGCONT")
    await output(writer)
    expect(sqlite3(primary, "a.db", ROWS)).toBe("1,2")
  },
)

test("a first commit waits for the first replica", async () => {
  await using scope = await pair({ primary: { flags: STRICT } })
  const { primary, replica } = scope
  await replica.stop()
  await acknowledging(primary, 0)
  const writer = start(sqlite3Command(primary, "a.db"), { input: SQL })
  await waiting(primary, 1, "held")
  await scope.again(replica, { follows: primary })
  await output(writer)
  expect(sqlite3(primary, "a.db", "select x from t")).toBe("1")
})

test("two replicas are two nodes, and the one that hangs is waited for", async () => {
  await using scope = await pair({ primary: { flags: ["--sync-replicas", "2"] } })
  const { primary, replica } = scope
  const input = `pragma journal_mode = wal; ${SQL}`
  const writer = start(sqlite3Command(primary, "a.db"), { input })
  await waiting(primary, 1, "held")
  const other = await scope.node({ follows: primary })
  await output(writer)
  const { ended } = await commitWaits(scope, primary, other, "insert into t values (2)")
  await caughtUp(primary, replica, "a.db")
  expect(await isOver(ended)).toBe(false)
  other.signal("SIGCONT")
  expect(await ended).toBeUndefined()
})

test.each(MODES)(
  "a client in %s mode that is killed while it waits ends, and its transaction stands",
  async (mode) => {
    await using scope = await pair({ primary: { flags: QUICK }, mode, sql: SQL })
    const { primary, replica } = scope
    const signals = ["SIGTERM", "SIGKILL"] as const
    for (const signal of signals) {
      const { client, ended } = await commitWaits(
        scope,
        primary,
        replica,
        `insert into t values ('${signal}')`,
      )
      await client.close(signal)
      expect(await ended).toContain("the client has ended")
      // The next one may not commit on what nobody has acknowledged.
      const failure = failureOf(sqlite3Command(primary, "a.db"), "insert into t values (0)")
      expect(failure).toContain("disk I/O error")
      replica.signal("SIGCONT")
      await caughtUp(primary, replica, "a.db")
      await acknowledging(primary, 1)
      sqlite3(primary, "a.db", "insert into t values (2)")
    }
    await caughtUp(primary, replica, "a.db")
    for (const node of [primary, replica]) {
      expect(sqlite3(node, "a.db", ROWS)).toBe("1,SIGTERM,2,SIGKILL,2")
    }
  },
)

test("degrade: commits go on after the timeout, and are acknowledged again when the replica is back", async () => {
  await using scope = await pair({
    primary: { flags: [...QUICK, "--sync-mode", "degrade"] },
    mode: "wal",
    sql: SQL,
  })
  const { primary, replica } = scope
  const { ended } = await commitWaits(scope, primary, replica, "insert into t values (2)")
  expect(await ended).toBeUndefined()
  sqlite3(primary, "a.db", "insert into t values (3)")
  await primary.logged(/commits.* go on without acknowledgements/)
  expect((await infoOf(primary)).sync).toMatchObject({ state: "degraded", degraded: ["a.db"] })
  expect(await metricOf(primary, "litefs_sync_degraded")).toBe(1)
  replica.signal("SIGCONT")
  const isSynchronous = async () => (await infoOf(primary)).sync?.state === "synchronous"
  await until("it is synchronous", isSynchronous, { context: () => primary.output })
  const waited = await metricOf(primary, "litefs_sync_seconds_count")
  sqlite3(primary, "a.db", "insert into t values (4)")
  expect(await metricOf(primary, "litefs_sync_seconds_count")).toBe(waited + 1)

  await replica.stop()
  await primary.logged(/msg="commits go on without acknowledgements"/)
  sqlite3(primary, "a.db", "insert into t values (5)")
  expect((await healthOf(primary)).health).toMatchObject({
    status: "degraded",
    sync: { state: "degraded", reason: "waiting for 1 replica: have 0" },
  })
})

test("an import, a new database and a drop wait, too", async () => {
  await using scope = await pair({ primary: { flags: STRICT }, mode: "wal", sql: SQL })
  const { primary, replica } = scope
  const file = join(scope.directory, "file.db")
  run(["sqlite3", file], SQL)
  const { ended } = await commitWaits(scope, primary, replica, "insert into t values (2)")
  replica.signal("SIGCONT")
  expect(await ended).toBeUndefined()
  await acknowledging(primary, 1)
  const limitMs = LIMIT_MS
  const words = [...PROGRAM, "import", "--url", primary.url, "--name", "b.db", file]
  await output(start(words, { limitMs }))
  await output(start(["sqlite3", `${primary.mount}/c.db`], { input: SQL, limitMs }))
  await output(start(["rm", `${primary.mount}/a.db`], { limitMs }))
  expect(await metricOf(primary, "litefs_sync_unacknowledged_total")).toBe(0)
  for (const database of ["b.db", "c.db"]) {
    // The replica has it durably, applied or not.
    await caughtUp(primary, replica, database)
  }
  replica.signal("SIGSTOP")
  await acknowledging(primary, 0)
  const importing = start(words, { limitMs })
  await waiting(primary, 1, "held")
  expect(failureOf(["rm", `${primary.mount}/c.db`])).toContain("Input/output error")
  expect(sqlite3(primary, "c.db", "select x from t")).toBe("1")
  replica.signal("SIGCONT")
  await output(importing)
})

test("a primary that loses its role while a commit waits says that it does not know", async () => {
  await using scope = await pair({ primary: { flags: ["--sync-replicas", "2"] } })
  const { primary, replica } = scope
  const other = await scope.node({ follows: primary })
  sqlite3(primary, "a.db", `pragma journal_mode = wal; ${SQL}`)
  const { ended } = await commitWaits(scope, primary, other, "insert into t values (2)")
  await caughtUp(primary, replica, "a.db")
  run([...PROGRAM, "promote", "--force", "--url", replica.url])
  expect(await ended).toContain("disk I/O error")
  other.signal("SIGCONT")
  expect(sqlite3(replica, "a.db", ROWS)).toBe("1,2")
  await becomes(primary, "replica")
  await caughtUp(replica, primary, "a.db")
  await until("its client has let go", () => sqlite3(primary, "a.db", ROWS) === "1,2")
})

test("what a stopped client could not publish is shown when it goes on, without another transaction", async () => {
  await using scope = await pair({ primary: { flags: ["--sync-replicas", "2"] } })
  const { primary, replica } = scope
  const other = await scope.node({ follows: primary })
  sqlite3(primary, "a.db", `pragma journal_mode = wal; ${SQL}`)
  const { client, ended } = await commitWaits(scope, primary, other, "insert into t values (2)")
  await caughtUp(primary, replica, "a.db")
  process.kill(client.pid, "SIGSTOP") // it holds WRITE
  run([...PROGRAM, "promote", "--force", "--url", replica.url])
  await becomes(primary, "replica")
  await Bun.sleep(PUBLISH_MS + 300)
  process.kill(client.pid, "SIGCONT")
  expect(await ended).toContain("disk I/O error")
  await until("the row is shown", () => sqlite3(primary, "a.db", ROWS) === "1,2")
})

test("a primary that is stopped or killed while a commit waits has it afterwards", async () => {
  await using scope = await pair({ primary: { flags: STRICT }, mode: "wal", sql: SQL })
  const { replica } = scope
  let { primary } = scope
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    const { ended } = await commitWaits(
      scope,
      primary,
      replica,
      `insert into t values ('${signal}')`,
    )
    await primary.stop(signal)
    expect(await ended).toMatch(/disk I\/O error|the client has ended/)
    replica.signal("SIGCONT")
    primary = await scope.again(primary, { flags: STRICT })
    await acknowledging(primary, 1)
    await caughtUp(primary, replica, "a.db")
  }
  expect(sqlite3(replica, "a.db", ROWS)).toBe("1,SIGTERM,SIGKILL")
})

test("a handoff keeps what was acknowledged, and the new primary waits for replicas as well", async () => {
  const flags = [...STRICT, "--candidate"]
  await using scope = await pair({ flags, mode: "wal", sql: SQL })
  const { primary, replica } = scope
  const client = new LongClient(scope, primary, "a.db")
  const writing = client.run(
    `let last = 0; try { for (let n = 2; n < 100000; n++) { db.exec("insert into t values (" + n + ")"); last = n } } catch {}; return last`,
    LIMIT_MS,
  )
  const count = () => Number(sqlite3(primary, "a.db", "select count(*) from t"))
  await until("there are rows", () => count() > 20)
  run([...PROGRAM, "promote", "--url", replica.url])
  const last = Number(await writing)
  await caughtUp(replica, primary, "a.db")
  expect(Number(sqlite3(replica, "a.db", "select count(*) from t"))).toBe(last)
  await acknowledging(replica, 1)
  sqlite3(replica, "a.db", "insert into t values ('new')")
  await primary.stop()
  await acknowledging(replica, 0)
})

describe("on a replica", () => {
  const INSERT = (x: number) => `insert into t values (${x})`

  test.each(["wal", "delete"])(
    "a borrowed lock in %s mode: the node that writes is a replica that has it",
    async (mode) => {
      await using scope = await pair({ primary: { flags: STRICT }, mode, sql: SQL })
      const { primary, replica } = scope
      await acknowledging(primary, 1)
      for (let x = 2; x <= 4; x++) {
        run(locked(replica, ...sqlite3Command(replica, "a.db")), INSERT(x))
        expect(sqlite3(primary, "a.db", ROWS)).toEndWith(`,${x}`)
      }
      await caughtUp(primary, replica, "a.db")
    },
  )

  test("a forwarded write waits for the third node, and for one that hangs", async () => {
    const flags = ["--forward-writes", "--sync-replicas", "2"]
    await using scope = await pair({ flags })
    const { primary, replica } = scope
    const other = await scope.node({ follows: primary, flags })
    sqlite3(primary, "a.db", `pragma journal_mode = wal; ${SQL}`)
    await caughtUp(primary, replica, "a.db")
    const client = new LongClient(scope, replica, "a.db")
    const write = (x: number) =>
      client.run(`db.exec("begin immediate; ${INSERT(x)}; commit")`, LIMIT_MS)
    await write(2)
    expect(sqlite3(primary, "a.db", ROWS)).toBe("1,2")
    other.signal("SIGSTOP")
    const writing = write(3)
    await waiting(primary)
    expect(await isOver(writing)).toBe(false)
    other.signal("SIGCONT")
    await writing
    await caughtUp(primary, other, "a.db")
    expect(sqlite3(other, "a.db", ROWS)).toBe("1,2,3")
  })
})

test("flags that do not go together are refused", () => {
  const mount = (...flags: string[]) => failureOf([...PROGRAM, "mount", "--primary", ...flags])
  expect(mount("--sync-replicas", "1", "--capture", "behind")).toBe(
    "ERROR: Cannot run litefs mount: --capture behind and --sync-replicas are given, a commit that passes LiteFS cannot wait for replicas\n",
  )
  expect(mount("--sync-mode", "degrade")).toContain("no --sync-replicas, say how many")
  expect(mount("--sync-replicas", "many")).toContain("a number of replicas, 0 to 128")
})
