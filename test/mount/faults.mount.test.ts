/**
 * The short form of the fault sweeps: some of the calls in each mode, chosen at random, more with LITEFS_ALL_FAULTS. All:
 * `scripts/torture --only faults`, `starts` and `upkeep`. And a disk that is really full.
 */
import { expect } from "bun:test"
import { spawnSync } from "node:child_process"
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import {
  caughtUp,
  expectSame,
  failureOf,
  pos,
  run,
  sqlite3,
  sqlite3Command,
} from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { flagsOf, inCapture, PROGRAM, Scope, STRICT } from "../support/node.ts"
import { healthOf } from "../support/node-api.ts"
import { pair } from "../support/pair.ts"
import { rounds, testRandom } from "../support/random.ts"
import { until } from "../support/until.ts"
import { CallFaults } from "../torture/call-faults.ts"
import { sweep } from "../torture/fault-sweep.ts"
import { replayHistory } from "../torture/history-check.ts"
import { MODES, someRollbackModes, someWays } from "../torture/model.ts"
import { noStartFaultsResult, STARTS_ON, startFaults } from "../torture/start-faults.ts"
import { DURATIONS, noSweepResult } from "../torture/sweep.ts"
import { upkeepFaults } from "../torture/upkeep-faults.ts"

const random = testRandom()

test.each(someWays(random))(
  "system calls that fail in %s mode fail commits, and nothing else%s",
  async (mode, how) => {
    const result = noSweepResult()
    const durations = ["once", "lifted"] as const
    const failures: string[] = []
    const onFailure = (text: string) => void failures.push(text)
    const where = { at: "primary", scratch: tmpdir() } as const
    const limits = { sample: 8, limitMs: 20_000 }
    await inCapture(how, () =>
      sweep({ random, mode, durations, ...where, ...limits, result, onFailure }),
    )
    expect(failures).toEqual([])
    expect(result.hits).toBeGreaterThan(0)
  },
  60_000,
)

test.each(["primary", "replica"] as const)(
  "system calls that fail while a %s starts on what a crash or nobody left, or stops, lose nothing",
  async (at) => {
    const result = noStartFaultsResult()
    const mode = random.pick(MODES)
    const failures: string[] = []
    const onFailure = (text: string) => void failures.push(text)
    const on = random.pick(STARTS_ON[at])
    const how = { at, on, sample: 5, limitMs: 15_000, scratch: tmpdir() }
    await startFaults({ random, mode, ...how, result, onFailure })
    expect(failures).toEqual([])
    expect(result.hits).toBeGreaterThan(0)
  },
  90_000,
)

/** Those that take little time. */
const QUICK = ["import", "export", "reap", "catch-up", "handoff", "borrow", "restart"] as const

test.each(["primary", "replica"] as const)(
  "system calls of a %s that fail in imports, exports, handoffs and the like leave them done or not done",
  async (at) => {
    const result = noSweepResult()
    const mode = random.pick(MODES)
    const failures: string[] = []
    const onFailure = (text: string) => void failures.push(text)
    const how = { at, durations: DURATIONS, sample: rounds(2, 4), limitMs: 6000, scratch: tmpdir() }
    await upkeepFaults({ random, mode, operation: random.pick(QUICK), ...how, result, onFailure })
    expect(failures).toEqual([])
    expect(result.faults).toBeGreaterThan(0)
  },
  90_000,
)

test("a transaction whose LTX file could not be made reaches replicas when it can, without another request", async () => {
  await using scope = new Scope()
  const faults = new CallFaults(join(scope.directory, "calls"))
  const primary = await scope.node({ env: faults.env })
  const replica = await scope.node({ follows: primary })
  const create =
    "pragma journal_mode = wal; create table t(x, pad); insert into t values('before', 0)"
  sqlite3(primary, "a.db", create)
  const before = await caughtUp(primary, replica, "a.db")
  faults.set("ltx:write#1+=ENOSPC")
  // It does not end, so it makes no requests either.
  const client = new LongClient(scope, primary, "a.db")
  // Smaller ones reach replicas without an LTX file (store/ltx/recent-transactions.ts).
  await client.exec("insert into t values('after', randomblob(60000))")
  await primary.logged(/cannot make an LTX file/)
  expect(pos(replica, "a.db")).toBe(before)
  faults.set("")
  await until("the replica has it", () => pos(replica, "a.db") !== before)
  expect(sqlite3(replica, "a.db", "select group_concat(x) from t")).toBe("before,after")
  await client.close()
}, 60_000)

test.each([
  ["wal", ""],
  ["wal", STRICT],
  ["delete", ""],
])(
  "%s mode: a disk that is full refuses commits, and takes them again when there is room%s",
  async (mode, how) => {
    await using scope = new Scope()
    const directory = join(scope.directory, "node")
    for (const name of ["mnt", "data"]) mkdirSync(join(directory, name), { recursive: true })
    const data = join(directory, "data")
    // The commit log takes 16 MiB of it.
    spawnSync("mount", ["-t", "tmpfs", "-o", "size=24m", "none", data])
    scope.defer(() => void spawnSync("umount", ["-l", data]))
    const node = await scope.node({ directory, flags: flagsOf(how) })
    const setup = `pragma journal_mode = ${mode}; create table t(id integer primary key, x); insert into t values(0, 0)`
    sqlite3(node, "a.db", setup)
    const ballast = join(data, "ballast")
    writeFileSync(ballast, new Uint8Array(4 * 1024 * 1024))
    let rows = 1
    let failures = 0
    for (; failures < 5 && rows < 400; rows++) {
      try {
        sqlite3(node, "a.db", `insert into t values(${rows}, randomblob(60000))`)
      } catch (error) {
        expect(String(error)).toMatch(/full|disk I\/O|unable to open/)
        failures += 1
        rows -= 1
      }
    }
    expect(failures).toBe(5)
    expect(failureOf(sqlite3Command(node, "a.db"), "update t set x = randomblob(90000)")).toMatch(
      /full|disk I\/O|unable to open/,
    )
    expect(sqlite3(node, "a.db", "select count(*) from t; pragma integrity_check")).toBe(
      `${rows}\nok`,
    )
    rmSync(ballast)
    sqlite3(node, "a.db", `insert into t values(${rows}, 'again')`)
    const found = "select count(*) from t; pragma integrity_check"
    expect(sqlite3(node, "a.db", found)).toBe(`${rows + 1}\nok`)
    expect(replayHistory(node.data, "a.db").pos).toBe(pos(node, "a.db"))

    expect(await node.stop()).toEqual({ code: 0, signal: null })
    const again = await scope.node({ directory, port: node.port })
    expect(sqlite3(again, "a.db", found)).toBe(`${rows + 1}\nok`)
    await again.stop()
  },
  60_000,
)

test.each(["wal", ...someRollbackModes(random)] as const)(
  "%s mode: a database whose LTX files cannot be made takes nothing, keeps what it has taken, and holds nobody else up",
  async (mode) => {
    await using scope = new Scope()
    let node = await scope.node()
    const create = `pragma journal_mode = ${mode}; create table t(x, pad); insert into t values('first', 0)`
    for (const name of ["a.db", "b.db"]) sqlite3(node, name, create)
    const ltx = join(node.data, "dbs/a.db/ltx")
    const breakIt = () => {
      renameSync(ltx, `${ltx}.aside`)
      writeFileSync(ltx, "in the way")
    }
    const mend = () => {
      rmSync(ltx)
      renameSync(`${ltx}.aside`, ltx)
    }
    breakIt()
    sqlite3(node, "a.db", "insert into t values('acknowledged', 0)") // it is in the log
    const refused = () => failureOf(sqlite3Command(node, "a.db"), "insert into t values('no', 0)")
    expect(refused()).toMatch(/disk I\/O error/)
    // More than both segments of the log take.
    const inserts = "insert into t values('other', randomblob(60000));".repeat(320)
    run(sqlite3Command(node, "b.db"), inserts)
    expect(refused()).toMatch(/disk I\/O error/)
    const problem =
      /it takes no transaction until the LTX file of the last one can be made: .*ENOTDIR/
    await until("health names it", async () => (await healthOf(node)).health.status === "degraded")
    const { health } = await healthOf(node)
    expect(health.leftOut?.map(({ name }) => name)).toEqual(["a.db"])
    expect(health.leftOut?.[0]?.problem).toMatch(problem)
    expect(node.output.match(/cannot make an LTX file.*db=a\.db.*dbs\/a\.db\/ltx/g)).toHaveLength(1)

    mend()
    await until("it is made without another request", async () => {
      return (await healthOf(node)).health.status === "ok"
    })
    sqlite3(node, "a.db", "insert into t values('again', 0)")
    breakIt()
    sqlite3(node, "a.db", "insert into t values('last', 0)")

    // The record outlives a kill and starts that cannot place it either.
    await node.stop("SIGKILL")
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      node = await scope.again(node)
      run(sqlite3Command(node, "b.db"), inserts)
      expect(failureOf(sqlite3Command(node, "a.db"), "select * from t")).toMatch(
        /unable to open|I\/O/,
      )
      expect((await healthOf(node)).health.leftOut?.map(({ name }) => name)).toEqual(["a.db"])
      await node.stop(signal)
    }
    mend()
    node = await scope.again(node)
    const rows = "select group_concat(x) from t; pragma integrity_check"
    expect(sqlite3(node, "a.db", rows)).toBe("first,acknowledged,again,last\nok")
    expect(sqlite3(node, "b.db", "select count(*) from t")).toBe("961")
    expect((await healthOf(node)).health.status).toBe("ok")
  },
  120_000,
)

test("a database whose LTX files cannot be made moves with the role, and takes transactions when they can", async () => {
  await using scope = await pair({ replica: { flags: ["--candidate"] } })
  const { primary, replica } = scope
  for (const name of ["a.db", "b.db"]) {
    sqlite3(primary, name, "create table t(x); insert into t values('first')")
  }
  await expectSame(primary, replica, "a.db")
  const ltx = join(primary.data, "dbs/a.db/ltx")
  renameSync(ltx, `${ltx}.aside`)
  writeFileSync(ltx, "in the way")
  sqlite3(primary, "a.db", "insert into t values('acknowledged')")
  await expectSame(primary, replica, "a.db")
  run([...PROGRAM, "promote", "--url", replica.url])
  sqlite3(replica, "b.db", "insert into t values('on')")
  await expectSame(replica, primary, "b.db")
  sqlite3(replica, "a.db", "insert into t values('more')")
  await primary.logged(/cannot make an LTX file/)
  sqlite3(replica, "b.db", "insert into t values('and on')")
  await expectSame(replica, primary, "b.db")
  rmSync(ltx)
  renameSync(`${ltx}.aside`, ltx)
  await expectSame(replica, primary, "a.db")
  await primary.stop("SIGKILL")
  const again = await scope.again(primary)
  await expectSame(replica, again, "a.db")
  expect(sqlite3(again, "a.db", "select group_concat(x) from t")).toBe("first,acknowledged,more")
}, 120_000)
