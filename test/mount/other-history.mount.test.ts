/** Data directories that somebody has changed between a stop, or a kill, and the next start. */
import { Database } from "bun:sqlite"
import { expect } from "bun:test"
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { expectSame, output, pos, sqlite3, start } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { testRandom } from "../support/random.ts"

const MODES = ["delete", "wal"] as const

function insert(node: TestNode, first: number, last: number): void {
  for (let number = first; number <= last; number++) {
    sqlite3(node, "app.db", `insert into t values(${number}, hex(randomblob(300)))`)
  }
}

function rows(node: TestNode): string {
  return sqlite3(node, "app.db", "select group_concat(n, ' ') from (select n from t order by n)")
}

function directoryOf(node: TestNode): string {
  return join(node.data, "dbs/app.db")
}

function namesIn(node: TestNode, pattern: RegExp): string[] {
  return readdirSync(directoryOf(node)).filter((name) => pattern.test(name))
}

function expectNoStack({ output }: TestNode): void {
  expect(output).not.toMatch(/\$bunfs|RangeError|^\s+at /m)
}

/** Another node with a copy of the data of one that is stopped, which goes on by itself from there. */
async function copyOf(scope: Scope, node: TestNode): Promise<TestNode> {
  const directory = join(scope.directory, `copy-${Math.random()}`)
  mkdirSync(join(directory, "mnt"), { recursive: true })
  cpSync(node.data, join(directory, "data"), { recursive: true })
  rmSync(join(directory, "data/lease.json"), { force: true })
  return scope.node({ directory })
}

for (const mode of testRandom().someOf(MODES)) {
  test.each([
    ["behind", 1],
    ["where the log is", 4],
    ["ahead", 7],
  ])(
    `${mode} mode: after a kill, a copy of another history that is %s stays as it is`,
    async (_, count) => {
      await using scope = new Scope()
      let node = await scope.node()
      sqlite3(node, "app.db", `pragma journal_mode=${mode}; create table t(n, a)`)
      insert(node, 1, 3)
      await node.stop()
      const other = await copyOf(scope, node)
      node = await scope.again(node)
      insert(node, 101, 104)
      insert(other, 201, 200 + count)
      const expected = pos(other, "app.db")
      await other.stop()
      await node.stop("SIGKILL")
      rmSync(directoryOf(node), { recursive: true })
      cpSync(directoryOf(other), directoryOf(node), { recursive: true })

      node = await scope.again(node)
      const others = Array.from({ length: count }, (_, index) => 201 + index).join(" ")
      expect(rows(node)).toBe(`1 2 3 ${others}`)
      expect(pos(node, "app.db")).toBe(expected)
      expect(node.output).toMatch(/set aside transactions of the commit log, they do not follow on/)
      const [kept = ""] = namesIn(node, /^commit-log\.removed-\d+$/)
      expect(readdirSync(join(directoryOf(node), kept))).toHaveLength(4)
      insert(node, 301, 301)
      const replica = await scope.node({ follows: node })
      await expectSame(node, replica, "app.db")
      expect(rows(replica)).toBe(`1 2 3 ${others} 301`)
      expectNoStack(node)
    },
    90_000,
  )

  test.each(["SIGKILL", "SIGTERM"] as const)(
    `${mode} mode: a bit of the last LTX file that is another takes nothing back, after %s`,
    async (signal) => {
      await using scope = new Scope()
      let node = await scope.node()
      sqlite3(node, "app.db", `pragma journal_mode=${mode}; create table t(n, a)`)
      insert(node, 1, 4)
      const before = pos(node, "app.db")
      await node.stop(signal)
      const ltx = join(directoryOf(node), "ltx")
      const last = join(ltx, readdirSync(ltx).sort().at(-1) as string)
      const bytes = readFileSync(last)
      bytes[200] = (bytes[200] as number) ^ 8
      writeFileSync(last, bytes)
      node = await scope.again(node)
      expect(rows(node)).toBe("1 2 3 4")
      expect(pos(node, "app.db")).toBe(before)
      expect(node.output).toMatch(/level=warn.*set aside .*damaged/i)
      expectNoStack(node)
      insert(node, 5, 5)
      const replica = await scope.node({ follows: node })
      await expectSame(node, replica, "app.db")
      expect(rows(replica)).toBe("1 2 3 4 5")
    },
    90_000,
  )

  test.each(["SIGKILL", "SIGTERM"] as const)(
    `${mode} mode: what is written to the database file after %s is not lost without a word`,
    async (signal) => {
      await using scope = new Scope()
      let node = await scope.node()
      sqlite3(node, "app.db", `pragma journal_mode=${mode}; create table t(n, a)`)
      insert(node, 1, 4)
      await node.stop(signal)
      await Bun.sleep(1500)
      const path = join(directoryOf(node), "database")
      {
        using outside = new Database(path)
        outside.run("INSERT INTO t VALUES(99, 'from outside')")
      }
      node = await scope.again(node)
      await node.logged(/while LiteFS was not running/)
      const kept = [...namesIn(node, /^database\.changed-\d+$/), "database"]
      const values = kept.flatMap((name) => {
        const copy = join(scope.directory, name)
        cpSync(join(directoryOf(node), name), copy)
        using database = new Database(copy)
        return database.query("SELECT a FROM t WHERE n = 99").values()
      })
      expect(values).toEqual([["from outside"]])
      expectNoStack(node)
    },
    90_000,
  )
}

test("import takes what is in the WAL of a file that is in use, and of a database in the mount itself", async () => {
  await using scope = new Scope()
  const node = await scope.node()
  const path = join(scope.directory, "live.db")
  using live = new Database(path)
  live.run("PRAGMA journal_mode=wal")
  live.run("PRAGMA wal_autocheckpoint=0")
  live.run("CREATE TABLE t(n)")
  live.run("PRAGMA wal_checkpoint(TRUNCATE)")
  live.run("INSERT INTO t VALUES(1), (2), (3)")
  const importOf = (name: string, from: string) =>
    output(start([...PROGRAM, "import", "--url", node.url, "--name", name, from]))
  await importOf("app.db", path)
  expect(sqlite3(node, "app.db", "select count(*) from t")).toBe("3")
  sqlite3(node, "app.db", "insert into t values(4)")
  await importOf("other.db", join(node.mount, "app.db"))
  expect(sqlite3(node, "other.db", "select count(*) from t")).toBe("4")
  await importOf("app.db", join(node.mount, "app.db"))
  expect(sqlite3(node, "app.db", "pragma integrity_check; select count(*) from t")).toBe("ok\n4")
}, 60_000)
