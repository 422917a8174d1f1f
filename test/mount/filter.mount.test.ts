/** A replica that is to have some databases only. */
import { expect } from "bun:test"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { caughtUp, expectSame, failureOf, run, sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { Scope, type TestNode } from "../support/node.ts"

const names = (node: TestNode) => run(["ls", "-A", node.mount]).split("\n").filter(Boolean).sort()

test("a replica with a filter has these databases, and the others again when it has none", async () => {
  await using scope = new Scope()
  const primary = await scope.node()
  const all = ["a.db", "b.db", "log-1.db"]
  for (const name of all) {
    sqlite3(primary, name, "create table t(x); insert into t values(1)")
  }
  const filter = ["--databases", "a.db,log-*"]
  const some = await scope.node({ follows: primary, flags: filter })
  for (const name of ["a.db", "log-1.db"]) await expectSame(primary, some, name)
  const shown = [".lag", ".primary", "a.db", "a.db-pos", "log-1.db", "log-1.db-pos"]
  expect(names(some)).toEqual(shown)
  expect(existsSync(join(some.data, "dbs", "b.db"))).toBe(false)
  expect(failureOf(["cat", `${some.mount}/b.db`])).toContain("No such file")

  // One that appears later is there when it is selected.
  for (const name of ["log-2.db", "other.db"]) sqlite3(primary, name, "create table t(x)")
  await expectSame(primary, some, "log-2.db")
  expect(names(some)).toEqual([...shown, "log-2.db", "log-2.db-pos"])

  await some.stop()
  const { directory, port } = some
  const whole = await scope.node({ follows: primary, directory, port })
  for (const name of [...all, "log-2.db", "other.db"]) await expectSame(primary, whole, name)

  // What it had before is kept, hidden, and not even looked at.
  await whole.stop()
  const again = await scope.node({ follows: primary, directory, port, flags: filter })
  sqlite3(primary, "a.db", "insert into t values(2)")
  sqlite3(primary, "b.db", "insert into t values(2)")
  await expectSame(primary, again, "a.db")
  expect(names(again)).toEqual([...shown, "log-2.db", "log-2.db-pos"])
  expect(existsSync(join(again.data, "dbs", "b.db", "database"))).toBe(true)
  await again.stop()
  const last = await scope.node({ follows: primary, directory, port })
  await caughtUp(primary, last, "b.db")
  for (const name of [...all, "log-2.db", "other.db"]) await expectSame(primary, last, name)
  await last.stop()
  expect(await last.wholeOutput).not.toMatch(/snapshot|level=(warn|error)/)
}, 90_000)

test("one line says which of --databases match nothing that the primary has", async () => {
  await using scope = new Scope()
  const primary = await scope.node()
  sqlite3(primary, "a.db", "create table t(x); insert into t values(1)")
  const replica = await scope.node({ follows: primary, flags: ["--databases", "a.db,nope.db"] })
  await replica.logged(/level=info .*that --databases means" databases=nope\.db/)
}, 30_000)
