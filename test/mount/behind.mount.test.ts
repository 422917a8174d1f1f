/** `--capture behind`: writers of a WAL pass the daemon, which captures behind them. */
import { expect } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import {
  caughtUp,
  expectQuiet,
  expectSame,
  failureOf,
  nodeCommand,
  output,
  pos,
  run,
  sqlite3,
  sqlite3Command,
  start,
} from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { passingTest as test } from "../support/mount-test.ts"
import { PROGRAM, Scope } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { rounds } from "../support/random.ts"
import { until } from "../support/until.ts"

const BEHIND = ["--capture", "behind"]
const SCHEMA = "create table a(id integer primary key, writer text, n integer, padding)"
const behind = (sql = SCHEMA) => pair({ primary: { flags: BEHIND }, mode: "wal", sql })

/** A writer in a process of its own, which says each transaction that it has committed. */
function writer(synchronous: string, count: number, checkpoint = 1000): string {
  return `
    import { writeSync } from "node:fs"
    const a = db("a.db")
    a.pragma("journal_mode = wal")
    a.pragma("synchronous = ${synchronous}")
    a.pragma("wal_autocheckpoint = ${checkpoint}")
    const add = a.prepare("insert into a(writer, n, padding) values('${synchronous}', ?, randomblob(300))")
    for (let n = 0; n < ${count}; n++) {
      add.run(n)
      writeSync(1, n + "\\n")
    }`
}

test("what two writers commit is on the replica, whole, and the position is never behind a commit", async () => {
  await using scope = await behind()
  const { primary, replica } = scope
  const reader = new LongClient(scope, replica, "a.db")
  expect(await reader.value("select count(*) from a")).toBe(0)
  const writers = ["normal", "full"].map((how) => {
    return start(nodeCommand(primary, writer(how, 400, 50)), { limitMs: 30_000 })
  })
  const seen = new Set([pos(primary, "a.db")])
  for (let n = 0; n < 20; n++) {
    sqlite3(
      primary,
      "a.db",
      "pragma busy_timeout = 10000; insert into a(writer, n) values('cli', 0)",
    )
    seen.add(pos(primary, "a.db"))
  }
  expect(seen.size).toBe(21)
  await Promise.all(writers.map(output))
  await expectSame(primary, replica, "a.db")
  const groups = "select writer, count(*), count(distinct n) from a group by 1"
  expect(sqlite3(replica, "a.db", groups)).toBe("cli|20|1\nfull|400|400\nnormal|400|400")
  expect(await reader.value("select count(*) from a")).toBe(820)
  await reader.close()
  await expectQuiet(replica, primary)
}, 60_000)

test("a replica that comes, and exports, while pages are written and copied into the file get whole states", async () => {
  await using scope = new Scope()
  const primary = await scope.node({ flags: BEHIND })
  const both = "create table b(id integer primary key, padding)"
  sqlite3(primary, "a.db", `pragma journal_mode = wal; ${SCHEMA}; ${both}`)
  const source = `
      const a = db("a.db")
      a.pragma("synchronous = normal")
      a.pragma("wal_autocheckpoint = 20")
      const add = a.transaction((n) => {
        a.prepare("insert into a(writer, n, padding) values('w', ?, randomblob(2000))").run(n)
        a.prepare("insert into b(padding) values(randomblob(2000))").run()
        a.prepare("update a set padding = randomblob(2000) where id % 50 = ?").run(n % 50)
      })
      for (let n = 0; n < ${rounds(600, 1500)}; n++) add.immediate(n)`
  const writing = start(nodeCommand(primary, source), { limitMs: 50_000 })
  const replicas = []
  for (let n = 0; n < 3; n++) {
    replicas.push(await scope.node({ follows: primary }))
    const file = join(scope.directory, `export-${n}.db`)
    run([...PROGRAM, "export", "--url", primary.url, "--name", "a.db", file])
    const check =
      "select (select count(*) from a) = (select count(*) from b), integrity_check from pragma_integrity_check"
    expect(run(["sqlite3", file, check])).toBe("1|ok\n")
  }
  await output(writing)
  for (const replica of replicas) await expectSame(primary, replica, "a.db")
}, 90_000)

test.each(["normal", "full"])(
  "a daemon that is killed under a %s writer loses nothing that it was told, and its old clients write nothing more",
  async (synchronous) => {
    await using scope = await behind()
    const { replica } = scope
    let { primary } = scope
    const count = () =>
      Number(sqlite3(primary, "a.db", `select count(*) from a where writer = '${synchronous}'`))
    let told = 0
    for (let round = 0; round < 4; round++) {
      const old = new LongClient(scope, primary, "a.db")
      await old.exec(`pragma synchronous = ${synchronous}; pragma busy_timeout = 100`)
      await old.exec("insert into a(writer, n) values('old', 0)")
      const writing = start(nodeCommand(primary, writer(synchronous, 1_000_000)), {
        limitMs: 30_000,
      })
      const before = count()
      await Bun.sleep(150 + 100 * round)
      await primary.stop("SIGKILL")
      // It goes on for as long as nobody looks.
      const { stdout } = await writing.ended
      primary = await scope.again(primary, { flags: BEHIND })
      told += before === 0 && round > 0 ? 0 : stdout.split("\n").length - 1
      expect(count()).toBeGreaterThanOrEqual(told)
      told = count()
      const late = await old
        .exec("insert into a(writer, n) values('late', 0)")
        .catch((error) => error.code)
      expect(late).toMatch(/SQLITE_(BUSY|IOERR|CORRUPT|READONLY|PROTOCOL|CANTOPEN)/)
      expect(sqlite3(primary, "a.db", "select count(*) from a where writer = 'late'")).toBe("0")
      await old.close("SIGKILL")
    }
    expect(sqlite3(primary, "a.db", "pragma integrity_check")).toBe("ok")
    await caughtUp(primary, replica, "a.db")
    await expectSame(primary, replica, "a.db")
  },
  90_000,
)

test("what is no SQLite is kept from a WAL that clients have open", async () => {
  await using scope = await behind()
  const { primary } = scope
  const client = new LongClient(scope, primary, "a.db")
  await client.exec("insert into a(writer, n) values('w', 1)")
  const junk = join(scope.directory, "junk")
  writeFileSync(junk, "x".repeat(10_000))
  expect(failureOf(["cp", junk, join(primary.mount, "a.db-wal")])).toMatch(/not permitted/)
  await client.exec("insert into a(writer, n) values('w', 2)")
  expect(await client.value("select count(*) from a")).toBe(2)
  await expectSame(primary, scope.replica, "a.db")
})

test("a replica borrows the write lock, and an import takes the place, under connections that pass the daemon", async () => {
  await using scope = await behind("create table a(x)")
  const { primary, replica } = scope
  const client = new LongClient(scope, primary, "a.db")
  await client.exec("insert into a values(1)")
  const add = sqlite3Command(replica, "a.db")
    .map((word) => `'${word}'`)
    .join(" ")
  run(["flock", `${replica.mount}/a.db-lock`, "sh", "-c", `${add} 'insert into a values(2)'`])
  expect(await client.rows("select x from a")).toEqual([[1], [2]])
  await client.exec("insert into a values(3)")
  await expectSame(primary, replica, "a.db")
  const file = join(scope.directory, "new.db")
  run([
    "sqlite3",
    file,
    "pragma journal_mode = wal; create table a(x); insert into a values('new')",
  ])
  run([...PROGRAM, "import", "--url", primary.url, "--name", "a.db", file])
  expect(await client.rows("select x from a")).toEqual([["new"]])
  await client.exec("insert into a values(4)")
  await expectSame(primary, replica, "a.db")
  expect(sqlite3(replica, "a.db", "select group_concat(x) from a")).toBe("new,4")
}, 60_000)

test("a client that has the database for itself is captured, too", async () => {
  await using scope = await behind("create table a(x)")
  const { primary, replica } = scope
  const client = new LongClient(scope, primary, "a.db")
  await client.exec("pragma locking_mode = exclusive; pragma synchronous = normal")
  for (let n = 0; n < 20; n++) await client.exec("insert into a values(1)")
  await client.close()
  await expectSame(primary, replica, "a.db")
  expect(sqlite3(replica, "a.db", "select count(*) from a")).toBe("20")
})

test("a commit for which the log has no room is refused to a FULL writer, and made up for a NORMAL one", async () => {
  await using scope = new Scope()
  const file = join(scope.directory, "faults")
  writeFileSync(file, "")
  const primary = await scope.node({ flags: BEHIND, env: { LITEFS_FAULTS_FILE: file } })
  const set = async (text: string) => {
    writeFileSync(`${file}.new`, text)
    run(["mv", `${file}.new`, file])
  }
  sqlite3(primary, "a.db", "pragma journal_mode = wal; create table a(x)")
  const full = new LongClient(scope, primary, "a.db")
  await full.exec("pragma synchronous = full; insert into a values(1)")
  await set("log:*#1+=ENOSPC,ltx:*#1+=ENOSPC")
  await expect(full.exec("insert into a values(2)")).rejects.toThrow()
  await set("")
  expect(await full.rows("select x from a")).toEqual([[1]])
  await full.exec("pragma synchronous = normal")
  await set("log:*#1+=ENOSPC,ltx:*#1+=ENOSPC")
  await full.exec("insert into a values(3)")
  await primary.logged(/cannot capture what clients have committed/)
  await set("")
  await full.exec("insert into a values(4)")
  const replica = await scope.node({ follows: primary })
  await caughtUp(primary, replica, "a.db")
  expect(sqlite3(replica, "a.db", "select group_concat(x) from a")).toBe("1,3,4")
}, 60_000)

test("a commit that could not be captured is, without another write and without a question", async () => {
  await using scope = new Scope()
  const faults = join(scope.directory, "faults")
  writeFileSync(faults, "")
  const primary = await scope.node({ flags: BEHIND, env: { LITEFS_FAULTS_FILE: faults } })
  const replica = await scope.node({ follows: primary })
  sqlite3(primary, "a.db", "pragma journal_mode = wal; create table a(x)")
  const client = new LongClient(scope, primary, "a.db")
  await client.exec("pragma synchronous = normal; insert into a values(1)")
  await caughtUp(primary, replica, "a.db")
  writeFileSync(faults, "log:*#1+=ENOSPC,ltx:*#1+=ENOSPC")
  await client.exec("insert into a values(2)")
  await primary.logged(/cannot capture what clients have committed/)
  writeFileSync(faults, "")
  const isThere = () => sqlite3(replica, "a.db", "select group_concat(x) from a") === "1,2"
  await until("the replica has it", isThere, { limitMs: 10_000 })
}, 60_000)

test("a commit that is not captured when an import comes is before it, not on top of it", async () => {
  await using scope = new Scope()
  const faults = join(scope.directory, "faults")
  writeFileSync(faults, "")
  const primary = await scope.node({ flags: BEHIND, env: { LITEFS_FAULTS_FILE: faults } })
  const replica = await scope.node({ follows: primary })
  const content = "create table a(x); insert into a values"
  sqlite3(primary, "a.db", `pragma journal_mode = wal; ${content}('old')`)
  const client = new LongClient(scope, primary, "a.db")
  await client.exec("pragma synchronous = normal; insert into a values('older')")
  writeFileSync(faults, "log:*#1+=ENOSPC,ltx:*#1+=ENOSPC")
  await client.exec("insert into a values('last')")
  await primary.logged(/cannot capture what clients have committed/)
  writeFileSync(faults, "")
  const file = join(scope.directory, "new.db")
  run(["sqlite3", file, `pragma journal_mode = wal; ${content}('new')`])
  run([...PROGRAM, "import", "--url", primary.url, "--name", "a.db", file])
  await caughtUp(primary, replica, "a.db")
  expect(sqlite3(replica, "a.db", "select group_concat(x) from a")).toBe("new")
  await client.exec("insert into a values('next')")
  await expectSame(primary, replica, "a.db")
  expect(sqlite3(replica, "a.db", "select group_concat(x) from a")).toBe("new,next")
}, 60_000)

test("--forward-writes does not go together with it", () => {
  const words = [...PROGRAM, "mount", "--primary", ...BEHIND, "--forward-writes"]
  expect(failureOf(words)).toContain(
    "--capture behind and --forward-writes are given, forwarding sees",
  )
})
