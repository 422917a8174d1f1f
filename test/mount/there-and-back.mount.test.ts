/** A client in a large write transaction while its node loses the role of primary, and gets it back. */
import { expect, test } from "bun:test"
import { caughtUp, expectSame, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { canMount, Scope } from "../support/node.ts"
import { infoOf } from "../support/node-api.ts"
import { promote } from "../torture/handoffs.ts"

const ROWS = 300
const insert = `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${ROWS})
  insert into big select randomblob(900) from n`

test.skipIf(!canMount).each([
  // What is in the WAL before the transaction begins, and what the other node commits meanwhile.
  ["wal", false, 0],
  ["wal", true, 0],
  ["wal", true, 1],
  ["wal", true, 20],
  ["delete", false, 0],
  ["truncate", false, 0],
  ["persist", false, 0],
] as const)(
  "%s mode: what has spilled when a node loses its role counts whole or not at all when it has it again (%p, %p)",
  async (mode, hasFrames, othersCount) => {
    await using scope = new Scope()
    const first = await scope.node({ flags: ["--candidate"] })
    const second = await scope.node({ follows: first, flags: ["--candidate"] })
    sqlite3(first, "a.db", `pragma journal_mode = ${mode}; create table t(x); create table big(x)`)
    const client = new LongClient(scope, first, "a.db")
    await client.exec(`pragma journal_mode = ${mode}; pragma cache_size = 10`)
    if (mode === "wal") await client.rows("pragma wal_checkpoint(truncate)")
    if (hasFrames) sqlite3(first, "a.db", "insert into t values('before')")
    await caughtUp(first, second, "a.db")
    await client.exec(`begin immediate; ${insert}`)
    await promote(second, "?force=true")
    while ((await infoOf(first)).role !== "replica") await Bun.sleep(10)
    for (let count = 0; count < othersCount; count++) {
      sqlite3(second, "a.db", `insert into t values('other ${count}')`)
    }
    await caughtUp(second, first, "a.db")
    await promote(first)
    while ((await infoOf(first)).role !== "primary") await Bun.sleep(10)
    const outcome = await client.exec(`${insert}; commit`).then(
      () => "committed",
      (error) => String(error),
    )
    await client.close()
    sqlite3(first, "a.db", "insert into t values('after')")
    const rows = sqlite3(first, "a.db", "select count(*) from big")
    expect(Number(rows)).toBe(outcome === "committed" ? 2 * ROWS : 0)
    expect(Number(sqlite3(first, "a.db", "select count(*) from t"))).toBe(
      Number(hasFrames) + othersCount + 1,
    )
    await expectSame(first, second, "a.db")
  },
  60_000,
)
