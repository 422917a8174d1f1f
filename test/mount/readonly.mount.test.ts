/** What a write on a replica looks like to its client, and that it keeps no transaction of the primary waiting. */
import { expect } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { appeared } from "../support/appeared.ts"
import {
  caughtUp,
  expectSame,
  failureOf,
  nodeCommand,
  output,
  run,
  sqlite3,
  start,
} from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { canMount, type TestNode } from "../support/node.ts"
import { type Pair, pair } from "../support/pair.ts"
import { testRandom } from "../support/random.ts"
import { promote } from "../torture/handoffs.ts"
import { someModes } from "../torture/model.ts"

const MODES = someModes(testRandom())
const READONLY = "attempt to write a readonly database"
const FAILED = "disk I/O error"
const hasPython = Bun.which("python3") !== null

/** The replica has applied a transaction, and is at work on the WAL if there is one. */
async function atWork(mode: string, flags: readonly string[] = []): Promise<Pair> {
  const scope = await pair({ mode, sql: "create table t(x)", replica: { flags } })
  sqlite3(scope.primary, "a.db", "insert into t values(1)")
  await caughtUp(scope.primary, scope.replica, "a.db")
  return scope
}

/** What each client says of a write: of its own, and of one in a transaction. */
function problems(node: TestNode, mode: string): string[] {
  const pragma = mode === "wal" ? "" : `pragma journal_mode = ${mode};`
  const file = `${node.mount}/a.db`
  const insert = "insert into t values(0)"
  const begin = `begin immediate; ${insert}; commit`
  const bun = `
    const { Database } = await import("bun:sqlite")
    const db = new Database(${JSON.stringify(file)})
    db.run(${JSON.stringify(pragma)} || "select 1")
  `
  return [
    failureOf(["sqlite3", "-bail", file, `${pragma}${insert}`]),
    failureOf(["sqlite3", "-bail", file, `${pragma}${begin}`]),
    failureOf(nodeCommand(node, `db("a.db").exec(${JSON.stringify(pragma + insert)})`)),
    failureOf(nodeCommand(node, `db("a.db").exec(${JSON.stringify(pragma + begin)})`)),
    failureOf([process.execPath, "-e", `${bun}; db.run(${JSON.stringify(insert)})`]),
    failureOf([process.execPath, "-e", `${bun}; db.exec(${JSON.stringify(begin)})`]),
  ]
}

/** A client that goes on after an error without ending its transaction, as Python's module leaves it to do. */
const CARELESS = `
import os, sqlite3, sys, time
path, log, go, mode = sys.argv[1:]
db = sqlite3.connect(path)
out = open(log, "a")
if mode != "wal": db.execute("pragma journal_mode = " + mode)
try:
  db.execute("insert into t values(0)")
  db.commit()
except sqlite3.Error as error:
  print("refused:", error, file=out, flush=True)
while not os.path.exists(go): time.sleep(0.02)
print("rows:", db.execute("select count(*) from t").fetchone()[0], file=out, flush=True)
`

for (const mode of MODES) {
  test(`${mode} mode: a node that cannot come to write says "readonly" to every client`, async () => {
    await using scope = await atWork(mode)
    const { primary, replica } = scope
    for (const problem of problems(replica, mode)) expect(problem).toContain(READONLY)
    sqlite3(primary, "a.db", "insert into t values(2)")
    await expectSame(primary, replica, "a.db")
    expect(sqlite3(replica, "a.db", "select count(*) from t")).toBe("2")
  }, 60_000)

  test(`${mode} mode: a candidate refuses writes as well, and its connections write when it is the primary`, async () => {
    await using scope = await atWork(mode, ["--candidate"])
    const { primary, replica } = scope
    const client = new LongClient(scope, replica, "a.db")
    if (mode !== "wal") await client.exec(`pragma journal_mode = ${mode}`)
    await expect(client.exec("insert into t values(0)")).rejects.toThrow(FAILED)
    for (const problem of problems(replica, mode)) expect(problem).toContain(FAILED)
    sqlite3(primary, "a.db", "insert into t values(2)")
    await caughtUp(primary, replica, "a.db")
    await promote(replica)
    await client.exec("insert into t values(3)")
    await caughtUp(replica, primary, "a.db")
    expect(sqlite3(primary, "a.db", "select group_concat(x) from t")).toBe("1,2,3")
    await client.close()
    await expectSame(replica, primary, "a.db")
  }, 60_000)

  test.skipIf(!canMount || !hasPython).each([
    [READONLY, []],
    [FAILED, ["--candidate"]],
  ] as const)(
    `${mode} mode: who is told %p and does not end its transaction keeps nothing waiting`,
    async (problem, flags) => {
      await using scope = await atWork(mode, flags)
      const { primary, replica } = scope
      const [log, go] = [join(scope.directory, "log"), join(scope.directory, "go")]
      const client = start(["python3", "-c", CARELESS, `${replica.mount}/a.db`, log, go, mode])
      await appeared(log, new RegExp(`refused: ${problem}`))
      sqlite3(primary, "a.db", "insert into t values(2)")
      await caughtUp(primary, replica, "a.db", 3000)
      writeFileSync(go, "")
      await appeared(log, /rows: 2/)
      await output(client)
      await expectSame(primary, replica, "a.db")
    },
    60_000,
  )
}

test.each([[[]], [["--candidate"]]] as const)(
  "with %p a checkpoint on a replica is no error, and moves nothing",
  async (flags) => {
    await using scope = await atWork("wal", flags)
    const { primary, replica } = scope
    for (const kind of ["passive", "full", "restart", "truncate"]) {
      expect(sqlite3(replica, "a.db", `pragma wal_checkpoint(${kind})`)).toBe("1|-1|-1")
      sqlite3(primary, "a.db", "insert into t values(2)")
      await caughtUp(primary, replica, "a.db")
    }
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)

test.each([
  ["", [], READONLY],
  ["--read-only-opens=false", ["--read-only-opens=false"], undefined],
] as const)(
  "%s: with a borrowed lock a connection that is opened then writes, and one from before as it was opened",
  async (_name, flags, problem) => {
    await using scope = await atWork("wal", flags)
    const { primary, replica } = scope
    const before = new LongClient(scope, replica, "a.db")
    expect(await before.value("select count(*) from t")).toBe(1)
    const [log, go] = [join(scope.directory, "log"), join(scope.directory, "go")]
    const hold = `echo held >> "$0"; while [ ! -e "$1" ]; do sleep 0.02; done`
    const holder = start(["flock", `${replica.mount}/a.db-lock`, "sh", "-c", hold, log, go])
    await appeared(log, /held/)
    const writing = before.exec("insert into t values(2)")
    if (problem === undefined) await writing
    else await expect(writing).rejects.toThrow(problem)
    sqlite3(replica, "a.db", "insert into t values(3)")
    writeFileSync(go, "")
    await output(holder)
    await before.close()
    const rows = problem === undefined ? "1,2,3,4" : "1,3,4"
    sqlite3(primary, "a.db", "insert into t values(4)") // waits until the lock is back
    expect(sqlite3(primary, "a.db", "select group_concat(x) from t")).toBe(rows)
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)

test("--read-only-opens on a candidate: after a promotion connections are opened anew to write", async () => {
  await using scope = await atWork("delete", ["--candidate", "--read-only-opens"])
  const { primary, replica } = scope
  const before = new LongClient(scope, replica, "a.db")
  await expect(before.exec("insert into t values(0)")).rejects.toThrow(READONLY)
  await promote(replica)
  await expect(before.exec("insert into t values(0)")).rejects.toThrow(READONLY)
  await before.close()
  sqlite3(replica, "a.db", "insert into t values(2)")
  await expectSame(replica, primary, "a.db")
}, 60_000)

test("opening the file of a database to write is refused on a replica, with the errno of a read-only file system", async () => {
  await using scope = await atWork("delete")
  const { replica } = scope
  const appending = ["sh", "-c", 'echo x >> "$0"', `${replica.mount}/a.db`]
  expect(failureOf(appending)).toContain("Read-only file system")
  expect(run(["head", "-c", "15", `${replica.mount}/a.db`])).toBe("SQLite format 3")
}, 30_000)
