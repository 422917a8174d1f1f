/** Nodes that come late, stop, or are killed, and go on where they were. */
import { expect } from "bun:test"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import {
  caughtUp,
  expectSame,
  nodeCommand,
  output,
  pos,
  run,
  sqlite3,
  start,
} from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { Scope, type TestNode } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { IS_THOROUGH, testRandom } from "../support/random.ts"
import { until } from "../support/until.ts"
import { someModes } from "../torture/model.ts"

const random = testRandom()

const MODES = ["delete", "wal"] as const
/** In the long form it is killed once more. */
const SIGNALS: readonly NodeJS.Signals[] = [
  "SIGTERM",
  "SIGKILL",
  ...(IS_THOROUGH ? (["SIGKILL"] as const) : []),
]

async function snapshotCount(primary: TestNode): Promise<number> {
  await primary.stop()
  return [...(await primary.wholeOutput).matchAll(/msg="sending snapshot"/g)].length
}

test("a node starts again where it was killed, also when the kernel still lists its files", async () => {
  await using scope = new Scope()
  let node = await scope.node()
  sqlite3(node, "a.db", "create table t(x)")
  for (let round = 0; round < 3; round++) {
    for (let count = 0; count < 3; count++) run(["ls", "-A", node.mount])
    await node.stop("SIGKILL")
    node = await scope.again(node)
  }
  expect(sqlite3(node, "a.db", "select count(*) from t")).toBe("0")
}, 60_000)

test("a primary that takes many transactions makes files for them in advance, and is killed with them", async () => {
  await using scope = await pair()
  const { primary, replica } = scope
  sqlite3(primary, "a.db", "create table t(x)")
  const spares = (): string[] => {
    const path = join(primary.data, "spare")
    return existsSync(path) ? readdirSync(path) : []
  }
  const writer = new LongClient(scope, primary, "a.db")
  await writer.run("for (let n = 0; n < 20; n++) rows('insert into t values(?)', n)")
  expect(spares()).toEqual([])
  await writer.run("for (let n = 20; n < 500; n++) rows('insert into t values(?)', n)")
  await expectSame(primary, replica, "a.db")
  expect(spares()).not.toEqual([])
  expect(readdirSync(join(primary.data, "dbs/a.db/ltx")).length).toBe(501)
  await primary.stop("SIGKILL")
  await writer.close("SIGKILL")
  const next = await scope.again(primary)
  expect(spares()).toEqual([])
  expect(sqlite3(next, "a.db", "select count(*), count(distinct x) from t")).toBe("500|500")
  await expectSame(next, replica, "a.db")
}, 60_000)

test.each(random.someOf(MODES))(
  "%p mode: a replica that joins while a writer goes on gets a snapshot and then what follows",
  async (mode) => {
    await using scope = new Scope()
    const primary = await scope.node()
    sqlite3(
      primary,
      "a.db",
      `pragma journal_mode = ${mode}; create table t(id integer primary key, x); create table big(x);
       insert into big with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000)
       select randomblob(4000) from n`,
    )
    const writer = new LongClient(scope, primary, "a.db")
    const ids: number[] = []
    let hasJoined = false
    const writing = (async () => {
      for (let n = 0; !hasJoined || n < 50; n++) {
        await writer.run(`
          rows("insert into t(x) values(?)", ${n})
          rows("update big set x = randomblob(4000) where rowid in (?, ?)", ${n} * 37 % 2000, 2000 - ${n} % 2000)
        `)
        ids.push(n)
      }
    })()
    const replica = await scope.node({ follows: primary })
    await replica.logged(/msg="connected to the primary"/)
    await until("a.db is there", () => run(["ls", replica.mount]).includes("a.db\n"))
    hasJoined = true
    await writing
    await writer.close()
    await expectSame(primary, replica, "a.db")
    expect(sqlite3(replica, "a.db", "select count(*) from t")).toBe(`${ids.length}`)
    expect(await snapshotCount(primary)).toBe(1)
  },
  60_000,
)

test.each(random.someOf(MODES))(
  "%p mode: a replica that joins while a transaction is half done gets none of it before it is committed",
  async (mode) => {
    await using scope = new Scope()
    const primary = await scope.node()
    sqlite3(
      primary,
      "a.db",
      `pragma journal_mode = ${mode}; create table t(x);
       insert into t with recursive n(i) as (select 1 union all select i + 1 from n where i < 200)
       select randomblob(3000) from n`,
    )
    const before = pos(primary, "a.db")
    const writer = new LongClient(scope, primary, "a.db")
    await writer.exec("pragma cache_size = 5; begin immediate; update t set x = randomblob(3000)")
    const replica = await scope.node({ follows: primary })
    await replica.logged(/msg="connected to the primary"/)
    expect(pos(primary, "a.db")).toBe(before)
    if (mode === "wal") {
      await caughtUp(primary, replica, "a.db")
      expect(sqlite3(replica, "a.db", "select count(*) from t; pragma integrity_check")).toBe(
        "200\nok",
      )
    }
    await writer.exec("delete from t where rowid > 50; commit")
    await expectSame(primary, replica, "a.db")
    expect(sqlite3(replica, "a.db", "select count(*) from t")).toBe("50")
  },
  30_000,
)

test.each(random.someOf(MODES))(
  "%p mode: a replica that was stopped, or killed, goes on without another snapshot",
  async (mode) => {
    await using scope = await pair({ mode, sql: "create table t(x)" })
    let { primary, replica } = scope
    await expectSame(primary, replica, "a.db")
    let rows = 0
    for (const signal of SIGNALS) {
      const watcher = new LongClient(scope, replica, "a.db")
      expect(await watcher.value("select count(*) from t")).toBe(rows)
      await replica.stop(signal)
      await watcher.close("SIGKILL")
      sqlite3(primary, "a.db", "insert into t values(1)")
      rows += 1
      replica = await scope.again(replica, { follows: primary })
      if (signal === "SIGKILL") await replica.logged(/msg="found a dead mount"/)
      await expectSame(primary, replica, "a.db")
      expect(sqlite3(replica, "a.db", "select count(*) from t")).toBe(`${rows}`)
    }
    expect(await snapshotCount(primary)).toBe(1)
  },
  60_000,
)

test.each(random.someOf(MODES))(
  "%p mode: a replica that is killed while transactions come in is whole afterwards",
  async (mode) => {
    await using scope = await pair()
    let { primary, replica } = scope
    const setup = `pragma journal_mode = ${mode}; create table t(id integer primary key, x)`
    sqlite3(primary, "a.db", setup)
    await caughtUp(primary, replica, "a.db")
    for (let round = 0; round < 2; round++) {
      const writing = start(
        nodeCommand(
          primary,
          `const a = db("a.db")
           for (let n = 0; n < 100; n++) a.exec("insert into t(x) values(randomblob(9000))")`,
        ),
      )
      const before = pos(replica, "a.db")
      await until("a transaction has come", () => pos(replica, "a.db") !== before, { everyMs: 1 })
      await replica.stop("SIGKILL")
      replica = await scope.again(replica, { follows: primary })
      await output(writing)
      await expectSame(primary, replica, "a.db")
    }
    expect(await snapshotCount(primary)).toBe(1)
  },
  60_000,
)

test.each(random.someOf(MODES))(
  "%p mode: a primary that was stopped goes on, and its replica connects again",
  async (mode) => {
    await using scope = await pair({ mode, sql: "create table t(x)" })
    let { primary, replica } = scope
    await expectSame(primary, replica, "a.db")
    const watcher = new LongClient(scope, replica, "a.db")
    for (let rows = 1; rows <= 2; rows++) {
      const before = pos(primary, "a.db")
      expect(await primary.stop()).toEqual({ code: 0, signal: null })
      expect(await watcher.value("select count(*) from t")).toBe(rows - 1)
      primary = await scope.again(primary)
      expect(pos(primary, "a.db")).toBe(before)
      sqlite3(primary, "a.db", "insert into t values(1)")
      await expectSame(primary, replica, "a.db")
      expect(await watcher.value("select count(*) from t")).toBe(rows)
    }
    expect(await snapshotCount(primary)).toBe(0)
  },
  60_000,
)

test.each(someModes(random))(
  "%p mode: a primary that is killed in the middle of a write has every row that was acknowledged",
  async (mode) => {
    await using scope = await pair({ mode, sql: "create table t(id integer primary key, x)" })
    let { primary, replica } = scope
    const acknowledged: number[] = []
    for (let round = 0; round < 2; round++) {
      const writer = new LongClient(scope, primary, "a.db")
      await writer.run(`db.pragma("journal_mode = ${mode}"); db.pragma("cache_size = 5")`)
      const enough = acknowledged.length + 20
      const writing = (async () => {
        for (let id = round * 1_000_000 + 1; ; id++) {
          await writer.rows("insert into t values(?, randomblob(?))", id, (id % 7) * 6000)
          acknowledged.push(id)
        }
      })().catch(() => {})
      await until("some are acknowledged", () => acknowledged.length >= enough, { everyMs: 1 })
      await primary.stop("SIGKILL")
      await writing
      await writer.close("SIGKILL")

      primary = await scope.again(primary)
      await primary.logged(/msg="found a dead mount"/)
      const found = new Set(sqlite3(primary, "a.db", "select id from t").split("\n").map(Number))
      expect(acknowledged.filter((id) => !found.has(id))).toEqual([])
      expect(found.size - acknowledged.length).toBeLessThanOrEqual(round + 1)
      expect(sqlite3(primary, "a.db", "pragma integrity_check")).toBe("ok")
      await expectSame(primary, replica, "a.db")
    }
    expect(await snapshotCount(primary)).toBe(0)
  },
  60_000,
)

test("a replica of another cluster is refused, says so once and keeps what it has", async () => {
  await using scope = new Scope()
  const ours = await scope.node()
  const theirs = await scope.node()
  const first = await scope.node({ follows: ours })
  sqlite3(ours, "a.db", "create table t(x); insert into t values(1)")
  sqlite3(theirs, "a.db", "create table t(x); insert into t values(2); insert into t values(3)")
  const before = await caughtUp(ours, first, "a.db")
  await first.stop()

  const lost = await scope.again(first, { follows: theirs })
  const id = (node: TestNode) => readFileSync(join(node.data, "clusterid"), "utf8").trim()
  await lost.logged(RegExp(`belongs to cluster ${id(theirs)}, this node to ${id(ours)}, see `))
  expect(pos(lost, "a.db")).toBe(before)
  expect(sqlite3(lost, "a.db", "select x from t")).toBe("1")
  expect(run(["ls", "-a", lost.mount])).not.toContain(".primary")
  await lost.stop()
  expect((await lost.wholeOutput).match(/belongs to cluster/g)).toHaveLength(1)

  const found = await scope.again(lost, { follows: ours })
  sqlite3(ours, "a.db", "insert into t values(9)")
  await expectSame(ours, found, "a.db")
}, 60_000)
