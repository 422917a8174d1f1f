/** A replica that takes a snapshot, whatever comes between. */
import { expect } from "bun:test"
import { cpSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { listKept } from "../../src/diverged/kept-history.ts"
import { DataDir } from "../../src/store/data-dir.ts"
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
import { CuttingProxy } from "../support/cutting-proxy.ts"
import { diverge } from "../support/diverge.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { Scope, type TestNode } from "../support/node.ts"
import { testRandom } from "../support/random.ts"
import { CallFaults } from "../torture/call-faults.ts"

const MODES = ["delete", "wal"] as const
const random = testRandom()

function fill(rows: number): string {
  return `create table t(x); with recursive n(i) as (select 1 union all select i + 1 from n where i < ${rows})
    insert into t select randomblob(4000) from n;`
}

/** Files of the data directory that nobody needs any more. */
function leftovers(node: TestNode): string[] {
  const names = readdirSync(node.data, { recursive: true }) as string[]
  return names.filter((name) => /next-|takeover|receiving|\.part|snapshot-/.test(name))
}

test.each(random.someOf(MODES))(
  "%p mode: a replica that is killed while it takes a snapshot is whole afterwards, and has kept what was there",
  async (mode) => {
    await using scope = new Scope()
    const stopped = await diverge(scope, {
      setup: `pragma journal_mode = ${mode}; ${fill(300)}`,
      ours: "update t set x = 'ours' where rowid > 10;",
      theirs: "update t set x = 'theirs' where rowid > 20;",
    })
    const { directory, port, data } = stopped.replica
    const saved = join(scope.directory, "saved")
    cpSync(data, saved, { recursive: true })
    const primary = await scope.again(stopped.primary)
    // A part of the calls each, so that all parts of it are hit.
    for (const [calls, count] of [
      ["next:*", 20],
      ["diverged:*", 20],
      ["takeover:*", 25],
      ["takeover:*", 25],
      ["mount:*", 10],
    ] as const) {
      run(["sh", "-c", `rm -rf '${data}' && cp -r '${saved}' '${data}'`])
      const env = { LITEFS_FAULTS: `${calls}#${1 + random.below(count)}=kill` }
      const killed = await scope.spawn({ directory, port, follows: primary, env })
      const isOver = killed.logged(/has diverged from the primary's/).catch(() => {})
      await Promise.race([killed.exited, isOver])
      await killed.stop("SIGKILL")
      const replica = await scope.node({ directory, port, follows: primary })
      await expectSame(primary, replica, "a.db")
      sqlite3(primary, "a.db", "insert into t values('later')")
      await expectSame(primary, replica, "a.db")
      await replica.stop()
      expect(leftovers(replica)).toEqual([])
      const { histories } = listKept(new DataDir(data))
      expect(histories.map(({ facts }) => facts.database)).toEqual(["a.db"])
    }
  },
  120_000,
)

test("a replica without room for a snapshot says so, keeps what it has, and takes it when there is room", async () => {
  await using scope = new Scope()
  const { primary: first, replica: second } = await diverge(scope, {
    setup: "create table t(x);",
    ours: fill(100).replace("create table t(x);", ""),
    theirs: "insert into t values('theirs');",
  })
  const primary = await scope.again(first)
  const faults = new CallFaults(join(scope.directory, "calls"))
  faults.set("next:reserve#1+=ENOSPC")
  const replica = await scope.again(second, { follows: primary, env: faults.env })
  await replica.logged(
    /Cannot receive a snapshot of \\?"a.db\\?": it makes a database of .* are left/,
  )
  expect(sqlite3(replica, "a.db", "select x from t")).toBe("theirs")
  expect(leftovers(replica)).toEqual([])
  faults.set("")
  await expectSame(primary, replica, "a.db")
}, 60_000)

test.each(random.someOf(MODES))(
  "%p mode: a snapshot that was received is served on to others when its node becomes primary",
  async (mode) => {
    await using scope = new Scope()
    const first = await scope.node()
    sqlite3(first, "a.db", `pragma journal_mode = ${mode}; ${fill(50)}`)
    sqlite3(first, "a.db", "insert into t values('first')")
    const second = await scope.node({ follows: first })
    await caughtUp(first, second, "a.db")
    const cluster = readFileSync(join(first.data, "clusterid"), "utf8")
    await first.stop()
    await second.stop()
    expect(readFileSync(join(second.data, "clusterid"), "utf8")).toBe(cluster)
    const primary = await scope.again(second)
    const third = await scope.node({ follows: primary })
    await expectSame(primary, third, "a.db")
    sqlite3(primary, "a.db", "insert into t values('second')")
    const position = await expectSame(primary, third, "a.db")
    // The first primary was only behind: it gets the transaction, and nothing else.
    const old = await scope.again(first, { follows: primary })
    expect(await expectSame(primary, old, "a.db")).toBe(position)
    expect(listKept(new DataDir(old.data)).histories).toEqual([])
  },
  60_000,
)

test.each(random.someOf(MODES))(
  "%p mode: clients that read all the time, on connections that stay or are new, never see half of a takeover",
  async (mode) => {
    await using scope = new Scope()
    const update = (word: string) => `update t set x = '${word}';`
    const stopped = await diverge(scope, {
      setup: `pragma journal_mode = ${mode}; ${fill(2000)}`,
      ours: update("ours"),
      theirs: update("theirs"),
    })
    const replica = await scope.again(stopped.replica, { follows: stopped.primary })
    const before = pos(replica, "a.db")
    let isOver = false
    const seen = new Set<string>()
    const clients = Array.from({ length: 3 }, () => new LongClient(scope, replica, "a.db"))
    const query = "select x, count(*) from t group by x"
    const staying = clients.map(async (client) => {
      while (!isOver) seen.add(String(await client.rows(query)))
    })
    const coming = (async () => {
      const program = `
        for (let n = 0; n < 20; n++) {
          const a = db("a.db", { readonly: true })
          console.log(a.prepare(${JSON.stringify(query)}).raw().all().join())
          a.close()
        }`
      while (!isOver) {
        const lines = await output(start(nodeCommand(replica, program)))
        for (const line of lines.trim().split("\n")) seen.add(line)
      }
    })()
    const primary = await scope.again(stopped.primary)
    await caughtUp(primary, replica, "a.db")
    isOver = true
    await Promise.all([...staying, coming])
    expect(pos(replica, "a.db")).not.toBe(before)
    for (const client of clients) {
      expect(await client.rows(query)).toEqual([["ours", 2000]])
      expect(await client.value("pragma integrity_check")).toBe("ok")
    }
    expect([...seen].sort().at(-1)).toBe("theirs,2000")
    expect([...seen].filter((rows) => rows !== "theirs,2000" && rows !== "ours,2000")).toEqual([])
  },
  60_000,
)

test("a snapshot over a way that breaks again and again goes on where it was, while the primary writes", async () => {
  await using scope = new Scope()
  const primary = await scope.node()
  // Its transactions come between the parts.
  sqlite3(primary, "0.db", "create table t(x)")
  sqlite3(primary, "a.db", fill(8000))
  const proxy = await CuttingProxy.to(scope, primary.port, 8_000_000)
  const replica = await scope.node({ follows: proxy })
  const writer = new LongClient(scope, primary, "a.db")
  const other = new LongClient(scope, primary, "0.db")
  for (let count = 0; proxy.connectionCount < 4; count++) {
    await writer.rows("update t set x = randomblob(4000) where rowid = ?", 1 + (count % 8000))
    await other.rows("insert into t values(1)")
  }
  await replica.logged(/msg="took a snapshot of the primary"/)
  proxy.cutAfter = Number.POSITIVE_INFINITY
  for (const client of [writer, other]) await client.close()
  for (const name of ["a.db", "0.db"]) await expectSame(primary, replica, name)
  await primary.stop()
  const log = await primary.wholeOutput
  expect([...log.matchAll(/msg="sending snapshot" db=a.db/g)].length).toBe(1)
  expect([...log.matchAll(/msg="resuming snapshot"/g)].length).toBeGreaterThanOrEqual(3)
  expect(leftovers(primary)).toEqual([])
}, 90_000)
