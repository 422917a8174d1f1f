/** A system call that fails while a transaction ends, or a database changes hands, is tried again: nobody has to restart. */
import { expect } from "bun:test"
import { caughtUp, expectSame, failureOf, run, sqlite3 } from "../support/client.ts"
import { diverge } from "../support/diverge.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { Scope, type TestNode } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { holder, locked, ONE_ROW, shell, values } from "../support/write-lock.ts"
import { CallFaults } from "../torture/call-faults.ts"
import { promote } from "../torture/handoffs.ts"

const MODES = ["delete", "wal"] as const
const ENDS_ALL = /restart litefs|database is unavailable/

async function withFaults() {
  const directory = new Scope()
  const faults = new CallFaults(`${directory.directory}/node`)
  return { directory, faults, env: faults.env }
}

test("a committed transaction that the database file does not take is there at once, and in the file when that goes again", async () => {
  const { directory, faults, env } = await withFaults()
  await using _directory = directory
  await using scope = await pair({ mode: "delete", sql: ONE_ROW, primary: { env } })
  const { primary, replica } = scope
  const reader = new LongClient(scope, primary, "a.db")
  expect(await reader.value("select count(*) from t")).toBe(1)
  faults.set("2/database:write#1+=EIO")
  run(shell(primary, "insert into t values(2)"))
  await primary.logged(/cannot write a transaction to the database file, trying again/)
  expect(await reader.value("select count(*) from t")).toBe(2)
  await caughtUp(primary, replica, "a.db")
  expect(values(replica)).toBe("1,2")
  expect(values(primary)).toBe("1,2")
  expect(failureOf(shell(primary, "insert into t values(0)"))).toMatch(/I\/O error/)
  faults.set("")
  run(shell(primary, "insert into t values(3)"))
  await primary.logged(/wrote a transaction to the database file after all/)
  expect(await reader.value("select group_concat(x) from t")).toBe("1,2,3")
  await reader.close()
  await expectSame(primary, replica, "a.db")
  expect(primary.output).not.toMatch(ENDS_ALL)
}, 60_000)

test("a committed transaction that the database file does not take is there after a crash", async () => {
  const { directory, faults, env } = await withFaults()
  await using _directory = directory
  await using scope = await pair({ mode: "delete", sql: ONE_ROW, primary: { env } })
  const { primary, replica } = scope
  faults.set("2/database:write#2+=EIO") // the first page is written
  run(shell(primary, "begin; create table u(x); insert into t values(2); commit"))
  await primary.logged(/cannot write a transaction to the database file, trying again/)
  await primary.stop("SIGKILL")
  const again = await scope.again(primary, {})
  expect(values(again)).toBe("1,2")
  expect(sqlite3(again, "a.db", "select count(*) from u; pragma integrity_check")).toBe("0\nok")
  await expectSame(again, replica, "a.db")
}, 60_000)

test.each(["2/database:replace#1=EIO", "2/wal:truncate#1=EIO"])(
  "an import succeeds though %s",
  async (fault) => {
    const { directory, faults, env } = await withFaults()
    await using _directory = directory
    await using scope = await pair({ mode: "wal", sql: ONE_ROW, primary: { env } })
    const { primary, replica } = scope
    const reader = new LongClient(scope, primary, "a.db") // keeps the WAL
    await reader.exec("insert into t values(2)")
    const file = `${scope.directory}/import.db`
    run(["sqlite3", file, "pragma journal_mode = wal; create table t(x); insert into t values(7)"])
    faults.set(fault)
    const body = Bun.file(file)
    const answer = await fetch(`${primary.url}/import?name=a.db`, { method: "POST", body })
    expect([answer.status, await answer.text()]).toEqual([200, expect.any(String)])
    expect(faults.hitCount).toBe(1)
    expect(await reader.value("select group_concat(x) from t")).toBe("7")
    await reader.close()
    await expectSame(primary, replica, "a.db")
    expect(primary.output).not.toMatch(ENDS_ALL)
  },
  60_000,
)

test("a borrowed database goes back when its WAL can be read again, and is borrowed once more", async () => {
  const { directory, faults, env } = await withFaults()
  await using _directory = directory
  await using scope = await pair({ mode: "wal", sql: ONE_ROW, replica: { env } })
  const { primary, replica } = scope
  const client = new LongClient(scope, replica, "a.db") // keeps the WAL
  expect(await client.value("select count(*) from t")).toBe(1)
  const held = await holder(scope, replica)
  run(shell(replica, "insert into t values(2)"))
  faults.set("2/wal:read#1+=EIO")
  held.kill("SIGKILL")
  await replica.logged(/cannot hand a database over, trying again/)
  expect(values(primary)).toBe("1,2")
  expect(failureOf(["rm", `${replica.mount}/a.db-wal`])).toMatch(/busy/)
  faults.set("")
  run(shell(primary, "insert into t values(3)"))
  run(locked(replica, ...shell(replica, "insert into t values(4)")))
  await expectSame(primary, replica, "a.db")
  expect(await client.value("select group_concat(x) from t")).toBe("1,2,3,4")
  await client.close()
  expect(replica.output).not.toMatch(ENDS_ALL)
}, 60_000)

test("a database goes with the role when its WAL can be read again", async () => {
  const { directory, faults, env } = await withFaults()
  await using _directory = directory
  const flags = ["--candidate"]
  await using scope = await pair({ flags, mode: "wal", sql: ONE_ROW, primary: { env } })
  const { primary, replica } = scope
  const client = new LongClient(scope, primary, "a.db") // keeps the WAL
  await client.exec("insert into t values(2)")
  sqlite3(primary, "b.db", "create table t(x); insert into t values(5)")
  for (const name of ["a.db", "b.db"]) await caughtUp(primary, replica, name)
  faults.set("2/wal:read#1+=EIO,2/wal:stat#1+=EIO")
  await promote(replica, "?force=true")
  await primary.logged(/cannot hand a database over, trying again/)
  for (const name of ["a.db", "b.db"]) {
    failureOf(["sqlite3", "-bail", `${primary.mount}/${name}`, "insert into t values(0)"])
  }
  expect(await client.value("select group_concat(x) from t")).toBe("1,2")
  faults.set("")
  await primary.logged(/msg="this node is a replica"/)
  run(shell(replica, "insert into t values(3)"))
  await caughtUp(replica, primary, "a.db")
  expect(await client.value("select group_concat(x) from t")).toBe("1,2,3")
  await client.close()
  await promote(primary)
  sqlite3(primary, "a.db", "insert into t values(4)")
  for (const name of ["a.db", "b.db"]) await expectSame(primary, replica, name)
  expect(primary.output).not.toMatch(ENDS_ALL)
}, 60_000)

const WAYS = [
  ["flock(1)", [], (node: TestNode, sql: string) => locked(node, ...shell(node, sql))],
  ["--forward-writes", ["--forward-writes"], shell],
] as const

test.each(MODES.flatMap((mode) => WAYS.map((way) => [mode, ...way] as const)))(
  "%s mode: clients of a replica that have seen another history write by %s without a restart",
  async (mode, _, flags, write) => {
    await using scope = new Scope()
    const insert = (word: string) => `insert into t(x) values('${word}')`
    const stopped = await diverge(scope, {
      setup: `pragma journal_mode = ${mode}; create table t(id integer primary key, x)`,
      ours: insert("ours"),
      theirs: insert("theirs"),
    })
    const replica = await scope.again(stopped.replica, { follows: stopped.primary, flags })
    const client = new LongClient(scope, replica, "a.db")
    const all = "select group_concat(x) from t"
    expect(await client.value(all)).toBe("theirs")
    const primary = await scope.again(stopped.primary, { flags })
    const other = new LongClient(scope, primary, "a.db")
    expect(await other.value(all)).toBe("ours")
    await replica.logged(/has diverged from the primary's/)
    await caughtUp(primary, replica, "a.db")
    // It has not read since: what it remembers has the counters of a history that is no more.
    run(write(replica, insert("borrowed")))
    expect(await client.value(all)).toBe("ours,borrowed")
    expect(await other.value(all)).toBe("ours,borrowed")
    run(write(replica, insert("again")))
    sqlite3(primary, "a.db", insert("later"))
    await expectSame(primary, replica, "a.db")
    for (const each of [client, other]) {
      expect(await each.value(all)).toBe("ours,borrowed,again,later")
      expect(await each.value("pragma integrity_check")).toBe("ok")
      await each.close()
    }
  },
  90_000,
)
