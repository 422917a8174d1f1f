/** `--capture behind` on nodes whose role changes: clients have a WAL open past LiteFS, and then through it. */
import { expect } from "bun:test"
import { caughtUp, expectSame, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { pair } from "../support/pair.ts"
import { promote } from "../torture/handoffs.ts"

const FLAGS = ["--capture", "behind", "--candidate"]
const behind = (sql = "create table a(x)") => pair({ flags: FLAGS, mode: "wal", sql })

test("a handoff and back under open connections", async () => {
  await using scope = await behind()
  const { primary, replica } = scope
  const old = new LongClient(scope, primary, "a.db")
  await old.exec("pragma synchronous = normal; pragma busy_timeout = 100; insert into a values(1)")
  const reader = new LongClient(scope, replica, "a.db")
  await promote(replica)
  await reader.exec("insert into a values(2)")
  await caughtUp(replica, primary, "a.db")
  expect(await old.rows("select x from a")).toEqual([[1], [2]])
  await expect(old.exec("insert into a values(3)")).rejects.toThrow("database is locked")
  await promote(primary)
  await old.exec("insert into a values(4)")
  await expectSame(primary, replica, "a.db")
  expect(sqlite3(replica, "a.db", "select group_concat(x) from a")).toBe("1,2,4")
}, 60_000)
