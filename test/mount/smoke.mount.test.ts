import { expect } from "bun:test"
import { cat, caughtUp, pos, sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { pair } from "../support/pair.ts"

test("a row written on the primary is read on the replica", async () => {
  await using scope = await pair()
  const { primary, replica } = scope
  expect(sqlite3(primary, "a.db", "create table t(x); insert into t values(42);")).toBe("")
  expect(await caughtUp(primary, replica, "a.db")).toMatch(/^0000000000000002\//)
  expect(sqlite3(replica, "a.db", "select x from t")).toBe("42")
  expect(cat(replica, ".primary")).toBe(`node-${primary.port}\n`)
  expect(pos(replica, "a.db")).toHaveLength(33)
  expect(await replica.stop()).toEqual({ code: 0, signal: null })
  expect(await primary.stop()).toEqual({ code: 0, signal: null })
}, 60_000)
