/** A replica that has what its primary does not have keeps it, and goes on from a snapshot. */
import { expect } from "bun:test"
import { spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { caughtUp, expectSame, pos, run, sqlite3 } from "../support/client.ts"
import { diverge } from "../support/diverge.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { testRandom } from "../support/random.ts"
import { until } from "../support/until.ts"

const random = testRandom()

const MODES = ["delete", "wal"] as const

/** More transactions make `ahead`, as many make another checksum, fewer make another history. */
const SHAPES = [
  ["ahead", 1, 3, "it is ahead of the primary"],
  ["at the same TXID with other content", 2, 2, "another transaction with this TXID"],
  ["behind on another history", 3, 1, "on another history"],
] as const

const CASES = SHAPES.flatMap((shape) =>
  random.someOf(MODES).map((mode) => [mode, ...shape] as const),
)

function inserts(count: number, word: string): string {
  return Array.from({ length: count }, () => `insert into t(x) values('${word}');`).join("\n")
}

function litefs(...args: readonly string[]): string {
  const [program, ...words] = [...PROGRAM, ...args]
  return run([program as string, ...words])
}

interface Listed {
  readonly name: string
  readonly database: string
  readonly pos: string
  readonly reason: string
}

function kept(node: TestNode): Listed[] {
  return JSON.parse(litefs("diverged", "list", "--json", "--data-dir", node.data)).histories
}

test.each(CASES)(
  "%p mode: a replica that is %s keeps its history, and clients go on with the primary's",
  async (mode, _, ours, theirs, reason) => {
    await using scope = new Scope()
    const stopped = await diverge(scope, {
      setup: `pragma journal_mode = ${mode}; create table t(id integer primary key, x);`,
      ours: inserts(ours, "ours"),
      theirs: inserts(theirs, "theirs"),
    })
    const replica = await scope.again(stopped.replica, { follows: stopped.primary })
    const before = pos(replica, "a.db")
    // With what they have read in their caches, and connections that stay.
    const client = new LongClient(scope, replica, "a.db")
    expect(await client.rows("select distinct x, count(*) from t")).toEqual([["theirs", theirs]])

    const primary = await scope.again(stopped.primary)
    await caughtUp(primary, replica, "a.db")
    expect(await client.rows("select distinct x, count(*) from t")).toEqual([["ours", ours]])
    sqlite3(primary, "a.db", inserts(1, "later"))
    await expectSame(primary, replica, "a.db")
    expect(await client.value("select count(*) from t where x = 'later'")).toBe(1)
    expect(await client.value("pragma integrity_check")).toBe("ok")
    await client.close()
    await replica.logged(/has diverged from the primary's/)
    await replica.stop()

    const [history, ...others] = kept(replica)
    expect(others).toEqual([])
    expect(history).toMatchObject({ database: "a.db", pos: before })
    expect(history?.reason).toContain(reason)
    const path = join(scope.directory, "kept.db")
    litefs("diverged", "export", "--data-dir", replica.data, history?.name ?? "", path)
    const rows = run([
      "sqlite3",
      path,
      "select distinct x, count(*) from t; pragma integrity_check",
    ])
    expect(rows).toBe(`theirs|${theirs}\nok\n`)
  },
  60_000,
)

test.each(random.someOf(MODES))(
  "%p mode: a client that has the old schema in mind finds the new one, though its cookie is the same",
  async (mode) => {
    await using scope = new Scope()
    const stopped = await diverge(scope, {
      setup: `pragma journal_mode = ${mode}; create table t(x); insert into t values('both');`,
      ours: "create table one(a); insert into one values(1);",
      theirs: "create table two(a, b); insert into two values(2, 2);",
    })
    const replica = await scope.again(stopped.replica, { follows: stopped.primary })
    const client = new LongClient(scope, replica, "a.db")
    expect(await client.rows("select * from two")).toEqual([[2, 2]])
    const primary = await scope.again(stopped.primary)
    await caughtUp(primary, replica, "a.db")
    const cookies = [primary, replica].map((node) => sqlite3(node, "a.db", "pragma schema_version"))
    expect(await client.rows("select * from one")).toEqual([[1]])
    await expect(client.rows("select * from two")).rejects.toThrow(/no such table: two/)
    expect(cookies[0]).not.toBe(cookies[1])
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)

test.each(random.someOf(MODES))(
  "%p mode: a reader in a transaction reads the old content to its end, and then the new",
  async (mode) => {
    await using scope = new Scope()
    const stopped = await diverge(scope, {
      setup: `pragma journal_mode = ${mode}; create table t(x);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000)
        insert into t select hex(randomblob(500)) from n;`,
      ours: "update t set x = 'ours';",
      theirs: "update t set x = 'theirs';",
    })
    const replica = await scope.again(stopped.replica, { follows: stopped.primary })
    const reader = new LongClient(scope, replica, "a.db")
    await reader.exec("begin; select min(rowid) from t")
    const primary = await scope.again(stopped.primary)
    await primary.logged(/msg="sending snapshot"/)
    expect(await reader.rows("select x, count(*) from t group by x")).toEqual([["theirs", 3000]])
    await reader.exec("commit")
    await caughtUp(primary, replica, "a.db")
    expect(await reader.rows("select x, count(*) from t group by x")).toEqual([["ours", 3000]])
  },
  60_000,
)

test.each([
  ["delete", "wal"],
  ["wal", "delete"],
  ["delete", "delete"],
])(
  "a client in %p mode goes on when the primary's history is in %p mode, with pages of another size",
  async (theirs, ours) => {
    await using scope = new Scope()
    const stopped = await diverge(scope, {
      setup: "create table t(x); insert into t values('both');",
      ours: `pragma page_size = 1024; vacuum; pragma journal_mode = ${ours}; insert into t values('ours')`,
      theirs: `pragma journal_mode = ${theirs}; insert into t values('theirs')`,
    })
    const replica = await scope.again(stopped.replica, { follows: stopped.primary })
    const client = new LongClient(scope, replica, "a.db")
    expect(await client.rows("select x from t")).toEqual([["both"], ["theirs"]])
    const primary = await scope.again(stopped.primary)
    await caughtUp(primary, replica, "a.db")
    expect(await client.rows("select x from t")).toEqual([["both"], ["ours"]])
    expect(await client.value("pragma integrity_check")).toBe("ok")
    await client.close()
    sqlite3(primary, "a.db", "insert into t values('later')")
    await caughtUp(primary, replica, "a.db")
    // Its page 1 has the counters that only clients of before are shown (sqlite/header-disguise.ts), until it goes.
    const wal = join(replica.data, "dbs/a.db/wal")
    if (ours === "delete") await until("the WAL has gone", () => !existsSync(wal))
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)

test("a replica that was only behind keeps nothing", async () => {
  await using scope = new Scope()
  const flags = ["--retention", "1ms", "--retention-interval", "20ms"]
  const primary = await scope.node({ flags })
  const first = await scope.node({ follows: primary })
  sqlite3(primary, "a.db", "create table t(x)")
  await caughtUp(primary, first, "a.db")
  await first.stop()
  // More than the primary has in memory (store/ltx/recent-transactions.ts).
  sqlite3(primary, "a.db", "insert into t values(1);".repeat(40))
  // Until the files that the replica lacks are gone.
  const files = () => spawnSync("ls", [join(primary.data, "dbs/a.db/ltx")], { encoding: "utf8" })
  await until("they are gone", () => files().stdout.trim().split("\n").length === 1)
  const replica = await scope.again(first, { follows: primary })
  await expectSame(primary, replica, "a.db")
  await replica.logged(/msg="took a snapshot of the primary"/)
  await replica.stop()
  expect(kept(replica)).toEqual([])
}, 60_000)

test("a replica that has a database its primary never had keeps it where it is", async () => {
  await using scope = new Scope()
  const alone = await scope.node()
  sqlite3(alone, "mine.db", "create table t(x); insert into t values('mine')")
  await alone.stop()
  const cluster = run(["cat", join(alone.data, "clusterid")])
  const primary = await scope.node()
  await primary.stop()
  run(["sh", "-c", `printf %s "${cluster}" > ${join(primary.data, "clusterid")}`])
  await scope.again(primary)
  const replica = await scope.again(alone, { follows: primary })
  await replica.logged(/the primary does not have a database that is here.*litefs export/)
  const info = await (await fetch(`${replica.url}/info`)).json()
  expect(info).toMatchObject({
    databases: [{ name: "mine.db", state: "here", notOnPrimary: true }],
  })
  expect(sqlite3(replica, "mine.db", "select x from t")).toBe("mine")
}, 60_000)
