/** A database that a start refuses because the system refused something comes back by itself. */
import { expect } from "bun:test"
import { join } from "node:path"
import { caughtUp, expectSame, failureOf, sqlite3, sqlite3Command } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { Scope, type TestNode } from "../support/node.ts"
import { getText, healthOf, infoOf } from "../support/node-api.ts"
import { pair } from "../support/pair.ts"
import { CallFaults } from "../torture/call-faults.ts"

const BACK = /database is available again/

/** Refuses the first database that a start looks at, and the first trial after that. */
const REFUSED = "checksums:read#1=EIO"

const again = (scope: Scope, node: TestNode, flags: readonly string[], env = {}) =>
  scope.again(node, { flags: [...flags], env })

test("a primary takes a refused database back, and its replica gets the rest", async () => {
  await using scope = await pair({ mode: "wal", sql: "create table t(x); insert into t values(1)" })
  sqlite3(scope.primary, "b.db", "create table t(x)")
  await scope.primary.stop("SIGKILL")
  const faults = new CallFaults(join(scope.directory, "calls"))
  faults.set(REFUSED)
  const primary = await again(scope, scope.primary, [], faults.env)
  faults.set("")
  expect(failureOf(sqlite3Command(primary, "a.db"), "select * from t")).toContain("unable to open")
  sqlite3(primary, "b.db", "insert into t values(2)")
  const { databases } = await infoOf(primary)
  const problem = databases.find(({ name }) => name === "a.db")?.problem
  expect(problem).toMatch(/input\/output error \(EIO\), it is tried again$/)
  expect((await healthOf(primary)).health).toMatchObject({
    status: "degraded",
    leftOut: [{ name: "a.db" }],
  })
  expect(await getText(primary, "/metrics")).toContain(`"a.db"`)
  await primary.logged(BACK)
  expect((await healthOf(primary)).health.status).toBe("ok")
  expect(sqlite3(primary, "a.db", "insert into t values(2); select sum(x) from t")).toBe("3")
  await caughtUp(primary, scope.replica, "a.db")
  await expectSame(primary, scope.replica, "a.db")
}, 60_000)

test("a replica takes a refused database back, and follows with it", async () => {
  await using scope = await pair({ mode: "wal", sql: "create table t(x)" })
  const { primary } = scope
  await scope.replica.stop("SIGKILL")
  const faults = new CallFaults(join(scope.directory, "calls"))
  faults.set(REFUSED)
  const replica = await scope.again(scope.replica, { follows: primary, env: faults.env })
  faults.set("")
  sqlite3(primary, "a.db", "insert into t values(1)")
  expect((await healthOf(replica)).health.leftOut).toHaveLength(1)
  await replica.logged(BACK)
  await caughtUp(primary, replica, "a.db")
  await expectSame(primary, replica, "a.db")
  expect((await healthOf(replica)).health.leftOut).toBeUndefined()
  await replica.stop()
}, 60_000)

test("a database whose log a start could not place comes back once that is possible, on either role", async () => {
  await using scope = await pair({ mode: "wal", sql: "create table t(x); insert into t values(1)" })
  await caughtUp(scope.primary, scope.replica, "a.db")
  await scope.replica.stop("SIGKILL")
  await scope.primary.stop("SIGKILL")
  const faults = new CallFaults(join(scope.directory, "calls"))
  faults.set("ltx:list#1=EIO, ltx:list#2=EIO, ltx:list#3=EIO")
  const primary = await again(scope, scope.primary, [], faults.env)
  expect((await healthOf(primary)).health).toMatchObject({ leftOut: [{ name: "a.db" }] })
  faults.set("")
  await primary.logged(BACK)
  expect((await healthOf(primary)).health.leftOut).toBeUndefined()
  faults.set("ltx:list#1=EIO, ltx:list#2=EIO, ltx:list#3=EIO")
  const replica = await scope.again(scope.replica, { follows: primary, env: faults.env })
  faults.set("")
  expect((await healthOf(replica)).health.leftOut).toHaveLength(1)
  await replica.logged(BACK)
  expect(sqlite3(primary, "a.db", "insert into t values(2); select sum(x) from t")).toBe("3")
  await caughtUp(primary, replica, "a.db")
  await expectSame(primary, replica, "a.db")
}, 60_000)

test("what clients wrote past a killed daemon is captured when its database comes back, or by a later start", async () => {
  const behind = ["--capture", "behind"]
  await using scope = new Scope()
  const faults = new CallFaults(join(scope.directory, "calls"))
  const first = await scope.node({ flags: behind })
  sqlite3(first, "a.db", "pragma journal_mode = wal; create table t(x)")
  const client = new LongClient(scope, first, "a.db")
  await client.exec("pragma synchronous = normal; insert into t values(1)")
  await first.stop("SIGKILL")
  await client.exec("insert into t values(2)")
  await client.close("SIGKILL")
  // It is refused, and the node is stopped in order, with the flag and without.
  let node = first
  for (const flags of [behind, ["--capture", "strict"]]) {
    faults.set("checksums:read#1+=EIO")
    node = await again(scope, node, flags, faults.env)
    expect((await healthOf(node)).health.leftOut).toHaveLength(1)
    await node.stop()
  }
  node = await again(scope, node, behind, faults.env)
  faults.set("")
  await node.logged(BACK)
  expect(sqlite3(node, "a.db", "select group_concat(x) from t")).toBe("1,2")
  expect(node.output).toContain("captured the commits of a WAL")
}, 60_000)
