import { expect } from "bun:test"
import { closeSync, openSync, rmSync, writeSync } from "node:fs"
import { join } from "node:path"
import { run, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { Scope } from "../support/node.ts"

const FLAGS = ["--log-level", "debug"]

test("a database that was closed in order is looked at after the start, and one that rotted is told of", async () => {
  await using scope = new Scope()
  const first = await scope.node()
  for (const name of ["good.db", "bad.db"]) {
    sqlite3(first, name, "create table t(x); insert into t select hex(randomblob(4000));")
  }
  await first.stop()

  const second = await scope.node({ directory: first.directory, flags: FLAGS })
  await second.logged(/msg=verified db=good\.db bytes=\d+/)
  await second.logged(/msg=verified db=bad\.db bytes=\d+/)
  await second.stop()

  rot(join(first.data, "dbs/bad.db/database"))
  const third = await scope.node({ directory: first.directory, flags: FLAGS })
  await third.logged(/a database has changed since it was closed, see litefs doctor" db=bad\.db/)
  await third.logged(/msg=verified db=good\.db/)
  expect(third.output).not.toContain("msg=verified db=bad.db")
}, 60_000)

test.each([
  ["wal", []],
  ["delete", []],
  ["wal", ["--capture", "behind"]],
] as const)(
  "a database in %s mode of a killed node is looked at after the start, too: %p",
  async (mode, more) => {
    await using scope = new Scope()
    const flags = [...FLAGS, ...more]
    const first = await scope.node({ flags })
    sqlite3(first, "a.db", `pragma journal_mode=${mode}; create table t(x)`)
    sqlite3(first, "a.db", `insert into t ${ROWS}`)
    await first.stop()
    const again = { directory: first.directory, flags }
    let node = await scope.node(again)
    let count = 1000
    for (let round = 0; round < 2; round++) {
      const client = new LongClient(scope, node, "a.db")
      for (let n = 0; n < 5; n++) await client.exec("insert into t values(1)")
      count += 5
      await node.stop("SIGKILL")
      await client.exec("select 1").catch(() => {})
      node = await scope.node(again)
      await node.logged(/msg=verified db=a\.db/)
      expect(sqlite3(node, "a.db", "select count(*) from t; pragma integrity_check")).toBe(
        `${count}\nok`,
      )
    }
    // Nobody looks where somebody else was: that start reads all of it.
    await node.stop("SIGKILL")
    rot(join(node.data, "dbs/a.db/database"))
    run(["touch", join(node.data, "dbs/a.db/database")])
    node = await scope.spawn(again)
    await node.logged(/Cannot open database/)
  },
  60_000,
)

/** Enough pages for their checksums to be kept. */
const ROWS =
  "with recursive c(n) as (select 1 union all select n + 1 from c where n < 1000) select hex(randomblob(300)) from c"

/** Changes a byte that nobody has written, as a disk does: size and mtime stay, to the nanosecond. */
function rot(path: string): void {
  const times = `${path}.times`
  run(["touch", "-r", path, times])
  const fd = openSync(path, "r+")
  writeSync(fd, Buffer.from("!"), 0, 1, 8000)
  closeSync(fd)
  run(["touch", "-r", times, path])
  rmSync(times)
}
