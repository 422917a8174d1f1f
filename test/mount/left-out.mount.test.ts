/** Databases that cannot be sent, or not be applied, are left out, and the others go on. */
import { expect } from "bun:test"
import { closeSync, mkdirSync, openSync, readSync, rmSync, writeFileSync, writeSync } from "node:fs"
import { join } from "node:path"
import { expectSame, run, sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { healthOf, infoOf, metricOf } from "../support/node-api.ts"
import { pair } from "../support/pair.ts"

const CONTENT = "create table t(x); insert into t select hex(randomblob(4000)) from (values(1),(2))"

function wait(node: TestNode, ...args: string[]) {
  const { exitCode, stderr } = Bun.spawnSync([...PROGRAM, "wait", "--url", node.url, ...args])
  return { code: exitCode, error: stderr.toString() }
}

async function stateOf(node: TestNode, database: string) {
  const { databases } = await infoOf(node)
  const found = databases.find(({ name }) => name === database)
  return found && { state: found.state, problem: found.problem }
}

/** Changes a byte of the file of a database, or changes it back. Size and times stay, as when a disk rots. */
function flip(node: TestNode, database: string): void {
  const path = join(node.data, "dbs", database, "database")
  run(["touch", "-r", path, `${path}.times`])
  const fd = openSync(path, "r+")
  const byte = Buffer.alloc(1)
  readSync(fd, byte, 0, 1, 8000)
  byte[0] = (byte[0] as number) ^ 1
  writeSync(fd, byte, 0, 1, 8000)
  closeSync(fd)
  run(["touch", "-r", `${path}.times`, path])
  rmSync(`${path}.times`)
}

/** The next start refuses the database. */
function ruin(node: TestNode, database: string): void {
  const directory = join(node.data, "dbs", database)
  rmSync(join(directory, "ltx"), { recursive: true })
  mkdirSync(join(directory, "ltx"))
  writeFileSync(join(directory, "database"), "no database")
}

test("a database that cannot be read is left out of the streams, said on both sides, and sent when it can be read", async () => {
  await using scope = new Scope()
  const first = await scope.node()
  for (const name of ["bad.db", "zz.db"]) sqlite3(first, name, CONTENT)
  await first.stop()
  flip(first, "bad.db")
  const primary = await scope.again(first)
  const replica = await scope.node({ follows: primary })
  expect(wait(replica, "--db", "zz.db", "--timeout", "10s")).toEqual({ code: 0, error: "" })
  await replica.logged(/the primary cannot send a database.*db=bad\.db/)
  sqlite3(primary, "zz.db", "insert into t values('later')")
  await expectSame(primary, replica, "zz.db")

  for (const node of [primary, replica]) {
    expect(await stateOf(node, "zz.db")).toEqual({ state: "here", problem: undefined })
    expect((await stateOf(node, "bad.db"))?.state).toBe("left-out")
    const { status, health } = await healthOf(node)
    expect([status, health.status, health.leftOut?.[0]?.name]).toEqual([200, "degraded", "bad.db"])
    expect(await metricOf(node, 'litefs_db_left_out{db="bad.db"}')).toBe(1)
    expect(await metricOf(node, 'litefs_db_left_out{db="zz.db"}')).toBe(0)
  }
  expect((await stateOf(primary, "bad.db"))?.problem).toContain("no longer sum to")
  expect(wait(replica, "--synced", "--timeout", "2s")).toMatchObject({
    code: 1,
    error: expect.stringContaining('"bad.db" is not here: the primary cannot read it'),
  })
  expect(replica.output).not.toContain("not connected to the primary")
  expect(primary.output.match(/cannot send a database/g)).toHaveLength(1)

  flip(first, "bad.db")
  await primary.logged(/a database can be read again, it is sent" db=bad\.db/)
  expect(wait(replica, "--synced", "--timeout", "10s")).toEqual({ code: 0, error: "" })
  await expectSame(primary, replica, "bad.db")
  expect((await healthOf(replica)).health.status).toBe("ok")
}, 90_000)

test("a database that the primary refuses at its start is left out, and the replica keeps what it has", async () => {
  await using scope = new Scope()
  const first = await scope.node()
  const replica = await scope.node({ follows: first })
  for (const name of ["bad.db", "zz.db"]) sqlite3(first, name, CONTENT)
  for (const name of ["bad.db", "zz.db"]) await expectSame(first, replica, name)
  await first.stop()
  ruin(first, "bad.db")
  const primary = await scope.again(first)
  await replica.logged(
    /the primary cannot send a database.*db=bad\.db reason="refused at its start"/,
  )
  expect(replica.output).not.toContain("the primary does not have")
  sqlite3(primary, "zz.db", "insert into t values('later')")
  await expectSame(primary, replica, "zz.db")
  for (const node of [primary, replica]) {
    expect((await stateOf(node, "bad.db"))?.state).toBe("left-out")
    expect((await healthOf(node)).health.status).toBe("degraded")
  }
  expect((await stateOf(primary, "bad.db"))?.problem).toContain("not a SQLite database")
  expect((await stateOf(replica, "bad.db"))?.problem).toContain("the primary has refused it")
  expect(sqlite3(replica, "bad.db", "select count(*) from t")).toBe("2")
  expect(wait(replica, "--synced", "--timeout", "10s")).toEqual({ code: 0, error: "" })

  // A replica that has nothing of it is not in sync.
  const other = await scope.node({ follows: primary })
  expect(wait(other, "--db", "zz.db", "--timeout", "10s").code).toBe(0)
  expect(wait(other, "--synced", "--timeout", "2s").error).toContain('"bad.db" is not here')
}, 90_000)

test("a database that is damaged on a replica is left out there, and the others follow", async () => {
  await using scope = new Scope()
  const primary = await scope.node()
  const first = await scope.node({ follows: primary })
  for (const name of ["bad.db", "zz.db"]) sqlite3(primary, name, CONTENT)
  for (const name of ["bad.db", "zz.db"]) await expectSame(primary, first, name)
  await first.stop()
  for (const name of ["bad.db", "zz.db"]) sqlite3(primary, name, "insert into t values(1)")
  ruin(first, "bad.db")
  const replica = await scope.again(first, { follows: primary })
  await expectSame(primary, replica, "zz.db")
  sqlite3(primary, "bad.db", "insert into t values(2)")
  sqlite3(primary, "zz.db", "insert into t values(2)")
  await expectSame(primary, replica, "zz.db")
  expect((await stateOf(replica, "bad.db"))?.problem).toContain("not a SQLite database")
  expect((await infoOf(primary)).replicas[0]?.leftOut).toEqual(["bad.db"])
  expect(replica.output).not.toContain("not connected to the primary")
}, 90_000)

test("a damaged LTX file on the primary is made up for by a snapshot", async () => {
  await using scope = new Scope()
  const primary = await scope.node()
  const first = await scope.node({ follows: primary })
  sqlite3(primary, "a.db", CONTENT)
  await expectSame(primary, first, "a.db")
  await first.stop()
  for (let n = 0; n < 3; n++) sqlite3(primary, "a.db", "insert into t values(randomblob(3000))")
  const file = join(primary.data, "dbs/a.db/ltx/0000000000000004-0000000000000004.ltx")
  const fd = openSync(file, "r+")
  writeSync(fd, Buffer.from("!!!!"), 0, 4, 200)
  closeSync(fd)
  // The primary has it in memory too: only after a start it reads the file.
  await primary.stop()
  const { directory, port } = primary
  const again = await scope.node({ directory, port })
  const replica = await scope.node({
    ...{ follows: again, directory: first.directory, port: first.port },
  })
  await expectSame(again, replica, "a.db")
}, 90_000)

test("a database that somebody has put in the data directory is sent before its first write", async () => {
  await using scope = new Scope()
  const first = await scope.node()
  sqlite3(first, "other.db", "create table t(x)")
  await first.stop()
  for (const mode of ["wal", "delete"]) {
    const directory = join(first.data, "dbs", `${mode}.db`)
    mkdirSync(directory)
    run(["sqlite3", join(directory, "database"), `pragma journal_mode=${mode}; ${CONTENT}`])
  }
  const primary = await scope.again(first)
  const replica = await scope.node({ follows: primary })
  for (const name of ["wal.db", "delete.db"]) await expectSame(primary, replica, name)
  expect(sqlite3(replica, "wal.db", "select count(*) from t")).toBe("2")
  for (const name of ["wal.db", "delete.db"]) {
    sqlite3(primary, name, "insert into t values(3)")
    await expectSame(primary, replica, name)
  }
}, 90_000)

test("litefs wait --synced waits for a database that is on its way", async () => {
  await using scope = await pair({ primary: { flags: ["--snapshot-rate", "2MB/s"] } })
  const { primary, replica } = scope
  sqlite3(primary, "small.db", CONTENT)
  await expectSame(primary, replica, "small.db")
  const file = join(scope.directory, "large.db")
  const rows = "with recursive c(n) as (select 1 union all select n+1 from c where n<8000)"
  run(["sqlite3", file, `create table t(x); insert into t ${rows} select randomblob(900) from c`])
  for (let round = 0; round < 3; round++) {
    const name = `large-${round}.db`
    const body = Bun.file(file)
    const imported = await fetch(`${primary.url}/import?name=${name}`, { method: "POST", body })
    expect(imported.status).toBe(200)
    if (round === 2) {
      // While it comes.
      await Bun.sleep(1200)
      expect(wait(replica, "--synced", "--timeout", "100ms").code).toBe(1)
      const { databases } = await infoOf(replica)
      expect(databases.find((each) => each.name === name)?.state).toBe("arriving")
      expect((await healthOf(replica)).health.arriving).toEqual([name])
      expect((await healthOf(replica, `?db=${name}`)).health.reason).toContain("on its way")
      expect(await metricOf(replica, `litefs_db_arriving{db="${name}"}`)).toBe(1)
    }
    const waited = round === 0 ? ["--synced"] : ["--db", name]
    expect(wait(replica, ...waited, "--timeout", "30s").code).toBe(0) // and says that it waits
    expect(sqlite3(replica, name, "select count(*) from t")).toBe("8000")
  }
}, 90_000)
