/** Transactions that are large, and those that cannot be captured. */
import { expect } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import {
  caughtUp,
  expectQuiet,
  expectSame,
  failureOf,
  pos,
  run,
  sqlite3,
} from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { flagsOf, SEEN_LOCKS } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { testRandom } from "../support/random.ts"
import { someModes } from "../torture/model.ts"

test.each<[string, string]>([
  ...someModes(testRandom()).map((mode): [string, string] => [mode, ""]),
  ["delete", SEEN_LOCKS],
  ["wal", SEEN_LOCKS],
])(
  "%p mode%s: blobs of 5 MB in a transaction that outgrows SQLite's cache arrive as one transaction",
  async (mode, locks) => {
    await using scope = await pair({
      flags: flagsOf(locks),
      mode,
      sql: "create table t(id integer primary key, x)",
    })
    const { primary, replica } = scope
    const watcher = new LongClient(scope, replica, "a.db")
    expect(await watcher.value("select count(*) from t")).toBe(0)
    const before = Number.parseInt(pos(primary, "a.db"), 16)
    sqlite3(
      primary,
      "a.db",
      `pragma journal_mode = ${mode}; pragma cache_size = 10; begin;
       insert into t(x) values(randomblob(5000000)), (randomblob(5000000));
       update t set x = zeroblob(5000000) where id = 1; insert into t(x) values('end'); commit;`,
    )
    const after = await expectSame(primary, replica, "a.db")
    expect(Number.parseInt(after, 16)).toBe(before + 1)
    expect(await watcher.rows("select id, length(x) from t")).toEqual([
      [1, 5_000_000],
      [2, 5_000_000],
      [3, 3],
    ])
    sqlite3(primary, "a.db", `pragma journal_mode = ${mode}; delete from t where id < 3; vacuum`)
    await expectSame(primary, replica, "a.db")
    expect(await watcher.rows("select x from t")).toEqual([["end"]])
  },
  30_000,
)

test.each(["memory", "off"])(
  "%p mode is refused with an error for the client and one line in the log for each",
  async (mode) => {
    await using scope = await pair()
    const { primary, replica } = scope
    sqlite3(primary, "a.db", "create table t(x); insert into t values(1)")
    const before = await caughtUp(primary, replica, "a.db")
    const sql = `pragma journal_mode = ${mode}; insert into t values(2);`
    for (let attempt = 0; attempt < 3; attempt++) {
      const command = ["sqlite3", "-bail", `${primary.mount}/a.db`, sql]
      expect(failureOf(command)).toMatch(/disk I\/O error|unable to|not supported/i)
    }
    expect(sqlite3(primary, "a.db", "select group_concat(x) from t; pragma integrity_check")).toBe(
      "1\nok",
    )
    expect(await expectSame(primary, replica, "a.db")).toBe(before)
    sqlite3(primary, "a.db", "insert into t values(3)")
    await expectSame(primary, replica, "a.db")
    await primary.stop()
    const lines = (await primary.wholeOutput).match(
      /cannot be captured, use journal_mode.* process="\d+ \(sqlite3\)"/g,
    )
    expect(new Set(lines).size).toBe(3) // each is of another process
    expect(lines).toHaveLength(3)
  },
  30_000,
)

test("a database made in MEMORY mode is refused and can then be made properly", async () => {
  await using scope = await pair()
  const { primary, replica } = scope
  const command = [
    "sqlite3",
    "-bail",
    `${primary.mount}/a.db`,
    "pragma journal_mode = memory; create table t(x)",
  ]
  expect(failureOf(command)).not.toBe("")
  await primary.logged(/cannot be captured, use journal_mode/)
  sqlite3(primary, "a.db", "create table t(x); insert into t values(1)")
  await expectSame(primary, replica, "a.db")
}, 30_000)

test("a file that is copied into the mount is refused, and nothing is broken", async () => {
  await using scope = await pair()
  const { primary, replica } = scope
  const source = join(scope.directory, "source.db")
  run(["sqlite3", source, "create table t(x); insert into t values(7)"])
  writeFileSync(join(scope.directory, "notes.txt"), "no database")
  for (const file of ["source.db", "notes.txt"]) {
    expect(failureOf(["cp", join(scope.directory, file), `${primary.mount}/${file}`])).toMatch(
      /Operation not permitted/,
    )
    await primary.logged(RegExp(`Cannot write ."${file}`))
  }

  // Over a database that is there: as it was.
  sqlite3(primary, "a.db", "create table t(x); insert into t values(1)")
  const before = await expectSame(primary, replica, "a.db")
  expect(failureOf(["cp", source, `${primary.mount}/a.db`])).not.toBe("")
  expect(sqlite3(primary, "a.db", "select x from t")).toBe("1")
  expect(await expectSame(primary, replica, "a.db")).toBe(before)

  // The way that the log line tells.
  run(["sqlite3", source, `vacuum into '${primary.mount}/into.db'`])
  await expectSame(primary, replica, "into.db")
  sqlite3(primary, "restored.db", `.restore ${source}`)
  await expectSame(primary, replica, "restored.db")
  expect(sqlite3(replica, "restored.db", "select x from t")).toBe("7")
  await expectQuiet(replica)
}, 30_000)

test("names that are ours cannot be made, and other files still can", async () => {
  await using scope = await pair()
  const { primary, replica } = scope
  sqlite3(primary, "x", "create table t(a)")
  await caughtUp(primary, replica, "x")
  for (const node of [primary, replica]) {
    // The lock file of a database may be cut off, since it is empty. The shell calls every failed write an I/O error.
    const others = { "x-lock": /I\/O error/, "y-lock": /nonexistent/ }
    const denied = ["x-pos", "y-pos", ".primary", ".lag"].map((name) => [name, /Permission denied/])
    for (const [name, words] of [...denied, ...Object.entries(others)] as [string, RegExp][]) {
      const write = ["sh", "-c", 'echo 1 > "$0"', `${node.mount}/${name}`]
      expect(failureOf(write)).toMatch(words)
      expect(failureOf(["rm", "-f", "--", `${node.mount}/x-pos`])).toMatch(/Permission denied/)
    }
  }
  for (const command of [
    ["mkdir", `${primary.mount}/d`],
    ["mv", `${primary.mount}/x`, `${primary.mount}/y`],
    ["ln", "-s", "x", `${primary.mount}/l`],
    ["ln", `${primary.mount}/x`, `${primary.mount}/l`],
  ]) {
    expect(failureOf(command)).not.toBe("")
  }
  sqlite3(primary, "y", "create table t(a); insert into t values(1)")
  sqlite3(primary, "x", "insert into t values(1)")
  await expectSame(primary, replica, "x")
  await expectSame(primary, replica, "y")
}, 30_000)
