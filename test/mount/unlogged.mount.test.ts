/** A database that was put into the data directory, or whose LTX files are gone: it is what its file says. */
import { expect } from "bun:test"
import { copyFileSync, globSync, mkdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { caughtUp, expectSame, pos, run, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

const MODES = ["delete", "wal"] as const
const CREATE =
  "create table t(id integer primary key, x); " +
  "with recursive c(n) as (select 1 union all select n + 1 from c where n < 3000) insert into t(x) select 'row ' || n from c;"

function litefs(...args: readonly string[]): string {
  const [program, ...words] = [...PROGRAM, ...args]
  return run([program as string, ...words])
}

/** Puts a database where a node has its own, which does not run. */
function put(node: TestNode, mode: string, sql = CREATE): Buffer {
  const directory = join(node.data, "dbs/a.db")
  mkdirSync(join(directory, "ltx"), { recursive: true })
  const path = join(node.directory, "put.db")
  run(["sqlite3", path], `pragma journal_mode = ${mode}; ${sql}`)
  copyFileSync(path, join(directory, "database"))
  return readFileSync(path)
}

function ltxFiles(node: TestNode): string[] {
  return globSync("dbs/a.db/ltx/*.ltx", { cwd: node.data }).map((name) => join(node.data, name))
}

const WAYS = ["copied there", "without its LTX files", "repaired by litefs doctor"] as const

test.each(WAYS.flatMap((way) => random.someOf(MODES).map((mode) => [mode, way] as const)))(
  "%s mode: the first transaction of a database %s holds every page",
  async (mode, way) => {
    await using scope = new Scope()
    const first = await scope.node()
    if (way !== "copied there") sqlite3(first, "a.db", `pragma journal_mode = ${mode}; ${CREATE}`)
    await first.stop()
    if (way === "copied there") put(first, mode)
    if (way === "without its LTX files") for (const path of ltxFiles(first)) rmSync(path)
    if (way === "repaired by litefs doctor") {
      for (const path of ltxFiles(first).slice(0, -1)) rmSync(path)
      const last = ltxFiles(first)[0] as string
      await Bun.write(last, readFileSync(last).subarray(0, 60))
      rmSync(join(first.data, "dbs/a.db/synced"), { force: true })
      litefs("doctor", "--repair", "--data-dir", first.data)
      // Where the file proves to have its last transaction, the repair makes one that holds every page.
      for (const path of ltxFiles(first)) expect(litefs("ltx", "verify", path)).toContain("whole")
    }

    const primary = await scope.again(first)
    expect(pos(primary, "a.db")).toMatch(/^0+[1-9]\//)
    const replica = await scope.node({ follows: primary })
    const client = new LongClient(scope, primary, "a.db")
    await client.exec("insert into t(x) values('new')")
    await caughtUp(primary, replica, "a.db")
    expect(sqlite3(replica, "a.db", "pragma integrity_check; select count(*) from t")).toBe(
      "ok\n3001",
    )
    expect(litefs("ltx", "verify", ltxFiles(primary)[0] as string)).toContain("whole")

    await primary.stop("SIGKILL")
    await client.close()
    const last = await scope.again(primary)
    expect(sqlite3(last, "a.db", "pragma integrity_check; select count(*) from t")).toBe("ok\n3001")
    await client.close()
    await expectSame(last, replica, "a.db")
  },
  90_000,
)

test.each(random.someOf(MODES))(
  "%s mode: a replica keeps a database without LTX files when the primary's takes its place",
  async (mode) => {
    await using scope = new Scope()
    const primary = await scope.node()
    sqlite3(primary, "a.db", `pragma journal_mode = ${mode}; create table t(x);`)
    const first = await scope.node({ follows: primary })
    await first.stop()
    rmSync(join(first.data, "dbs/a.db"), { recursive: true, force: true })
    const content = put(first, mode, "create table mine(x); insert into mine values('only here');")

    const replica = await scope.again(first, { follows: primary })
    await replica.logged(/has diverged from the primary's/)
    await expectSame(primary, replica, "a.db")
    await replica.stop()
    const { histories } = JSON.parse(
      litefs("diverged", "list", "--json", "--data-dir", replica.data),
    )
    expect(histories).toHaveLength(1)
    expect(histories[0].database).toBe("a.db")
    const path = join(scope.directory, "kept.db")
    litefs("diverged", "export", "--data-dir", replica.data, histories[0].name, path)
    expect(Buffer.compare(readFileSync(path), content)).toBe(0)
    expect(run(["sqlite3", path, "select x from mine"]).trim()).toBe("only here")
  },
  60_000,
)
