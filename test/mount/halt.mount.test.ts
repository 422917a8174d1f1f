/** Writing on a replica with the primary's write lock, borrowed through flock(1) on `<db>-lock`. */
import { expect, test } from "bun:test"
import { caughtUp, expectSame, nodeCommand, output, run, sqlite3, start } from "../support/client.ts"
import { canMount, Scope, type TestNode } from "../support/node.ts"

const MODES = ["wal", "delete", "truncate", "persist"] as const

async function pair(scope: Scope, mode: string) {
  const primary = await scope.node()
  const replica = await scope.node({ follows: primary })
  sqlite3(
    primary,
    "a.db",
    `pragma journal_mode = ${mode}; create table t(x); insert into t values(1)`,
  )
  await caughtUp(primary, replica, "a.db")
  return { primary, replica }
}

/** A command that runs while the node has the write lock of the database. */
function locked(node: TestNode, database: string, ...command: string[]): string[] {
  return ["flock", `${node.mount}/${database}-lock`, ...command]
}

function shell(node: TestNode, database: string, sql: string): string[] {
  return ["sqlite3", "-bail", "-cmd", ".timeout 20000", `${node.mount}/${database}`, sql]
}

test.skipIf(!canMount).each(MODES)(
  "%s mode: a command under flock(1) writes on a replica, and every node has what it wrote",
  async (mode) => {
    await using scope = new Scope()
    const { primary, replica } = await pair(scope, mode)
    run(locked(replica, "a.db", ...shell(replica, "a.db", "insert into t values(2)")))
    expect(sqlite3(primary, "a.db", "select group_concat(x) from t")).toBe("1,2")
    await caughtUp(primary, replica, "a.db")
    sqlite3(primary, "a.db", "insert into t values(3)")
    await caughtUp(primary, replica, "a.db")
    if (sqlite3(primary, "a.db", ".dump") !== sqlite3(replica, "a.db", ".dump")) { console.log("P", sqlite3(primary, "a.db", ".dump"), "R", sqlite3(replica, "a.db", ".dump")); await Bun.sleep(200); console.log(sqlite3(replica, "a.db", ".dump"),replica.output, primary.output)}
    await expectSame(primary, replica, "a.db")
    expect(replica.output).not.toContain("lost")
  },
  60_000,
)
