/** A database that is removed under its clients takes no more of what they write; nor does a WAL without its database. */
import { expect } from "bun:test"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { caughtUp, expectSame, failureOf, pos, run, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { flagsOf, Scope, STRICT, type TestNode } from "../support/node.ts"
import { pair } from "../support/pair.ts"

const ROW = "insert into t(x) values(randomblob(500))"
const SETUP = `pragma journal_mode = wal; create table t(id integer primary key, x); ${ROW}; ${ROW};`

function remove(node: TestNode, ...names: string[]): void {
  run(["rm", ...names.map((name) => `${node.mount}/${name}`)])
}

/** The same by a program that has the database open, as SQLite has when it removes a WAL. */
function removeAsClient(node: TestNode, ...names: string[]): void {
  const program =
    "import os, sys; kept = os.open(sys.argv[1], os.O_RDONLY); [os.unlink(p) for p in sys.argv[2:]]"
  const paths = ["a.db", ...names].map((name) => `${node.mount}/${name}`)
  run(["python3", "-c", program, ...paths])
}

/** One that passes hears of it at its next sync: under NORMAL that is a checkpoint. */
const FULL = "pragma synchronous = full"

test.each([
  ["a checkpoint", ""],
  ["a checkpoint", STRICT],
  ["none", ""],
  ["none", STRICT],
])(
  "a client of a WAL database that was removed writes nothing more, after %s%s",
  async (checkpoint, how) => {
    await using scope = await pair({ flags: flagsOf(how) })
    const { primary, replica } = scope
    sqlite3(primary, "a.db", SETUP)
    const client = new LongClient(scope, primary, "a.db")
    await client.exec(`${FULL}; ${ROW}`)
    if (checkpoint !== "none") await client.rows("pragma wal_checkpoint(restart)")
    await caughtUp(primary, replica, "a.db")

    remove(primary, "a.db")
    const dropped = await caughtUp(primary, replica, "a.db")
    expect(client.exec(ROW)).rejects.toThrow(/disk I\/O error/)
    expect(pos(primary, "a.db")).toBe(dropped)
    expect(await client.value("select count(*) from t")).toBe(3)

    // Another one by its name is not what it writes to, whatever it does. With frames that are not in a database
    // file, its wal-index keeps others from making one.
    if (checkpoint === "none") await client.close()
    sqlite3(primary, "a.db", `${SETUP}${ROW};${ROW};${ROW};`)
    const made = pos(primary, "a.db")
    if (checkpoint !== "none") {
      await client.exec(ROW).catch(() => {})
      expect(pos(primary, "a.db")).toBe(made)
      await client.close()
    }
    expect(sqlite3(primary, "a.db", "select count(*) from t")).toBe("5")
    sqlite3(primary, "a.db", ROW)
    await expectSame(primary, replica, "a.db")

    await primary.stop("SIGKILL")
    const again = await scope.again(primary)
    expect(sqlite3(again, "a.db", "pragma integrity_check; select count(*) from t")).toBe("ok\n6")
  },
  60_000,
)

test("a WAL that is put back without its database is not taken", async () => {
  await using scope = new Scope()
  const primary = await scope.node()
  const wal = join(scope.directory, "saved-wal")
  const client = new LongClient(scope, primary, "a.db")
  await client.exec(SETUP)
  run(["cp", `${primary.mount}/a.db-wal`, wal])
  await client.close()
  remove(primary, "a.db")
  const dropped = pos(primary, "a.db")

  expect(failureOf(["cp", wal, `${primary.mount}/a.db-wal`])).toContain("error")
  expect(pos(primary, "a.db")).toBe(dropped)
  await primary.logged(/refused a write to a WAL: its database was removed/)
  expect(existsSync(join(primary.data, "dbs/a.db/database"))).toBe(false)
  sqlite3(primary, "a.db", SETUP)
  expect(sqlite3(primary, "a.db", "pragma integrity_check; select count(*) from t")).toBe("ok\n2")
}, 60_000)

test.each(["", STRICT])(
  "a WAL that was removed under its client takes nothing more%s",
  async (how) => {
    await using scope = await pair({ flags: flagsOf(how) })
    const { primary, replica } = scope
    const client = new LongClient(scope, primary, "a.db")
    // All but the newest is in the database file. Others still have the wal-index: it is not SQLite that ends.
    await client.exec(`${SETUP}${FULL}; pragma wal_checkpoint(restart); ${ROW}`)
    expect(failureOf(["rm", `${primary.mount}/a.db-wal`])).toContain("busy")
    removeAsClient(primary, "a.db-wal", "a.db-shm")
    sqlite3(primary, "a.db", `${ROW};${ROW};`)
    const other = new LongClient(scope, primary, "a.db")
    await other.exec(ROW)
    const before = pos(primary, "a.db")
    expect(client.exec(ROW)).rejects.toThrow(/disk I\/O error/)
    expect(pos(primary, "a.db")).toBe(before)
    expect(await other.value("select count(*) from t")).toBe(6)
    await client.close()
    await other.close()
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)
