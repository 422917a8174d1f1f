/** In every journal mode and from both clients, whatever is done on the primary is the same on the replica. */
import { expect, test } from "bun:test"
import { expectQuiet, expectSame, nodeProgram, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { canMount, flagsOf, SEEN_LOCKS, type TestNode } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { testRandom } from "../support/random.ts"
import { MODES, someModes } from "../torture/model.ts"

const CLIENTS = [
  ["the sqlite3 program", (node: TestNode, sql: string) => sqlite3(node, "a.db", sql)],
  [
    "better-sqlite3",
    (node: TestNode, sql: string) =>
      nodeProgram(node, `const a = db("a.db"); a.exec(${JSON.stringify(sql)}); a.close()`),
  ],
] as const

/** Each is one client process from its open to its close; the mode of WAL databases persists, others do not. */
const STEPS = [
  ["create", "create table t(id integer primary key, v blob); create index i on t(v)"],
  ["insert", "insert into t(v) values('a'), ('b'), ('c')"],
  ["update", "update t set v = v || v where id < 3"],
  ["delete", "delete from t where id = 1"],
  ["rollback", "begin; insert into t(v) values('gone'); rollback"],
  [
    "grow",
    `insert into t(v) with recursive n(i) as (select 1 union all select i + 1 from n where i < 400)
     select randomblob(700) from n`,
  ],
  [
    // A cache this small spills: pages are in the file, or the WAL, before anybody knows the end of it.
    "rollback of a spill",
    "pragma cache_size = 5; begin; update t set v = randomblob(600); delete from t where id > 9; rollback",
  ],
  [
    "savepoints",
    `begin; insert into t(v) values('kept'); savepoint one; delete from t; savepoint two;
     insert into t(v) values('gone'); rollback to one; release one; update t set v = 'K' where v = 'kept';
     commit`,
  ],
  ["vacuum that moves pages", "create table u(x); drop table u; vacuum"],
  ["shrink", "delete from t where id > 20; vacuum"],
  ["grow again", "create table w as select randomblob(3000) as x from t"],
  ["drop", "drop table w; drop index i"],
] as const

/** For all but the first client. */
const some = someModes(testRandom())

const SUMMARY = "select count(*), sum(length(v)), max(id) from t"

for (const [client, execute] of CLIENTS) {
  test
    .skipIf(!canMount)
    .each([
      ...(client === "better-sqlite3" ? some : MODES).map((mode) => [mode, ""]),
      ...(client === "better-sqlite3" ? [] : some.map((mode) => [mode, SEEN_LOCKS])),
    ] as [mode: string, locks: string][])(
    `%p mode%s: what ${client} does is the same on the replica, also for a connection that is open`,
    async (mode, locks) => {
      await using scope = await pair({ flags: flagsOf(locks) })
      const { primary, replica } = scope
      let watcher: LongClient | undefined
      let before = ""
      for (const [what, sql] of STEPS) {
        execute(primary, `pragma journal_mode = ${mode}; ${sql};`)
        const position = await expectSame(primary, replica, "a.db")
        if (what.startsWith("rollback")) expect(position).toBe(before)
        else expect(position).not.toBe(before)
        before = position
        watcher ??= new LongClient(scope, replica, "a.db")
        const seen = (await watcher.rows(SUMMARY))[0]
        expect(seen?.join("|")).toBe(sqlite3(primary, "a.db", SUMMARY))
      }
      expect(await watcher?.value("pragma integrity_check")).toBe("ok")
      expect(await watcher?.value("pragma journal_mode")).toBe(mode === "wal" ? "wal" : "delete")
      await watcher?.close()
      await expectQuiet(replica, primary)
    },
    30_000,
  )
}
