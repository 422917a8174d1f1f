/** A WAL that is removed under a node, and under its clients. */
import { expect } from "bun:test"
import { join } from "node:path"
import { caughtUp, expectSame, run, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { flagsOf, Scope, STRICT, type TestNode } from "../support/node.ts"
import { promote } from "../torture/handoffs.ts"

const COUNT = "select count(*) from t"

async function pair(scope: Scope) {
  const primary = await scope.node({ flags: ["--candidate"] })
  const replica = await scope.node({ follows: primary, flags: ["--candidate"] })
  sqlite3(primary, "a.db", "pragma journal_mode = wal; create table t(x); insert into t values(1)")
  await caughtUp(primary, replica, "a.db")
  return { primary, replica }
}

function removeWal(node: TestNode): void {
  run(["sh", "-c", `cd '${node.mount}' && rm -f a.db-wal a.db-shm`])
}

test.each(["then a transaction", "then a promotion", "then a borrowed lock"])(
  "what has been applied is seen, and what comes: the WAL is removed, %s",
  async (next) => {
    await using scope = new Scope()
    const { primary, replica } = await pair(scope)
    sqlite3(primary, "a.db", "insert into t values(2)")
    await caughtUp(primary, replica, "a.db")
    removeWal(replica)
    if (next === "then a transaction") {
      sqlite3(primary, "a.db", "insert into t values(3)")
      await caughtUp(primary, replica, "a.db")
    } else if (next === "then a promotion") {
      await promote(replica)
      sqlite3(replica, "a.db", "insert into t values(3)")
    } else {
      const path = `${replica.mount}/a.db`
      run([
        "flock",
        "-w",
        "10",
        `${path}-lock`,
        "sqlite3",
        "-bail",
        path,
        "insert into t values(3)",
      ])
      await caughtUp(replica, primary, "a.db")
    }
    const reader = new LongClient(scope, replica, "a.db")
    expect(await reader.value(COUNT)).toBe(3)
    const writing = next === "then a promotion" ? replica : primary
    sqlite3(writing, "a.db", "insert into t values(4)")
    await caughtUp(writing, writing === primary ? replica : primary, "a.db")
    expect(await reader.value(COUNT)).toBe(4)
    await reader.close()
    await expectSame(writing, writing === primary ? replica : primary, "a.db")
  },
  60_000,
)

/** A program that removes the WAL of its own connection: SQLite itself does so after a checkpoint only. */
const REMOVES_ITS_OWN = `
import { Database } from "bun:sqlite"
import { unlinkSync } from "node:fs"
const db = new Database(process.argv.at(-1))
db.run("insert into t values(2)")
unlinkSync(process.argv.at(-1) + "-wal")
`

test.each(["", STRICT])(
  "what is committed stays when its own writer removes the WAL%s",
  async (how) => {
    await using scope = new Scope()
    const flags = flagsOf(how)
    const primary = await scope.node({ flags })
    const replica = await scope.node({ follows: primary, flags })
    sqlite3(
      primary,
      "a.db",
      "pragma journal_mode = wal; create table t(x); insert into t values(1)",
    )
    run([process.execPath, "-e", REMOVES_ITS_OWN, join(primary.mount, "a.db")])
    expect(sqlite3(primary, "a.db", COUNT)).toBe("2")
    sqlite3(primary, "a.db", "insert into t values(3)")
    await caughtUp(primary, replica, "a.db")
    expect(sqlite3(replica, "a.db", COUNT)).toBe("3")
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)
