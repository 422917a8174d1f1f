/** A client of a replica may write what it likes to the `-shm` file, and leave it so. */
import { expect } from "bun:test"
import { rmSync } from "node:fs"
import { join } from "node:path"
import { caughtUp, expectSame, run, sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { pair } from "../support/pair.ts"
import { testRandom } from "../support/random.ts"
import { until } from "../support/until.ts"

const random = testRandom()

const WRONG = ["no header", "page count", "page size", "all copied", "too many copied", "no frames"]

// Half of what may be wrong, by chance; all with LITEFS_ALL_FAULTS.
test.each(random.halfOf(["pages", ...WRONG]))(
  "a wrong wal-index that a client has left is built anew while nothing comes: %s",
  async (what) => {
    await using scope = await pair({
      sql: "pragma journal_mode = wal; create table t(x)",
      replica: { flags: ["--retention-interval", "200ms"] },
    })
    const { primary, replica } = scope
    sqlite3(primary, "a.db", "insert into t values(1)")
    await caughtUp(primary, replica, "a.db")
    const program = join(import.meta.dir, "../support/wrong-index.ts")
    run([process.execPath, program, `${replica.mount}/a.db-shm`, what])
    await replica.logged(/a client has left a wrong index of a WAL, it is built anew/)
    expect(sqlite3(replica, "a.db", "select x from t")).toBe("1")
    sqlite3(primary, "a.db", "insert into t values(2)")
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)

test.each(
  random.halfOf(["frames", "salts", "pages", ...WRONG.filter((what) => what !== "no frames")]),
)(
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
    if (what !== "no header") await replica.logged(/a client has left a wrong index of a WAL/)
    expect(replica.output).not.toContain("another program has changed its WAL")
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)

test("a log whose index says that the database file has everything does not start over", async () => {
  await using scope = await pair({ sql: "pragma journal_mode = wal; create table t(x)" })
  const { primary, replica } = scope
  sqlite3(primary, "a.db", "create table q(x); insert into q values('important')")
  await caughtUp(primary, replica, "a.db")
  const program = join(import.meta.dir, "../support/wrong-index.ts")
  run([process.execPath, program, `${replica.mount}/a.db-shm`, "all copied"])
  for (let n = 0; n < 3; n++) sqlite3(primary, "a.db", `insert into t values(${n})`)
  await caughtUp(primary, replica, "a.db")
  expect(sqlite3(replica, "a.db", "select x from q")).toBe("important")
  await expectSame(primary, replica, "a.db")
}, 60_000)

test.each([["-wal", "-shm"], ["-shm", "-wal"], ["-wal"], ["-shm"]])(
  "who opens the database after %s %s were removed on a replica finds all, without another transaction",
  async (...suffixes) => {
    await using scope = await pair({ sql: "pragma journal_mode = wal; create table t(x)" })
    const { primary, replica } = scope
    for (let n = 0; n < 3; n++) sqlite3(primary, "a.db", `insert into t values(${n})`)
    await caughtUp(primary, replica, "a.db")
    for (const suffix of suffixes) rmSync(`${replica.mount}/a.db${suffix}`, { force: true })
    await until("the rows are there", () => {
      return sqlite3(replica, "a.db", "select group_concat(x) from t") === "0,1,2"
    })
    sqlite3(primary, "a.db", "insert into t values(3)")
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)
