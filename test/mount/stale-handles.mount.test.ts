/** Connections that outlive their daemon do not go on reading what was. */
import { expect } from "bun:test"
import { readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { describeProcess } from "../../src/sys/process/process.ts"
import { expectSame, run, sqlite3 } from "../support/client.ts"
import { LockClient } from "../support/lock-client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { flagsOf, Scope, STRICT, type TestNode } from "../support/node.ts"
import { testRandom } from "../support/random.ts"

const READ = "select count(*), max(length(x)) from t"
const FAILURE = /disk I\/O error|database disk image is malformed|locking protocol/

async function readers(scope: Scope, node: TestNode, database: string) {
  const plain = new LongClient(scope, node, database)
  const mapped = new LongClient(scope, node, database)
  await mapped.exec("pragma mmap_size=100000000")
  for (const client of [plain, mapped]) expect((await client.rows(READ))[0]?.[0]).toBe(50)
  return { plain, mapped }
}

const MODES = ["wal", "delete"]
const ROLES = ["primary", "replica"]
const ENDS = ["killed", "stopped", "unmounted"]
const random = testRandom()
/** Each end in each mode on one of the nodes, by chance; with LITEFS_ALL_FAULTS on both. */
const CASES = MODES.flatMap((mode) =>
  ENDS.flatMap((end) => {
    return random.someOf(ROLES).map((role) => [mode, role, end] as const)
  }),
)

for (const [mode, role, end] of CASES) {
  test(`an old connection in mode ${mode} gets an error when its daemon, a ${role}, was ${end} and there is a new one`, async () => {
    await using scope = new Scope()
    const primary = await scope.node()
    const first = role === "primary" ? primary : await scope.node({ follows: primary })
    const rows = "with recursive c(n) as (select 1 union all select n+1 from c where n<50)"
    const make = `create table t(x); insert into t ${rows} select randomblob(3000) from c`
    sqlite3(primary, "app.db", `pragma journal_mode=${mode}; ${make}`)
    if (first !== primary) await expectSame(primary, first, "app.db")
    const old = await readers(scope, first, "app.db")
    await first.stop(end === "stopped" ? "SIGTERM" : "SIGKILL")
    if (end === "unmounted") run(["umount", "-l", first.mount])
    const follows = first === primary ? {} : { follows: primary }
    const second = await scope.again(first, { ...follows })
    sqlite3(role === "primary" ? second : primary, "app.db", "insert into t values('new')")
    if (role === "replica") await expectSame(primary, second, "app.db")

    for (let n = 0; n < 3; n++) await expect(old.plain.rows(READ)).rejects.toThrow(FAILURE)
    if (mode === "wal") await expect(old.mapped.rows(READ)).rejects.toThrow(FAILURE)
    // Without a WAL nothing fails before the mapped page is read, which is SIGBUS.
    else await expect(old.mapped.rows(READ)).rejects.toThrow(/the client has ended/)
    const pids = [old.plain.pid, old.mapped.pid].sort((a, b) => b - a).join(" \\(.+?\\), ")
    expect(second.output).toMatch(
      new RegExp(`clients of the last daemon get I/O errors.*pids="?${pids}`),
    )
    const fresh = new LongClient(scope, second, "app.db")
    expect((await fresh.rows(READ))[0]?.[0]).toBe(51)
  }, 60_000)
}

test("clients that cannot be reached are named in the log", async () => {
  await using scope = new Scope()
  // Those who write past it would keep the next daemon from starting (behind-kill.mount.test.ts).
  const first = await scope.node({ flags: flagsOf(STRICT) })
  for (const mode of ["wal", "delete"]) {
    sqlite3(first, `${mode}.db`, `pragma journal_mode=${mode}; create table t(x)`)
  }
  const known = new LongClient(scope, first, "wal.db")
  const idle = new LongClient(scope, first, "delete.db")
  for (const client of [known, idle]) await client.rows(READ)
  await first.stop("SIGKILL")
  // root, as in a container: it may not look into who has more rights.
  const through = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]
  const second = await scope.again(first, { through })
  const pids = (line: string) => /pids="([^"]+)"/.exec(line)?.[1]?.split(", ")
  const line = await second.logged(/clients of the last daemon may read old data.*/)
  expect(line).toContain("CAP_SYS_PTRACE")
  expect(pids(line)).toEqual([describeProcess(known.pid)])
  const others = await second.logged(/cannot tell whether processes are clients.*/)
  expect(pids(others)).toContain(describeProcess(idle.pid))
}, 60_000)

test("another file system that has got the number of the old mount has no clients of the last daemon", async () => {
  await using scope = new Scope()
  const first = await scope.node()
  sqlite3(first, "app.db", "create table t(x)")
  const path = join(scope.directory, "another's")
  writeFileSync(path, "")
  const other = new LockClient(scope, path)
  expect(await other.lock("posix", "set", "exclusive", 0, 1)).toBe("ok")
  await first.stop("SIGKILL")
  run(["umount", "-l", first.mount])
  const record = join(first.data, "mounted")
  const [boot] = readFileSync(record, "utf8").split(" ")
  const { dev } = statSync(path)
  const device = `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`
  writeFileSync(record, `${boot} ${device} behind\n`)
  const through = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"]
  const second = await scope.again(first, { through })
  expect(sqlite3(second, "app.db", "select count(*) from t")).toBe("0")
  expect(second.output).not.toContain("clients of the last daemon")
}, 60_000)

test("clients that share mapped pages are named in the log", async () => {
  await using scope = new Scope()
  const first = await scope.node()
  const rows = "with recursive c(n) as (select 1 union all select n+1 from c where n<50)"
  sqlite3(
    first,
    "app.db",
    `create table t(x); insert into t ${rows} select randomblob(3000) from c`,
  )
  const clients = [0, 1].map(() => new LongClient(scope, first, "app.db"))
  for (const client of clients) {
    await client.exec("pragma mmap_size=100000000")
    await client.rows(READ)
  }
  await first.stop("SIGKILL")
  const second = await scope.again(first)
  const line = await second.logged(/clients of the last daemon may read old data.*/)
  for (const { pid } of clients) expect(line).toContain(String(pid))
}, 60_000)
