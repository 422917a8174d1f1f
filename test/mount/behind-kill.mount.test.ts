/** `--capture behind`: clients of daemons that were killed write to their WALs still, until the next daemon sees to it. */
import { expect } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { expectSame, sqlite3 } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { passingTest as test } from "../support/mount-test.ts"
import { Scope, type TestNode } from "../support/node.ts"
import { pair } from "../support/pair.ts"

const flags = ["--capture", "behind"]
const behind = () => pair({ primary: { flags }, mode: "wal", sql: "create table a(x)" })
const values = (node: TestNode) => sqlite3(node, "a.db", "select group_concat(x) from a")

/** Inserts as often as it can. What it was told is done, it hears. */
async function insert(client: LongClient, ...xs: number[]): Promise<number[]> {
  const told: number[] = []
  for (const x of xs) {
    await client
      .exec(`insert into a values(${x})`)
      .then(() => told.push(x))
      .catch(() => {})
  }
  return told
}

async function connected(scope: Scope, node: TestNode, settings = ""): Promise<LongClient> {
  const client = new LongClient(scope, node, "a.db")
  // What it is to do first, it does before it reads anything.
  await client.exec(`${settings}; pragma busy_timeout = 50; pragma synchronous = normal`)
  return client
}

async function written(node: TestNode): Promise<number> {
  const text = await (await fetch(`${node.url}/metrics`)).text()
  return Number(/litefs_db_wal_write_count\{db="a.db"\} (\d+)/.exec(text)?.[1] ?? 0)
}

test("a client that outlives two daemons is kept from writing by each, and writes nothing of its own in between", async () => {
  await using scope = await behind()
  let { primary } = scope
  const told: number[] = []
  const clients: LongClient[] = []
  for (let round = 0; round < 4; round++) {
    const client = await connected(scope, primary)
    clients.push(client)
    told.push(...(await insert(client, round * 100, round * 100 + 1)))
    await primary.stop("SIGKILL")
    // All of them try, those of older daemons first.
    for (const [n, other] of clients.entries()) {
      told.push(...(await insert(other, round * 100 + 10 + n, round * 100 + 20 + n)))
    }
    primary = await scope.again(primary, { flags })
    for (const other of clients) expect(await insert(other, 7)).toEqual([])
  }
  const found = values(primary).split(",").map(Number)
  for (const x of told) expect(found.filter((y) => x === y)).toEqual([x])
  expect(found).not.toContain(7)
  expect(sqlite3(primary, "a.db", "pragma integrity_check")).toBe("ok")
  await expectSame(primary, scope.replica, "a.db")
  for (const client of clients) await client.close("SIGKILL")
}, 90_000)

test("a client that goes away while the next daemon looks hides no other", async () => {
  await using scope = await behind()
  const client = await connected(scope, scope.primary)
  expect(await insert(client, 1)).toEqual([1])
  await scope.primary.stop("SIGKILL")
  const primary = await scope.again(scope.primary, {
    flags,
    env: { LITEFS_FAULTS: "fuse:probe#1=ENOENT" },
  })
  const told = await insert(client, 2)
  expect(values(primary)).toBe([1, ...told].join(","))
  expect(told).toEqual([])
  await client.close("SIGKILL")
}, 60_000)

test("a client that has the database for itself writes through the daemon, and nothing without it", async () => {
  await using scope = await behind()
  let { primary } = scope
  const client = await connected(scope, primary, "pragma locking_mode = exclusive")
  const before = await written(primary)
  expect(await insert(client, 1, 2)).toEqual([1, 2])
  expect(await written(primary)).toBeGreaterThan(before)
  await primary.stop("SIGKILL")
  expect(await insert(client, 3)).toEqual([])
  primary = await scope.again(primary, { flags })
  expect(await insert(client, 4)).toEqual([])
  expect(values(primary)).toBe("1,2")
  await client.close("SIGKILL")
  await expectSame(primary, scope.replica, "a.db")
  const other = await connected(scope, primary)
  const now = await written(primary)
  expect(await insert(other, 5)).toEqual([5])
  expect(await written(primary)).toBe(now) // it shares the database, and passes
}, 60_000)

test("a client that passes and then takes the database for itself has to end before the next daemon starts", async () => {
  await using scope = await behind()
  let { primary } = scope
  const client = await connected(scope, primary)
  expect(await insert(client, 1)).toEqual([1])
  await client.exec("pragma locking_mode = exclusive")
  expect(await insert(client, 2)).toEqual([2])
  await primary.stop("SIGKILL")
  const told = await insert(client, 3)
  const { directory, port } = primary
  const refused = await scope.spawn({ directory, port, flags })
  expect((await refused.exited).code).toBe(1)
  expect(refused.output).toMatch(
    new RegExp(`Cannot take over from the last daemon: .*end them first: ${client.pid}`),
  )
  told.push(...(await insert(client, 4)))
  await client.close("SIGKILL")
  primary = await scope.again(primary, { flags })
  expect(values(primary)).toBe([1, 2, ...told].join(","))
  await expectSame(primary, scope.replica, "a.db")
}, 60_000)

test("commits that only the WAL has are on both nodes after a kill, whatever was done last", async () => {
  await using scope = new Scope()
  const file = join(scope.directory, "faults")
  writeFileSync(file, "")
  const start = { flags, env: { LITEFS_FAULTS_FILE: file } }
  let primary = await scope.node(start)
  const replica = await scope.node({ follows: primary })
  sqlite3(primary, "a.db", "pragma journal_mode = wal; create table a(x)")
  const last: readonly string[][] = [
    [],
    ["insert into a values(1)"],
    ["insert into a values(2)", "pragma wal_checkpoint(restart)"],
    ["insert into a values(3)", "pragma wal_checkpoint(truncate)"],
  ]
  const expected = ["1", "2", "3"]
  for (const [n, statements] of last.entries()) {
    const client = await connected(scope, primary)
    for (const sql of statements) await client.exec(sql)
    // Nothing more is captured.
    writeFileSync(file, "log:*#1+=ENOSPC,ltx:*#1+=ENOSPC")
    expect(await insert(client, 10 + n, 20 + n)).toEqual([10 + n, 20 + n])
    expected.push(`${10 + n}`, `${20 + n}`)
    await primary.logged(/cannot capture what clients have committed/)
    await primary.stop("SIGKILL")
    writeFileSync(file, "")
    primary = await scope.again(primary, start)
    expect(primary.output).toContain("captured the commits of a WAL that followed on the log")
    await client.close("SIGKILL")
  }
  expect(values(primary).split(",").toSorted()).toEqual(expected.toSorted())
  await expectSame(primary, replica, "a.db")
}, 90_000)

test.each([
  ["ends because a thread of it does", "log:write#1=end"],
  ["is stopped while there is no room", "log:*#1+=ENOSPC,ltx:*#1+=ENOSPC"],
])(
  "commits that only the WAL has are there after a daemon that %s",
  async (_, fault) => {
    await using scope = new Scope()
    const file = join(scope.directory, "faults")
    writeFileSync(file, "")
    const start = { flags, env: { LITEFS_FAULTS_FILE: file } }
    const primary = await scope.node(start)
    sqlite3(primary, "a.db", "pragma journal_mode = wal; create table a(x)")
    const client = await connected(scope, primary)
    await client.exec("insert into a values(1)")
    writeFileSync(file, fault)
    expect(await insert(client, 2)).toEqual([2])
    if (fault.includes("ENOSPC")) {
      await primary.logged(/cannot capture what clients have committed/)
      await client.close() // whose checkpoint is refused
      expect(await primary.stop()).toEqual({ code: 0, signal: null })
    } else {
      expect(await primary.exited).toEqual({ code: 1, signal: null })
      await client.close("SIGKILL")
    }
    writeFileSync(file, "")
    const again = await scope.again(primary, start)
    expect(values(again)).toBe("1,2")
    expect(again.output).toContain("captured the commits of a WAL that followed on the log")
    const replica = await scope.node({ follows: again })
    await expectSame(again, replica, "a.db")
  },
  60_000,
)
