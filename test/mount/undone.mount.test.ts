/** What clients read of a transaction that came to nothing, since their node lost the role of primary in it. */
import { expect } from "bun:test"
import { join } from "node:path"
import { caughtUp, expectSame, failureOf, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { flagsOf, Scope, SEEN_LOCKS } from "../support/node.ts"
import { infoOf } from "../support/node-api.ts"
import { testRandom } from "../support/random.ts"
import { until } from "../support/until.ts"
import { CallFaults } from "../torture/call-faults.ts"
import { promote } from "../torture/handoffs.ts"

const ROWS = 3000
/** More pages than are held back in memory. */
const SPILL = `update t set x = zeroblob(900) where rowid % 2 = 0;
  with recursive n(i) as (select 1 union all select i + 1 from n where i < ${ROWS})
  insert into t select randomblob(900) from n`
/** The peer thread cannot do it the first time, and tries again a second later. */
const SLOW = {
  "drop a transaction that was undone": "1/mount:open#1=EMFILE",
  "open the commit log": "1/log:open#1=EIO",
}
const LOOK = "select count(*), (select integrity_check from pragma_integrity_check) from t"

// Half of them, by chance; all with LITEFS_ALL_FAULTS.
const CASES = [
  ["delete", "rollback", "drop a transaction that was undone", ""],
  ["delete", "commit", "drop a transaction that was undone", ""],
  ["delete", "rollback", "open the commit log", ""],
  ["truncate", "kill", "drop a transaction that was undone", SEEN_LOCKS],
] as const

test.each(testRandom().halfOf(CASES))(
  "%s mode: nobody reads anything of it, not even for a moment: its client ends with %s, and it takes a second to %s%s",
  async (mode, end, slow, locks) => {
    await using scope = new Scope()
    const flags = ["--candidate", ...flagsOf(locks)]
    const first = await scope.node({ flags, env: { LITEFS_FAULTS: SLOW[slow] } })
    const second = await scope.node({ follows: first, flags })
    const writer = new LongClient(scope, first, "a.db")
    await writer.exec(`pragma journal_mode = ${mode}; pragma cache_size = 10; create table t(x)`)
    await writer.exec(
      `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${ROWS})
       insert into t select randomblob(900) from n; create index i on t(x)`,
    )
    await caughtUp(first, second, "a.db")
    const reader = new LongClient(scope, first, "a.db")
    expect(await reader.rows(LOOK)).toEqual([[ROWS, "ok"]])
    await writer.exec(`begin immediate; ${SPILL}`)
    await promote(second, "?force=true")
    await first.logged(new RegExp(`cannot ${slow}`))
    // As a commit does it, after its last page.
    if (end === "commit")
      expect(failureOf(["rm", join(first.mount, "a.db-journal")])).toMatch(/denied/)
    const isKilled = end !== "rollback"
    const ended = isKilled ? writer.close("SIGKILL") : writer.exec(end).catch(() => {})
    const clients = isKilled ? [reader] : [writer, reader]
    const seen = new Set<string>()
    for (let look = 0; look < 10; look++) {
      for (const client of clients) {
        const found = await client.rows(LOOK).catch((error) => String(error.code))
        seen.add(JSON.stringify(found))
      }
      // One that remembers nothing reads what the kernel has.
      const fresh = new LongClient(scope, first, "a.db")
      seen.add(JSON.stringify(await fresh.rows(LOOK).catch((error) => String(error.code))))
      await fresh.close()
    }
    // It is told that it cannot be done, or reads what there is.
    const others = [...seen].filter((found) => !/^"SQLITE_(BUSY|IOERR)/.test(found))
    expect(others.filter((found) => found !== JSON.stringify([[ROWS, "ok"]]))).toEqual([])
    await ended
    await first.logged(/msg="this node is a replica"/)
    expect(await reader.rows(LOOK)).toEqual([[ROWS, "ok"]])
    expect((await infoOf(first)).role).toBe("replica")
    await writer.close()
    await reader.close()
    await expectSame(second, first, "a.db")
  },
  60_000,
)

test("nothing is lost by a transaction that was undone and whose journal cannot be removed: nobody undoes by it what came later", async () => {
  await using scope = new Scope()
  const faults = new CallFaults(join(scope.directory, "calls"))
  const flags = ["--candidate"]
  const primary = await scope.node({ flags })
  const replica = await scope.node({ follows: primary, flags, env: faults.env })
  const sql = "pragma journal_mode = delete; create table t(x); insert into t values(1)"
  sqlite3(primary, "a.db", sql)
  await caughtUp(primary, replica, "a.db")
  faults.set("2/journal:unlink#1-2=EIO") // the commit, and the daemon's own
  const path = join(replica.mount, "a.db")
  const insert = ["sqlite3", "-bail", path, "insert into t values(2)"]
  failureOf(["flock", "-w", "10", `${path}-lock`, ...insert])
  await until("the journal stays", () => faults.hitCount === 2)
  faults.set("")
  sqlite3(primary, "a.db", "insert into t values(3)")
  await caughtUp(primary, replica, "a.db")
  const rows = sqlite3(primary, "a.db", "select group_concat(x) from t")
  await promote(replica)
  expect(sqlite3(replica, "a.db", "select group_concat(x) from t")).toBe(rows)
  sqlite3(replica, "a.db", "insert into t values(4)")
  await caughtUp(replica, primary, "a.db")
  await expectSame(replica, primary, "a.db")
  expect(sqlite3(replica, "a.db", "select group_concat(x) from t")).toBe(`${rows},4`)
}, 60_000)
