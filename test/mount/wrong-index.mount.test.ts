/** A client of a replica may write what it likes to the `-shm` file, and leave it so. */
import { expect } from "bun:test"
import { join } from "node:path"
import { caughtUp, expectSame, run, sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { pair } from "../support/pair.ts"

test("a wrong wal-index that a client has left is built anew while nothing comes", async () => {
  await using scope = await pair({
    sql: "pragma journal_mode = wal; create table t(x)",
    replica: { flags: ["--retention-interval", "200ms"] },
  })
  const { primary, replica } = scope
  sqlite3(primary, "a.db", "insert into t values(1)")
  await caughtUp(primary, replica, "a.db")
  const program = join(import.meta.dir, "../support/wrong-index.ts")
  run([process.execPath, program, `${replica.mount}/a.db-shm`, "pages"])
  await replica.logged(/a client has left a wrong index of a WAL, it is built anew/)
  expect(sqlite3(replica, "a.db", "select x from t")).toBe("1")
  sqlite3(primary, "a.db", "insert into t values(2)")
  await expectSame(primary, replica, "a.db")
}, 60_000)

test.each(["frames", "salts", "pages"])(
  "a wrong wal-index that a client has left is built anew with the next transaction: %s",
  async (what) => {
    await using scope = await pair({ sql: "pragma journal_mode = wal; create table t(x)" })
    const { primary, replica } = scope
    await caughtUp(primary, replica, "a.db")
    sqlite3(primary, "a.db", "insert into t values(1)")
    await caughtUp(primary, replica, "a.db")
    const program = join(import.meta.dir, "../support/wrong-index.ts")
    run([process.execPath, program, `${replica.mount}/a.db-shm`, what])
    sqlite3(primary, "a.db", "insert into t values(2)")
    await caughtUp(primary, replica, "a.db")
    expect(sqlite3(replica, "a.db", "select group_concat(x) from t")).toBe("1,2")
    await replica.logged(/a client has left a wrong index of a WAL, it is built anew/)
    expect(replica.output).not.toContain("another program has changed its WAL")
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)
