/** A replica whose WAL is removed under it, and under its clients. */
import { expect } from "bun:test"
import { caughtUp, expectSame, run, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { Scope, type TestNode } from "../support/node.ts"
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
