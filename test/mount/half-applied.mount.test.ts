/** A system call of a replica fails while a transaction is applied: what is left of it, and what it costs. */
import { Database } from "bun:sqlite"
import { expect } from "bun:test"
import { cpSync, rmSync } from "node:fs"
import { join } from "node:path"
import { listKept } from "../../src/diverged/kept-history.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { caughtUp, expectSame, pos, run, sqlite3, sqlite3Command } from "../support/client.ts"
import { FaultProxy } from "../support/fault-proxy.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { usageOf } from "../support/process-usage.ts"
import { testRandom } from "../support/random.ts"
import { until } from "../support/until.ts"
import { CallFaults } from "../torture/call-faults.ts"

const random = testRandom()

const MODES = ["delete", "wal"] as const

const FAILED = /cannot take what the primary sends/

function keptIn({ data }: TestNode): string[] {
  return listKept(new DataDir(data)).histories.map(({ facts }) => facts.reason)
}

/** A transaction that writes every page anew, and changes their size. */
function importInto(scope: Scope, node: TestNode): void {
  const path = join(scope.directory, "import.db")
  const database = new Database(path)
  database.run("pragma page_size = 8192; create table t(x); insert into t values('imported')")
  database.close()
  run([...PROGRAM, "import", "--url", node.url, "--name", "a.db", path])
}

/** What fails, and in which transaction: half of them in one run, by chance, and all with LITEFS_ALL_FAULTS. */
const HALVES = [
  ["delete", "mount:stat#2+", "an insert"],
  ["delete", "database:write#1+", "an import"],
  ["wal", "mount:stat#4+", "an import"], // every client is locked out
  ["wal", "mount:write#1+", "an insert"], // a read mark is being taken
] as const

test.each(random.halfOf(HALVES))(
  "%s mode: a snapshot takes the place of a database in which %s has failed during %s",
  async (mode, call, what) => {
    await using scope = new Scope()
    let primary = await scope.node()
    sqlite3(primary, "a.db", `pragma journal_mode = ${mode}; create table t(x)`)
    await primary.stop()
    const saved = join(scope.directory, "saved")
    cpSync(primary.data, saved, { recursive: true })
    primary = await scope.again(primary)
    sqlite3(primary, "a.db", "insert into t values('old')")
    const faults = new CallFaults(join(scope.directory, "calls"))
    const replica = await scope.node({ follows: primary, env: faults.env })
    await caughtUp(primary, replica, "a.db")
    const client = new LongClient(scope, replica, "a.db")
    expect(await client.value("select x from t")).toBe("old")
    const before = pos(replica, "a.db")

    faults.set(`1/${call}=EIO`)
    if (what === "an import") importInto(scope, primary)
    else sqlite3(primary, "a.db", "insert into t values('half')")
    await replica.logged(FAILED)
    const reading = client.value("select group_concat(x) from t")
    await primary.stop()
    expect(pos(replica, "a.db")).toBe(before)
    faults.set("")

    rmSync(primary.data, { recursive: true })
    cpSync(saved, primary.data, { recursive: true })
    primary = await scope.again(primary)
    sqlite3(primary, "a.db", "insert into t values('other')")
    await expectSame(primary, replica, "a.db")
    expect(await reading).toBeOneOf(["old", "other", null])
    expect(await client.value("select group_concat(x) from t")).toBe("other")
    expect(keptIn(replica)).toHaveLength(1)
    sqlite3(primary, "a.db", "insert into t values('later')")
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)

test("a transaction of another history does not mix with the half of the one that it follows on no more", async () => {
  await using scope = new Scope()
  let primary = await scope.node()
  sqlite3(primary, "a.db", "create table t(x); create table u(x)")
  await primary.stop()
  const saved = join(scope.directory, "saved")
  cpSync(primary.data, saved, { recursive: true })
  primary = await scope.again(primary)
  const faults = new CallFaults(join(scope.directory, "calls"))
  const replica = await scope.node({ follows: primary, env: faults.env })
  await caughtUp(primary, replica, "a.db")
  faults.set("1/mount:stat#1+=EIO")
  sqlite3(primary, "a.db", "insert into t values('half')")
  await replica.logged(FAILED)
  await primary.stop()
  faults.set("")

  rmSync(primary.data, { recursive: true })
  cpSync(saved, primary.data, { recursive: true })
  primary = await scope.again(primary)
  sqlite3(primary, "a.db", "insert into u values('other')")
  await expectSame(primary, replica, "a.db")
  expect(keptIn(replica)).toHaveLength(1)
}, 60_000)

test.each([
  ["delete", "1/log:write#3=ENOSPC"],
  ["wal", "1/log:write#3=ENOSPC"],
  ["delete", "1/mount:stat#3=EIO"],
  ["wal", "1/mount:read#3=EIO"],
  ["wal", "1/mount:write#9=EIO"],
])(
  "%s mode: %s of a replica that is behind costs neither a snapshot nor a kept history",
  async (mode, fault) => {
    await using scope = new Scope()
    const primary = await scope.node()
    await using link = await FaultProxy.start(primary.port)
    const faults = new CallFaults(join(scope.directory, "calls"))
    const replica = await scope.node({ follows: link, env: faults.env })
    sqlite3(primary, "a.db", `pragma journal_mode = ${mode}; create table t(x)`)
    await caughtUp(primary, replica, "a.db")
    link.refuse()
    link.cut()
    const sent = (primary.output.match(/sending snapshot/g) ?? []).length
    for (let x = 1; x <= 7; x++) sqlite3(primary, "a.db", `insert into t values(${x})`)
    faults.forget()
    faults.set(fault)
    link.heal()
    await caughtUp(primary, replica, "a.db")
    expect(faults.hitCount).toBe(1)
    await expectSame(primary, replica, "a.db")
    expect(primary.output.match(/sending snapshot/g) ?? []).toHaveLength(sent)
    expect(keptIn(replica)).toEqual([])
  },
  60_000,
)

test.each(random.someOf(MODES))(
  "%s mode: nothing stays open of files that cannot be looked at, and the next look finds them",
  async (mode) => {
    await using scope = new Scope()
    const primary = await scope.node()
    // In WAL mode the database, the WAL and its index are opened, one after the other.
    const counts = mode === "wal" ? [1, 2, 3] : [1]
    const make = `pragma journal_mode = ${mode}; create table t(x)`
    for (const nth of counts) sqlite3(primary, `${nth}.db`, make)
    const faults = new CallFaults(join(scope.directory, "calls"))
    const replica = await scope.node({ follows: primary, env: faults.env })
    for (const nth of counts) {
      const name = `${nth}.db`
      await caughtUp(primary, replica, name)
      const opened = () =>
        usageOf(replica.pid).files.filter((file) => file.startsWith(join(replica.mount, name)))
      faults.forget()
      faults.set(`1/mount:stat#${nth}+=EIO`)
      sqlite3(primary, name, "insert into t values(1)")
      await until("it has failed again and again", () => faults.hitCount >= 3)
      expect(opened().length).toBeLessThan(nth)
      faults.set("")
      await expectSame(primary, replica, name)
    }
    expect(replica.output).not.toMatch(/the WAL was removed/)
    expect(keptIn(replica)).toEqual([])
  },
  60_000,
)

test.each(["2/shm:write#1=EIO", "2/shm:write#2=ENOSPC", "2/shm:write#1+=EIO"])(
  "%s: a commit in a borrowed database is seen when the disk refuses the wal-index",
  async (fault) => {
    await using scope = new Scope()
    const primary = await scope.node()
    const faults = new CallFaults(join(scope.directory, "calls"))
    const replica = await scope.node({ follows: primary, env: faults.env })
    // One is not enough: it depends on what the kernel writes back when.
    for (const name of ["a.db", "b.db", "c.db", "d.db"]) {
      sqlite3(primary, name, "pragma journal_mode = wal; create table t(x)")
      await caughtUp(primary, replica, name)
      const client = new LongClient(scope, replica, name)
      expect(await client.value("select count(*) from t")).toBe(0)
      faults.forget()
      faults.set(fault)
      const lock = ["flock", "-w", "15", join(replica.mount, `${name}-lock`)]
      run([...lock, ...sqlite3Command(replica, name), "insert into t values(1)"])
      await caughtUp(primary, replica, name)
      expect(await client.value("select count(*) from t")).toBe(1)
      expect(sqlite3(replica, name, "select count(*) from t")).toBe("1")
      expect(faults.hitCount).toBeGreaterThan(0)
      faults.set("")
      await expectSame(primary, replica, name)
    }
  },
  60_000,
)
