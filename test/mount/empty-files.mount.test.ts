/** Files that never become a database: what other programs than SQLite put into the mount, and empty files. */
import { expect, test } from "bun:test"
import { readdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { failureOf, run, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { canMount, MEMORY, Scope, type TestNode } from "../support/node.ts"
import { until } from "../support/until.ts"
import { CallFaults } from "../torture/call-faults.ts"

const listed = ({ mount }: TestNode) => run(["ls", "-A", mount]).split("\n").filter(Boolean)
const kept = ({ data }: TestNode) => readdirSync(join(data, "dbs"))

/** What is closed is taken away just after that. */
async function untilOnly(node: TestNode, names: readonly string[]): Promise<void> {
  const wanted = [".lag", ...names].join()
  for (let tries = 0; tries < 500 && listed(node).join() !== wanted; tries++) await Bun.sleep(10)
  expect(listed(node)).toEqual([".lag", ...names])
}

test.skipIf(!canMount)(
  "what is copied into the mount is refused at once, with a word on what to do, and leaves nothing",
  async () => {
    await using scope = new Scope()
    const node = await scope.node()
    const file = (name: string) => {
      const path = join(scope.directory, name)
      run(["sqlite3", path, "create table t(x); insert into t values(randomblob(100000))"])
      return path
    }
    const source = file("a.db")
    run(["tar", "-C", scope.directory, "-cf", join(scope.directory, "a.tar"), "a.db"])
    const text = join(scope.directory, "notes.txt")
    writeFileSync(text, "not a database")
    const to = (name: string) => join(node.mount, name)
    const attempts: [name: string, command: string[]][] = [
      ["cp.db", ["cp", source, to("cp.db")]],
      ["p.db", ["cp", "-p", source, to("p.db")]],
      ["mv.db", ["mv", file("moved.db"), to("mv.db")]],
      ["cat.db", ["sh", "-c", 'cat "$0" > "$1"', source, to("cat.db")]],
      ["dd.db", ["dd", `if=${source}`, `of=${to("dd.db")}`, "bs=1M"]],
      ["a.db", ["tar", "-C", node.mount, "-xf", join(scope.directory, "a.tar")]],
      ["m.db", ["sqlite3", to("m.db"), "pragma journal_mode = memory; create table t(x)"]],
    ]
    for (const [name, command] of attempts) {
      const said = failureOf(command)
      expect([name, said]).toEqual([name, expect.stringMatching(/not permitted|disk I\/O error/)])
      await untilOnly(node, [])
      const program = command[0] === "sh" ? "cat" : command[0]
      const who = `" file=${name} process="\\d+ \\(${program}\\)"`
      await node.logged(
        new RegExp(`litefs import --name ${name} FILE to bring a database here${who}`),
      )
      const lines = node.output.split("\n").filter((line) => line.includes(`--name ${name} FILE`))
      expect([name, lines.length]).toEqual([name, 1])
    }
    for (const command of [
      ["cp", text, to("notes.txt")],
      ["sh", "-c", 'echo word > "$0"', to("notes.txt")],
    ]) {
      expect(failureOf(command)).toMatch(/not permitted|I\/O error/)
    }
    await untilOnly(node, [])
    await node.logged(
      /Cannot write \\"notes.txt\\": it is not a SQLite database.*choose another directory/,
    )
    expect(node.output).not.toContain("--name notes.txt")
    expect(kept(node)).toEqual([])

    // A database that is there stays what it is.
    sqlite3(node, "a.db", "create table mine(x); insert into mine values(7)")
    for (const command of [
      ["cp", source, to("a.db")],
      ["sh", "-c", 'cat "$0" > "$1"', source, to("a.db")],
    ]) {
      expect(failureOf(command)).toContain("not permitted")
    }
    expect(sqlite3(node, "a.db", "select x from mine")).toBe("7")
    await untilOnly(node, ["a.db", "a.db-pos"])
  },
  60_000,
)

test.skipIf(!canMount)(
  "an empty file stays while somebody has it open and a moment longer, and is not there after a restart",
  async () => {
    await using scope = new Scope()
    const node = await scope.node()
    const client = new LongClient(scope, node, "slow.db")
    await client.exec("select 1") // SQLite has it open, and has made it
    run(["touch", join(node.mount, "touched.db")])
    run(["sqlite3", join(node.mount, "empty.db"), ""])
    const names = ["empty.db", "empty.db-pos", "slow.db", "slow.db-pos"]
    expect(listed(node)).toEqual([".lag", ...names, "touched.db", "touched.db-pos"])
    // Frameworks look whether there is a file, and open only what is there.
    run(["sqlite3", `file:${node.mount}/touched.db?mode=rw`, "create table t(x)"])
    await client.exec("create table t(x)")
    await node.stop()
    const again = await scope.again(node)
    expect(listed(again)).toEqual([
      ".lag",
      "slow.db",
      "slow.db-pos",
      "touched.db",
      "touched.db-pos",
    ])
    expect(kept(again).sort()).toEqual(["slow.db", "touched.db"])
  },
  60_000,
)

test.skipIf(!canMount)(
  "names of files that come and go are not used up, and nothing of them stays",
  async () => {
    await using scope = new Scope(MEMORY)
    const node = await scope.node()
    sqlite3(node, "a.db", "create table t(x); insert into t values(1)")
    const source = `
      const fs = require("node:fs")
      process.chdir(process.argv[1])
      for (let i = 0; i < 16500; i++) {
        const name = i % 3 === 0 ? "same.db" : "name-" + i
        fs.closeSync(fs.openSync(name, "wx"))
        fs.unlinkSync(name)
        if (fs.existsSync(name)) throw new Error(name)
      }`
    run(["node", "-e", source, node.mount], "", 100_000)
    sqlite3(node, "name-1", "create table t(x); insert into t values(1)")
    sqlite3(node, "same.db", "create table t(x); insert into t values(1)")
    await untilOnly(node, ["a.db", "a.db-pos", "name-1", "name-1-pos", "same.db", "same.db-pos"])
    expect(kept(node).sort()).toEqual(["a.db", "name-1", "same.db"])
    const { databases } = (await (await fetch(`${node.url}/info`)).json()) as {
      databases: Record<string, unknown>
    }
    expect(JSON.stringify(databases)).not.toContain("name-2")
    const replica = await scope.node({ follows: node })
    await until("same.db is on the replica", () => listed(replica).includes("same.db"))
    expect(sqlite3(replica, "same.db", "select x from t")).toBe("1")
  },
  120_000,
)

test.skipIf(!canMount)(
  "who has a file open that was removed before it was a database goes on with his own",
  async () => {
    await using scope = new Scope()
    const node = await scope.node()
    const old = new LongClient(scope, node, "a.db")
    await old.exec("select 1")
    run(["rm", join(node.mount, "a.db")])
    sqlite3(node, "a.db", "create table t(x); insert into t values(1)")
    await old.exec("create table other(x)").catch(() => {}) // SQLite may notice
    expect(sqlite3(node, "a.db", "select x from t; pragma integrity_check")).toBe("1\nok")
  },
  30_000,
)

test.skipIf(!canMount)(
  "a file without a transaction costs no sync, the first transaction does",
  async () => {
    await using scope = new Scope()
    const calls = new CallFaults(join(scope.directory, "calls"))
    const node = await scope.node({ env: calls.env })
    const synced = () =>
      [...calls.ops].filter((op) => /^(data:sync-dir|database:fsync)$/.test(op)).sort()
    const path = join(node.mount, "e.db")
    calls.forget()
    run(["sh", "-c", 'for i in 1 2 3; do : > "$0"; rm "$0"; done; : > "$0"', path])
    expect(calls.ops).toContain("database:unlink")
    expect(synced()).toEqual([])
    calls.set("data:sync-dir#1=EIO")
    expect(failureOf(["sqlite3", path, "create table t(x)"])).toContain("disk I/O error")
    calls.set("")
    calls.forget()
    sqlite3(node, "e.db", "create table t(x)")
    expect(synced()).toEqual(["data:sync-dir", "database:fsync"])
    calls.forget()
    sqlite3(node, "e.db", "insert into t values(1)")
    expect(synced()).toEqual([])
  },
)
