/**
 * A client in a write transaction while its node loses the role of primary, and gets it back. A node that sees each write
 * gives the role up at once; one whose clients pass waits for them (behind-roles.mount.test.ts).
 */
import { expect } from "bun:test"
import { caughtUp, expectSame, pos, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { flagsOf, Scope, STRICT, type TestNode } from "../support/node.ts"
import { becomes } from "../support/node-api.ts"
import { promote } from "../torture/handoffs.ts"

const ROWS = 300
const INSERT = `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${ROWS})
  insert into big select randomblob(900) from n`
const WORDS = "select group_concat(x) from (select x from t order by rowid)"

async function pair(scope: Scope, mode: string) {
  const flags = ["--candidate", ...flagsOf(STRICT)]
  const first = await scope.node({ flags })
  const second = await scope.node({ follows: first, flags })
  sqlite3(first, "a.db", `pragma journal_mode = ${mode}; create table t(x); create table big(x)`)
  const client = new LongClient(scope, first, "a.db")
  await client.exec(`pragma journal_mode = ${mode}; pragma cache_size = 10`)
  return { first, second, client }
}

/** The second node takes the role by force, under a client that does not know. */
async function takeAway(first: TestNode, second: TestNode): Promise<void> {
  await promote(second, "?force=true")
  await becomes(first, "replica")
}

async function giveBack(first: TestNode): Promise<void> {
  await promote(first)
  await becomes(first, "primary")
}

/** Again and again, since what is remembered from before may be refused for a moment. */
async function until(client: LongClient, sql: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await client.exec(sql)
    } catch (error) {
      if (attempt === 100) throw error
      await Bun.sleep(10)
    }
  }
}

test.each([
  ["wal", "an empty WAL"],
  ["wal", "frames in the WAL"],
  ["delete", ""],
  ["truncate", ""],
  ["persist", ""],
] as const)(
  "%s mode: what has spilled when a node loses its role counts whole or not at all when it has it again %s",
  async (mode, before) => {
    await using scope = new Scope()
    const { first, second, client } = await pair(scope, mode)
    if (mode === "wal") await client.rows("pragma wal_checkpoint(truncate)")
    if (before.startsWith("frames")) await client.exec("insert into t values('before')")
    await caughtUp(first, second, "a.db")
    await client.exec(`begin immediate; ${INSERT}`)
    await takeAway(first, second)
    await giveBack(first)
    const outcome = await client.exec(`${INSERT}; commit`).then(
      () => "committed",
      () => "refused",
    )
    const rows = outcome === "committed" ? 2 * ROWS : 0
    await client.exec("rollback").catch(() => {})
    expect(await client.value("select count(*) from big")).toBe(rows)
    await until(client, "insert into t values('after')")
    await client.close()
    sqlite3(first, "a.db", "insert into t values('later')")
    expect(Number(sqlite3(first, "a.db", "select count(*) from big"))).toBe(rows)
    await expectSame(first, second, "a.db")
  },
  60_000,
)

test("a client that has spilled frames before its node lost the role is waited for, and nothing of them is seen", async () => {
  await using scope = new Scope()
  const { first, second, client } = await pair(scope, "wal")
  await client.exec("insert into t values('before')")
  await caughtUp(first, second, "a.db")
  await client.exec(`begin immediate; savepoint a; ${INSERT}`)
  await takeAway(first, second)
  const position = pos(first, "a.db")
  sqlite3(second, "a.db", "insert into t values('other')")
  await Bun.sleep(300)
  expect(pos(first, "a.db")).toBe(position)
  await client.exec("rollback to a; rollback")
  await caughtUp(second, first, "a.db")
  expect(await client.rows(WORDS)).toEqual([["before,other"]])
  await giveBack(first)
  await until(client, `${INSERT}; insert into t values('mine')`)
  await client.close()
  expect(sqlite3(second, "a.db", "pragma integrity_check")).toBe("ok")
  await expectSame(first, second, "a.db")
  expect(sqlite3(second, "a.db", WORDS)).toBe("before,other,mine")
}, 60_000)

test("a client that rolls back what it began before others wrote does not write over what they have committed", async () => {
  await using scope = new Scope()
  const { first, second, client } = await pair(scope, "wal")
  await client.exec("insert into t values('before')")
  await caughtUp(first, second, "a.db")
  await client.exec("begin immediate")
  expect(await client.rows(WORDS)).toEqual([["before"]])
  await takeAway(first, second)
  sqlite3(second, "a.db", "insert into t values('other')")
  await caughtUp(second, first, "a.db")
  await giveBack(first)
  await client.exec("rollback")
  await until(client, "begin immediate; insert into t values('mine'); commit")
  await client.close()
  await expectSame(first, second, "a.db")
  expect(sqlite3(second, "a.db", WORDS)).toBe("before,other,mine")
}, 60_000)

test("a client of a replica that rolls back a transaction reads what has come meanwhile", async () => {
  await using scope = new Scope()
  const { first, second, client: writer } = await pair(scope, "wal")
  await writer.exec("insert into t values('before')")
  await caughtUp(first, second, "a.db")
  const client = new LongClient(scope, second, "a.db")
  await client.exec("begin immediate")
  expect(await client.rows(WORDS)).toEqual([["before"]])
  await writer.exec("insert into t values('other')")
  await caughtUp(first, second, "a.db")
  expect(await client.rows(WORDS)).toEqual([["before"]])
  await client.exec("rollback")
  await Bun.sleep(500) // a moment, in which nothing else comes
  expect(await client.rows(WORDS)).toEqual([["before,other"]])
}, 60_000)
