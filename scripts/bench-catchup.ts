/**
 * A replica catches up on transactions that were made while it was stopped. Run it through `scripts/bench-catchup`.
 *
 *     replica stopped ─▶ N transactions, timed ─▶ replica started, timed from "connected" to the last position
 *
 * The transactions are those of one writer that does nothing else: updates of one row, then inserts of ten.
 */
import { parseArgs } from "node:util"
import { caughtUp, expectSame, nodeCommand, pos, run, sqlite3 } from "../test/support/client.ts"
import { Scope, type TestNode } from "../test/support/node.ts"

const { values } = parseArgs({
  options: {
    transactions: { type: "string", default: "10000" },
    mode: { type: "string", multiple: true, default: ["wal", "delete"] },
  },
})
const count = Number(values.transactions)

/** For the primary to write them all: a slow disk syncs each. */
const WRITE_MS_MAX = 300_000

const LOADS = {
  "update of 1 row": "update t set v = randomblob(100) where id = 1 + abs(random() % 10000)",
  "insert of 10 rows":
    "with recursive s(k) as (select 1 union all select k + 1 from s where k < 10) " +
    "insert into t (v) select randomblob(200) from s",
}

console.log("mode    transactions of      written/s   caught up/s   ratio")
for (const mode of values.mode) {
  for (const [load, sql] of Object.entries(LOADS)) await measure(mode, load, sql)
}

async function measure(mode: string, load: string, sql: string): Promise<void> {
  await using scope = new Scope()
  const primary = await scope.node()
  sqlite3(
    primary,
    "a.db",
    `pragma journal_mode = ${mode}; create table t(id integer primary key, v);
     with recursive s(k) as (select 1 union all select k + 1 from s where k < 10000)
     insert into t (v) select randomblob(100) from s`,
  )
  const first = await scope.node({ follows: primary })
  await caughtUp(primary, first, "a.db")
  await first.stop()
  const writeMs = Number(
    run(
      nodeCommand(
        primary,
        `const d = db("a.db")
       d.pragma("synchronous = normal")
       const write = d.prepare(${JSON.stringify(sql)})
       const start = performance.now()
       for (let n = 0; n < ${count}; n++) write.run()
       console.log(performance.now() - start)`,
      ),
      "",
      WRITE_MS_MAX,
    ),
  )
  const replica = await scope.spawn({
    follows: primary,
    directory: first.directory,
    port: first.port,
  })
  await replica.logged(/msg="connected to the primary"/)
  const startMs = performance.now()
  await arrived(primary, replica)
  const catchUpMs = performance.now() - startMs
  await expectSame(primary, replica, "a.db")
  const [written, caught] = [(count / writeMs) * 1000, (count / catchUpMs) * 1000]
  console.log(
    `${mode.padEnd(7)} ${load.padEnd(20)} ${written.toFixed(0).padStart(9)} ` +
      `${caught.toFixed(0).padStart(13)}   ${(caught / written).toFixed(2).padStart(5)}`,
  )
}

async function arrived(primary: TestNode, replica: TestNode): Promise<void> {
  const wanted = pos(primary, "a.db")
  while (pos(replica, "a.db") !== wanted) await Bun.sleep(20)
}
