/** `litefs import` and `litefs export` against real nodes, with clients connected. */
import { Database } from "bun:sqlite"
import { expect } from "bun:test"
import {
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
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
  start,
} from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { testRandom } from "../support/random.ts"
import { until } from "../support/until.ts"
import { someModes } from "../torture/model.ts"

const random = testRandom()

/** A database file outside of any mount. */
function file(scope: Scope, sql: string, pageSize = 4096): string {
  const path = join(scope.directory, `file-${Math.random()}.db`)
  using database = new Database(path)
  database.run(`PRAGMA page_size = ${pageSize}`)
  database.run(sql)
  return path
}

function importCommand(node: TestNode, name: string, path: string, ...flags: string[]): string[] {
  return [...PROGRAM, "import", "--url", node.url, "--name", name, ...flags, path]
}

function exportCommand(node: TestNode, name: string, path: string): string[] {
  return [...PROGRAM, "export", "--url", node.url, "--name", name, path]
}

/** Content of the test's tables, from 1 to `count`. */
function rows(count: number): string {
  return `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count}) SELECT i, randomblob(200) FROM n`
}

test("import makes a new database, which replicas and clients see", async () => {
  await using scope = await pair()
  const { primary, replica } = scope
  for (const pageSize of [512, 4096, 65536]) {
    const name = `new-${pageSize}.db`
    expect(failureOf(["cat", `${primary.mount}/${name}`])).toContain("No such file")
    const path = file(
      scope,
      `CREATE TABLE t(i, x); INSERT INTO t ${rows(1000)}; PRAGMA journal_mode = ${pageSize === 512 ? "wal" : "delete"}`,
      pageSize,
    )
    const out = run(importCommand(primary, name, path))
    expect(out).toMatch(new RegExp(`^Import of database "${name}" in [\\d.]+m?s\n$`))
    expect(pos(primary, name)).toStartWith("0000000000000001/")
    await primary.logged(
      new RegExp(`tag=import msg="imported a database" db=${name} pos=0{15}1/\\w+ from=127.0.0.1`),
    )
    sqlite3(primary, name, "insert into t values(0, 'after')")
    await expectSame(primary, replica, name)
    expect(sqlite3(replica, name, "select count(*) from t")).toBe("1001")
    expect(sqlite3(replica, name, "pragma page_size")).toBe(`${pageSize}`)
  }
  expect(readdirSync(join(primary.data, "import"))).toEqual([])
  await expectQuiet(replica, primary)
}, 30_000)

test.each(someModes(random))(
  "%p mode: import replaces a database under the clients of both nodes, also with another page size",
  async (mode) => {
    await using scope = await pair()
    const { primary, replica } = scope
    const writer = new LongClient(scope, primary, "a.db")
    await writer.exec(
      `pragma journal_mode = ${mode}; create table t(i, x); insert into t ${rows(3000)}`,
    )
    await writer.exec("create table old(y)")
    const reader = new LongClient(scope, primary, "a.db")
    expect(await reader.value("select count(*) from t")).toBe(3000)
    await caughtUp(primary, replica, "a.db")
    const watcher = new LongClient(scope, replica, "a.db")
    expect(await watcher.value("select count(*) from t")).toBe(3000)

    let count = 0
    for (const pageSize of [4096, 1024, 65536, 4096]) {
      count += 500
      const path = file(
        scope,
        `CREATE TABLE "more ${count}"(z); CREATE TABLE t(i, x); INSERT INTO t ${rows(count)}`,
        pageSize,
      )
      run(importCommand(primary, "a.db", path))
      for (const client of [reader, writer]) {
        expect(await client.value("select count(*) from t")).toBe(count)
        expect(await client.value(`select count(*) from "more ${count}"`)).toBe(0)
        expect(await client.value("select count(*) from sqlite_master")).toBe(2)
        expect(await client.value("pragma integrity_check")).toBe("ok")
      }
      await caughtUp(primary, replica, "a.db")
      expect(await watcher.value("select count(*) from t")).toBe(count)
      await writer.exec(`insert into t values(0, 'from the writer')`)
      await reader.exec(`delete from t where i = 0; insert into "more ${count}" values(1)`)
      await expectSame(primary, replica, "a.db")
      expect(await watcher.value(`select count(*) from "more ${count}"`)).toBe(1)
      expect(await watcher.value("pragma integrity_check")).toBe("ok")
      for (const client of [reader, writer]) {
        expect(await client.value("pragma page_size")).toBe(pageSize)
        if (mode === "wal") expect(await client.value("pragma journal_mode")).toBe("wal")
      }
    }
    for (const client of [reader, writer, watcher]) await client.close()
    const at = pos(primary, "a.db")
    await expectQuiet(replica, primary)
    const again = await scope.again(primary)
    expect(pos(again, "a.db")).toBe(at)
    expect(sqlite3(again, "a.db", "pragma integrity_check")).toBe("ok")
  },
  60_000,
)

test.each(random.someOf(["delete", "wal"]))(
  "%p mode: import while others read and write: everybody sees the old or the new",
  async (mode) => {
    await using scope = await pair()
    const { primary, replica } = scope
    // In every version the sum of all rows is a thousand times the version.
    const content = (version: number) =>
      `CREATE TABLE t(i INTEGER PRIMARY KEY, v); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO t SELECT i, ${version} FROM n; CREATE TABLE log(x); CREATE TABLE pad(p); INSERT INTO pad SELECT randomblob(1000) FROM t`
    sqlite3(primary, "a.db", `pragma journal_mode = ${mode}; ${content(0)};`)
    await caughtUp(primary, replica, "a.db")
    const done = join(scope.directory, "done")
    const reading = (node: TestNode) =>
      start(
        nodeCommand(
          node,
          `
          import { existsSync } from "node:fs"
          const d = db("a.db")
          const seen = new Set()
          while (!existsSync(${JSON.stringify(done)})) {
            d.exec("begin")
            const versions = d.prepare("select distinct v from t").pluck().all()
            const { count, sum } = d.prepare("select count(*) count, sum(v) sum from t").get()
            d.exec("commit")
            if (versions.length !== 1 || count !== 1000 || sum !== versions[0] * 1000) {
              throw new Error(JSON.stringify({ versions, count, sum }))
            }
            if (seen.size === 0) process.stdout.write(" ")
            seen.add(versions[0])
          }
          console.log(seen.size)
        `,
        ),
      )
    const writing = start(
      nodeCommand(
        primary,
        `
        import { existsSync } from "node:fs"
        const d = db("a.db")
        const pause = new Int32Array(new SharedArrayBuffer(4))
        let count = 0
        while (!existsSync(${JSON.stringify(done)})) {
          d.transaction(() => {
            d.prepare("insert into log values(?)").run(count++)
            d.prepare("update t set v = v where i = ?").run((count % 1000) + 1)
          }).immediate()
          // A gap as applications have it: on a machine with more to do, microseconds may be too few for 10 s.
          if (count % 20 === 0) Atomics.wait(pause, 0, 0, 1)
        }
        console.log(count)
      `,
      ),
    )
    const readers = [reading(primary), reading(primary)]
    // One that never pauses keeps a replica from applying in WAL mode: all it may see is one version.
    const watcher = reading(replica)
    for (const reader of [...readers, watcher]) await reader.spoken
    const end = Date.now() + 1500
    let version = 0
    while (version < 3 || Date.now() < end) {
      version += 1
      const path = file(scope, content(version), [4096, 1024][version % 2])
      await output(start(importCommand(primary, "a.db", path)))
    }
    writeFileSync(done, "")
    expect(Number(await output(writing))).toBeGreaterThan(10)
    for (const reader of readers) expect(Number(await output(reader))).toBeGreaterThan(1)
    expect(Number(await output(watcher))).toBeGreaterThanOrEqual(1)
    await expectSame(primary, replica, "a.db")
    expect(sqlite3(primary, "a.db", "select distinct v from t")).toBe(`${version}`)
    await expectQuiet(replica, primary)
  },
  60_000,
)

test("import takes the place of a transaction that its writer did not live to end", async () => {
  await using scope = await pair()
  const { primary, replica } = scope
  for (const mode of ["delete", "wal"]) {
    const name = `${mode}.db`
    sqlite3(primary, name, `pragma journal_mode = ${mode}; create table t(i, x)`)
    const dying = new LongClient(scope, primary, name)
    await dying.exec(`pragma cache_size = 2; begin; insert into t ${rows(2000)}`)
    await dying.close("SIGKILL")
    run(importCommand(primary, name, file(scope, "CREATE TABLE t(i, x, y)")))
    expect(sqlite3(primary, name, "select count(*) from t; pragma integrity_check")).toBe("0\nok")
    sqlite3(primary, name, "insert into t values(1, 2, 3)")
    await expectSame(primary, replica, name)
  }
}, 30_000)

test("import makes a database again that was removed, whatever lies beside it", async () => {
  await using scope = await pair()
  const { primary, replica } = scope
  for (const mode of ["delete", "wal"]) {
    const name = `${mode}.db`
    sqlite3(primary, name, `pragma journal_mode = ${mode}; create table t(x)`)
    const client = new LongClient(scope, primary, name)
    await client.exec("insert into t values('old')")
    run(["rm", `${primary.mount}/${name}`])
    await caughtUp(primary, replica, name)
    const path = file(
      scope,
      `PRAGMA journal_mode = ${mode}; CREATE TABLE t(x); INSERT INTO t VALUES('new')`,
    )
    run(importCommand(primary, name, path))
    expect(sqlite3(primary, name, "select x from t")).toBe("new")
    await client.close()
    sqlite3(primary, name, "insert into t values('more')")
    await expectSame(primary, replica, name)
    expect(sqlite3(replica, name, "select group_concat(x) from t")).toBe("new,more")
  }
}, 30_000)

test("import refuses what is not a whole database, and changes nothing", async () => {
  await using scope = await pair({ sql: "create table t(x); insert into t values('kept')" })
  const { primary, replica } = scope
  const before = pos(primary, "a.db")
  const good = readFileSync(
    file(scope, `CREATE TABLE t(i, x); CREATE INDEX j ON t(x); INSERT INTO t ${rows(500)}`),
  )
  const corrupt = Buffer.from(good)
  corrupt.fill(0x55, 3 * 4096, 4 * 4096)
  const zeroed = Buffer.from(good).fill(0, 0, 16)
  const bodies: [Buffer, string][] = [
    [Buffer.alloc(0), "it does not start like a SQLite database"],
    [Buffer.from("SQLite format 3\0"), "it does not start like a SQLite database"],
    [Buffer.alloc(100_000, "garbage"), "it does not start like a SQLite database"],
    [zeroed, "it does not start like a SQLite database"],
    [good.subarray(0, -1), "its header says"],
    [good.subarray(0, 8192), "it has 8192 bytes, its header says"],
    [Buffer.concat([good, Buffer.alloc(4096)]), "it is longer than"],
    [Buffer.concat([good, Buffer.alloc(1)]), "it is longer than"],
    [corrupt, "it is corrupt: "],
  ]
  const path = join(scope.directory, "bad.db")
  for (const [body, problem] of bodies) {
    writeFileSync(path, body)
    for (const name of ["a.db", "b.db"]) {
      const error = failureOf(importCommand(primary, name, path))
      expect(error).toMatch(
        new RegExp(`^ERROR: Cannot import .+ as "${name}": the file is not usable, `),
      )
      expect(error).toContain(problem)
    }
  }
  for (const name of ["../evil", "a.db-wal", ".primary", "a/b"]) {
    expect(failureOf(importCommand(primary, name, path))).toContain(`--name is "${name}": `)
  }
  expect(failureOf(["curl", "-sSf", "-X", "POST", `${primary.url}/import`])).toContain("400")
  expect(failureOf(importCommand(replica, "a.db", path))).toBe(
    `ERROR: Cannot import "a.db": this node is not the primary, which is node-${primary.port}, import it there (--url ${primary.url}) or make this node the primary (litefs promote)\n`,
  )
  expect(pos(primary, "a.db")).toBe(before)
  expect(sqlite3(primary, "a.db", "select x from t")).toBe("kept")
  expect(readdirSync(join(primary.data, "dbs"))).toEqual(["a.db"])
  expect(readdirSync(join(primary.data, "import"))).toEqual([])
  expect(run(["ls", primary.mount])).toBe("a.db\na.db-pos\n")

  // A connection that breaks.
  writeFileSync(path, good)
  const broken = ["curl", "-sS", "-m", "1", "--limit-rate", "20k", "-T", path]
  expect(failureOf([...broken, "-X", "POST", `${primary.url}/import?name=b.db`])).toContain("28")
  await until("what came is gone", () => readdirSync(join(primary.data, "import")).length === 0)
  expect(readdirSync(join(primary.data, "dbs"))).toEqual(["a.db"])

  writeFileSync(path, corrupt)
  run(importCommand(primary, "b.db", path, "--no-verify"))
  await caughtUp(primary, replica, "b.db")
  await expectQuiet(replica, primary)
}, 60_000)

test.each(random.someOf(["delete", "wal"]))(
  "%p mode: an export is of one position, on both nodes, while others write",
  async (mode) => {
    await using scope = await pair({
      mode,
      sql: `create table t(i, x); create table n(a, b); insert into n values(0, 0); insert into t ${rows(5000)}`,
    })
    const { primary, replica } = scope
    const done = join(scope.directory, "done")
    const writing = start(
      nodeCommand(
        primary,
        `
        const d = db("a.db")
        import { existsSync } from "node:fs"
        while (!existsSync(${JSON.stringify(done)})) {
          d.transaction(() => {
            d.exec("update n set a = a + 1")
            d.exec("update t set x = randomblob(200) where i % 50 = (select a from n) % 50")
            d.exec("update n set b = b + 1")
          }).immediate()
        }
      `,
      ),
    )
    const path = join(scope.directory, "out.db")
    const seen = new Set<string>()
    for (let round = 0; round < 4 || (seen.size < 6 && round < 40); round++) {
      for (const node of [primary, replica]) {
        await output(
          start(["curl", "-sSf", "-D", `${path}-head`, "-o", path, `${node.url}/export?name=a.db`]),
        )
        const [, at] = /^Litefs-Position: (\S+)/im.exec(readFileSync(`${path}-head`, "utf8")) ?? []
        seen.add(at as string)
        const check = "select a = b, count(*) from n, t; pragma integrity_check"
        expect(run(["sqlite3", `file:${path}?immutable=1`, check])).toBe("1|5000\nok\n")
        const size = statSync(path).size
        const name = (at as string).split("/")[0] as string
        const ltx = join(primary.data, "dbs/a.db/ltx", `${name}-${name}.ltx`)
        const dump = run([...PROGRAM, "ltx", "dump", "--json", ltx])
        const { commit, pageSize, pos: after } = JSON.parse(dump).files[0]
        expect({ size, at }).toEqual({ size: commit * pageSize, at: after })
      }
    }
    writeFileSync(done, "")
    await output(writing)
    expect(seen.size).toBeGreaterThan(2)
    await caughtUp(primary, replica, "a.db")
    for (const node of [primary, replica]) {
      const out = run(exportCommand(node, "a.db", path))
      expect(out).toMatch(/^Export of database "a.db" in [\d.]+m?s\n$/)
      expect(run(["sqlite3", path, ".dump"])).toBe(`${sqlite3(primary, "a.db", ".dump")}\n`)
    }
    await expectQuiet(replica, primary)
  },
  60_000,
)

test("an export into the mount or the data directory is refused, and one onto a backup replaces it", async () => {
  await using scope = new Scope()
  const node = await scope.node()
  sqlite3(node, "a.db", "create table t(x); insert into t values(1)")
  const before = pos(node, "a.db")
  for (const name of ["a.db", "new.db"]) {
    const path = join(node.mount, name)
    expect(failureOf([...exportCommand(node, "a.db", path), "--force"])).toBe(
      `ERROR: Cannot export to "${path}": it is in the mount, choose another PATH\n`,
    )
  }
  const inside = join(node.data, "dbs/a.db/database")
  expect(failureOf(exportCommand(node, "a.db", inside))).toContain("it is in the data directory")
  expect(pos(node, "a.db")).toBe(before)
  expect(run(["ls", node.mount])).toBe("a.db\na.db-pos\n")
  const backup = join(scope.directory, "backup.db")
  for (const count of [1, 2]) {
    run(exportCommand(node, "a.db", backup))
    expect(run(["sqlite3", backup, "select count(*) from t"])).toBe(`${count}\n`)
    sqlite3(node, "a.db", "insert into t values(2)")
  }
  expect(readdirSync(scope.directory).filter((name) => name.startsWith("backup"))).toEqual([
    "backup.db",
  ])
})

test("an export of what is not there fails and leaves the file alone", async () => {
  await using scope = await pair()
  const { primary, replica } = scope
  sqlite3(primary, "gone.db", "create table t(x)")
  await caughtUp(primary, replica, "gone.db")
  run(["rm", `${primary.mount}/gone.db`])
  await caughtUp(primary, replica, "gone.db")
  const path = join(scope.directory, "out.db")
  writeFileSync(path, "SQLite format 3\0old")
  for (const node of [primary, replica]) {
    for (const name of ["gone.db", "none.db"]) {
      expect(failureOf(exportCommand(node, name, path))).toBe(
        `ERROR: Cannot export "${name}": there is no database of that name\n`,
      )
    }
    expect(run(["curl", "-sS", `${node.url}/export`])).toBe("name required\n")
    expect(existsSync(join(node.data, "dbs/none.db"))).toBe(false)
  }
  expect(readFileSync(path, "utf8")).toBe("SQLite format 3\0old")
}, 30_000)

test("import and export of 200 MB take no memory, also when the other side is slow", async () => {
  await using scope = new Scope()
  const primary = await scope.node()
  const path = file(scope, "PRAGMA journal_mode = off; CREATE TABLE t(i, x)")
  run([
    "sqlite3",
    path,
    `pragma journal_mode = off; with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) insert into t select i, randomblob(10000) from n`,
  ])
  const { size } = statSync(path)
  expect(size).toBeGreaterThan(200_000_000)
  sqlite3(primary, "a.db", "pragma journal_mode = wal; create table t(i, x)")
  const client = new LongClient(scope, primary, "a.db")
  expect(await client.value("select count(*) from t")).toBe(0)
  const before = memoryOf(primary)
  const back = join(scope.directory, "back.db")

  run(importCommand(primary, "a.db", path))
  expect(await client.value("select count(*) from t")).toBe(20_000)
  run(exportCommand(primary, "a.db", back))
  expect(statSync(back).size).toBe(size)
  expect(run(["sqlite3", back, "pragma quick_check"])).toBe("ok\n")
  truncateSync(back)

  const slow = start(
    ["curl", "-sS", "--limit-rate", "60M", "-o", back, `${primary.url}/export?name=a.db`],
    { limitMs: 30_000 },
  )
  await client.exec("update t set x = zeroblob(10000) where i % 100 = 0")
  await output(slow)
  expect(run(["sqlite3", `file:${back}?immutable=1`, "pragma quick_check"])).toBe("ok\n")
  expect(memoryOf(primary) - before).toBeLessThan(150)
  await client.close()
  await expectQuiet(primary)
}, 120_000)

/** The most memory that a node has had resident, MB. */
function memoryOf(node: TestNode): number {
  const status = readFileSync(`/proc/${node.pid}/status`, "utf8")
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024
}

test.each(random.someOf(["delete", "wal"]))(
  "%s mode: an import takes the place of a database that is none any more, which is kept",
  async (mode) => {
    await using scope = await pair({ mode, sql: "create table t(x)" })
    const { primary, replica } = scope
    const home = join(primary.data, "dbs/a.db")
    const noise = crypto.getRandomValues(new Uint8Array(4096))
    const from = join(scope.directory, "noise")
    writeFileSync(from, noise)
    run(["dd", `if=${from}`, `of=${home}/database`, "conv=notrunc", "status=none"])

    const other = file(scope, "create table other as select 1 as y")
    run(importCommand(primary, "a.db", other))
    expect(sqlite3(primary, "a.db", "pragma integrity_check; select y from other")).toBe("ok\n1")
    await caughtUp(primary, replica, "a.db")
    await expectSame(primary, replica, "a.db")
    const kept = readdirSync(home).filter((name) => /^database\.damaged-\d+$/.test(name))
    expect(kept.length).toBe(1)
    expect(readFileSync(join(home, kept[0] as string)).subarray(0, 4096)).toEqual(
      Buffer.from(noise),
    )
    await primary.logged(/kept an unreadable database/)
    expect(primary.output).not.toContain("request failed")
  },
  60_000,
)

test("an import without the token is told so, also while it sends", async () => {
  await using scope = new Scope()
  const node = await scope.node({ flags: ["--auth-token", "sesame"] })
  const path = join(scope.directory, "a.db")
  run(["sqlite3", path, "create table t(x); insert into t values(zeroblob(3000000))"])
  for (let time = 0; time < 12; time++) {
    const failure = failureOf([...PROGRAM, "import", "--url", node.url, "--name", "a.db", path])
    expect(failure).toContain("unauthorized: this node asks for a token")
  }
}, 60_000)
