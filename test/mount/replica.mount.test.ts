/** What the mount of a replica refuses, and what both sides show. */
import { expect, test } from "bun:test"
import { join } from "node:path"
import {
  cat,
  caughtUp,
  expectSame,
  failureOf,
  nodeProgram,
  pos,
  run,
  sqlite3,
} from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { canMount, PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { until } from "../support/until.ts"
import { CallFaults } from "../torture/call-faults.ts"

test.skipIf(!canMount).each([
  ["delete", "disk I/O error", "SQLITE_IOERR"],
  ["truncate", "disk I/O error", "SQLITE_IOERR"],
  ["persist", "disk I/O error", "SQLITE_IOERR"],
  ["wal", "disk I/O error", "SQLITE_IOERR"],
])(
  "%p mode: a write on a candidate fails with %p, and one log line names the primary",
  async (mode, message, code) => {
    await using scope = await pair({ replica: { flags: ["--candidate"] } })
    const { primary, replica } = scope
    sqlite3(
      primary,
      "a.db",
      `pragma journal_mode = ${mode}; create table t(x); insert into t values(1)`,
    )
    const before = await expectSame(primary, replica, "a.db")
    const client = new LongClient(scope, replica, "a.db")
    for (const sql of ["insert into t values(2)", "delete from t", "create table u(y)"]) {
      if (mode === "persist") {
        await client.exec("pragma journal_mode = persist").catch(() => {})
      }
      const problem = await client.exec(sql).catch((error) => error)
      expect(problem.message).toBe(message)
      expect(problem.code).toStartWith(code)
      expect(failureOf(["sqlite3", "-bail", `${replica.mount}/a.db`, sql])).toContain(message)
      expect(await client.value("select group_concat(x) from t")).toBe("1")
    }
    expect(await expectSame(primary, replica, "a.db")).toBe(before)
    sqlite3(primary, "a.db", "insert into t values(3)")
    await expectSame(primary, replica, "a.db")
    expect(await client.value("select count(*) from t")).toBe(2)
    await client.close()

    await replica.stop()
    const complaints = (await replica.wholeOutput)
      .split("\n")
      .filter((line) => /level=warn/.test(line))
    expect(complaints.slice(1)).toEqual([])
    expect(complaints[0]).toContain("this node is a replica, write on the primary")
    expect(complaints[0]).toMatch(`primary=node-${primary.port}`)
    expect(complaints[0]).toMatch(/db=a.db process="\d+ \(.+\)"/)
  },
  30_000,
)

// The daemon keeps SHARED on the database file, also in rollback modes, where it needs it only in WAL mode: so
// whoever wants EXCLUSIVE at once waits for it in vain, and keeps new readers out meanwhile.
if (canMount) {
  test("VACUUM and BEGIN EXCLUSIVE on a replica fail at once, and not with a lock", async () => {
    await using scope = await pair({ sql: "create table t(x); insert into t values(1)" })
    const { replica } = scope
    for (const sql of ["vacuum", "begin exclusive; insert into t values(2); commit"]) {
      const problem = failureOf(["sqlite3", "-bail", `${replica.mount}/a.db`, sql])
      expect(problem).toContain("attempt to write a readonly database")
    }
  }, 30_000)
}

// Without it every new reader would wait for the old one: PENDING is held until that is done.
test.skipIf(!canMount)(
  "in a rollback mode, new readers get in while a transaction waits for a long one",
  async () => {
    await using scope = await pair()
    const { primary, replica } = scope
    sqlite3(primary, "a.db", "create table t(x); insert into t values(1)")
    const before = await expectSame(primary, replica, "a.db")
    const long = new LongClient(scope, replica, "a.db")
    await long.exec("begin")
    expect(await long.value("select count(*) from t")).toBe(1)
    sqlite3(primary, "a.db", "insert into t values(2)")
    const complaint = `msg="waiting for readers to write the database" db=a.db process="${long.pid} (node)"`
    await replica.logged(new RegExp(complaint.replace(/[()]/g, "\\$&")))
    // Everybody who asks hears who it is.
    const problem = `waiting for readers of "a.db": process ${long.pid} (node)`
    const litefs = (...words: string[]) => [...PROGRAM, ...words, "--url", replica.url]
    expect(run(litefs("info"))).toContain(`problem  ${problem} (since `)
    expect(await (await fetch(`${replica.url}/health`)).json()).toMatchObject({
      status: "ok",
      lastProblem: { problem, since: expect.any(String) },
    })
    for (const condition of ["--synced", "--pos=a.db=3"]) {
      expect(failureOf(litefs("wait", condition, "--timeout", "1s"))).toContain(problem)
    }
    expect(sqlite3(replica, "a.db", ".timeout 10000\nselect count(*) from t")).toBe("1")
    expect(pos(replica, "a.db")).toBe(before)
    await long.exec("commit")
    await expectSame(primary, replica, "a.db")
    expect(await long.value("select count(*) from t")).toBe(2)
    expect(run(litefs("info"))).toMatch(/earlier {2}waiting for readers of .* until /)
    run(litefs("wait", "--synced"))
    expect((await fetch(`${replica.url}/health?synced`)).status).toBe(200)
    await long.close()
  },
  60_000,
)

test.skipIf(!canMount)(
  "a replica makes, removes and changes no database, and loses none",
  async () => {
    await using scope = await pair()
    const { primary, replica } = scope
    for (const mode of ["delete", "wal"]) {
      sqlite3(primary, `${mode}.db`, `pragma journal_mode = ${mode}; create table t(x)`)
      await caughtUp(primary, replica, `${mode}.db`)
    }
    const create = ["sqlite3", `${replica.mount}/new.db`, "create table t(x)"]
    expect(failureOf(create)).toContain("unable to open database")
    for (const name of ["delete.db", "wal.db"]) {
      const path = `${replica.mount}/${name}`
      expect(failureOf(["rm", "-f", path])).toContain("Permission denied")
      expect(failureOf(["truncate", "-s", "0", path])).toMatch(/Permission denied|Read-only/)
      expect(failureOf(["dd", "if=/dev/zero", `of=${path}`, "count=1", "conv=notrunc"])).toMatch(
        /Permission denied|Read-only/,
      )
      expect(failureOf(["sqlite3", path, "pragma journal_mode = wal; create table x(y)"])).not.toBe(
        "",
      )
      expect(
        failureOf(["sqlite3", path, "pragma journal_mode = delete; create table x(y)"]),
      ).not.toBe("")
      sqlite3(primary, name, "insert into t values(1)")
      await expectSame(primary, replica, name)
    }
  },
  30_000,
)

test.skipIf(!canMount)(
  "the listing shows databases with their files, and .primary on a replica",
  async () => {
    await using scope = await pair()
    const { primary, replica } = scope
    const names = (node: TestNode) => run(["ls", "-A", node.mount]).split("\n").filter(Boolean)
    await replica.logged(/msg="connected to the primary"/)
    expect(names(primary)).toEqual([".lag"])
    sqlite3(primary, "a.db", "create table t(x)")
    await caughtUp(primary, replica, "a.db")
    expect(names(primary)).toEqual([".lag", "a.db", "a.db-pos"])
    expect(names(replica).sort()).toEqual([".lag", ".primary", "a.db", "a.db-pos"])

    const client = new LongClient(scope, primary, "w.db")
    await client.exec("pragma journal_mode = wal; create table t(x)")
    expect(names(primary)).toEqual([
      ".lag",
      "a.db",
      "a.db-pos",
      "w.db",
      "w.db-pos",
      "w.db-shm",
      "w.db-wal",
    ])
    const details = run(["ls", "-lU", `${primary.mount}/a.db`, `${replica.mount}/a.db`]).split("\n")
    expect(details[0]).toMatch(/^-rw-r--r-- 1 root root 8192 /)
    expect(details[1]).toMatch(/^-rw-rw-r-- 1 root root 8192 /)
  },
  30_000,
)

test.skipIf(!canMount)(
  ".primary is the name of the primary on a replica that is connected, and nothing elsewhere",
  async () => {
    await using scope = await pair()
    const { primary, replica } = scope
    await replica.logged(/msg="connected to the primary"/)
    const hasPrimary = () => run(["ls", "-A", replica.mount]).includes(".primary")
    await until(".primary is there", hasPrimary)
    expect(cat(replica, ".primary")).toBe(`node-${primary.port}\n`)
    expect(failureOf(["cat", `${primary.mount}/.primary`])).toContain("No such file")
    await primary.stop()
    await replica.logged(/msg="not connected to the primary, trying again"/)
    await until(".primary is gone", () => !hasPrimary())
    expect(failureOf(["cat", `${replica.mount}/.primary`])).toContain("No such file")
    const { directory, port } = primary
    await scope.node({ directory, port })
    await until(".primary is there", hasPrimary)
    expect(cat(replica, ".primary")).toBe(`node-${port}\n`)
  },
  30_000,
)

const READ_POS = `
  const { openSync, readSync, fstatSync } = process.getBuiltinModule("fs")
  globalThis.fd ??= openSync(PATH)
  const bytes = Buffer.alloc(100)
  const size = readSync(globalThis.fd, bytes, 0, 100, 0)
  return { text: bytes.toString("latin1", 0, size), size: fstatSync(globalThis.fd).size }
`

test.skipIf(!canMount)(
  "-pos is 34 bytes, and a descriptor that stays open reads the newest position on both sides",
  async () => {
    await using scope = await pair({ sql: "create table t(x)" })
    const { primary, replica } = scope
    const readers = [primary, replica].map((node) => {
      const client = new LongClient(scope, node, "a.db")
      const source = READ_POS.replace("PATH", JSON.stringify(`${node.mount}/a.db-pos`))
      return () => client.run(source) as Promise<{ text: string; size: number }>
    })
    for (let txid = 1; txid <= 4; txid++) {
      if (txid > 1) sqlite3(primary, "a.db", "insert into t values(1)")
      const position = await caughtUp(primary, replica, "a.db")
      expect(position).toStartWith(`000000000000000${txid}/`)
      for (const read of readers) {
        const { text, size } = await read()
        expect(text).toMatch(/^[0-9a-f]{16}\/[0-9a-f]{16}\n$/)
        expect(text).toBe(`${position}\n`)
        expect(size).toBe(34)
      }
    }
  },
  30_000,
)

test.skipIf(!canMount)(
  "-pos has the new position as soon as the commit has returned",
  async () => {
    await using scope = new Scope()
    const primary = await scope.node()
    const txids = nodeProgram(
      primary,
      `
      import { readFileSync } from "node:fs"
      const found = []
      for (const mode of ["wal", "delete"]) {
        const a = db(mode)
        a.pragma("journal_mode = " + mode)
        a.exec("create table t(x)")
        const txid = () => parseInt(readFileSync("${primary.mount}/" + mode + "-pos", "latin1"), 16)
        const before = txid()
        for (let n = 0; n < 50; n++) { a.exec("insert into t values(1)"); found.push(txid() - before) }
      }
      console.log(found.join(" "))
    `,
    )
    const expected = Array.from({ length: 50 }, (_, n) => n + 1).join(" ")
    expect(txids).toBe(`${expected} ${expected}`)
    expect(pos(primary, "wal")).toHaveLength(33)
  },
  30_000,
)

test.skipIf(!canMount).each(["mount:unlink", "wal:open", "database:unlink"])(
  "a replica that cannot remove the files of a database, since %s fails, takes up the next one of that name",
  async (op) => {
    await using scope = new Scope()
    const faults = new CallFaults(join(scope.directory, "replica"))
    const primary = await scope.node()
    const replica = await scope.node({ follows: primary, env: faults.env })
    const setup = "pragma journal_mode = wal; create table t(x); insert into t values"
    sqlite3(primary, "a.db", `${setup}('first')`)
    await caughtUp(primary, replica, "a.db")
    sqlite3(primary, "a.db", "insert into t values('in the WAL')")
    await caughtUp(primary, replica, "a.db")
    faults.forget()
    faults.set(`${op}#1=EIO`)
    run(["rm", `${primary.mount}/a.db`])
    sqlite3(primary, "a.db", `${setup}('second')`)
    await expectSame(primary, replica, "a.db")
    expect(faults.hitCount).toBeGreaterThan(0)
    expect(sqlite3(replica, "a.db", "select x from t")).toBe("second")
    sqlite3(primary, "a.db", "insert into t values('third')")
    await expectSame(primary, replica, "a.db")
    expect(replica.output).not.toMatch(/restart this node/)
  },
  60_000,
)
