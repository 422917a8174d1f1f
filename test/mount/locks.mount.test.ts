/**
 * Locks of clients on a mount with `--forward-writes`, where they are requests to the daemon. Others of its clients'
 * doings are tested in the files of the same tests without it.
 */
import { expect } from "bun:test"
import { caughtUp, expectQuiet, expectSame, sqlite3 } from "../support/client.ts"
import { LockClient } from "../support/lock-client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { Scope, type TestNode } from "../support/node.ts"
import { testRandom } from "../support/random.ts"
import { until } from "../support/until.ts"
import { someRollbackModes } from "../torture/model.ts"

const flags = ["--forward-writes"]

async function codeOf(result: Promise<unknown>): Promise<string> {
  return result.then(
    () => "ok",
    (error) => error.code ?? String(error),
  )
}

/** A connection that is told "busy" at once. */
async function impatient(scope: Scope, node: TestNode): Promise<LongClient> {
  const client = new LongClient(scope, node, "a.db")
  await client.exec("pragma busy_timeout = 0")
  return client
}

/** A database on a primary, and the node whose locks are looked at: that one, or a replica of it. */
async function nodes(scope: Scope, role: "primary" | "replica", mode: string) {
  const primary = await scope.node({ flags })
  sqlite3(
    primary,
    "a.db",
    `pragma journal_mode = ${mode}; create table t(x); insert into t values(1)`,
  )
  if (role === "primary") return { primary, node: primary }
  const replica = await scope.node({ follows: primary, flags })
  await caughtUp(primary, replica, "a.db")
  return { primary, node: replica }
}

test.each(someRollbackModes(testRandom()))(
  "%p mode: one process writes at a time, readers are kept out for the commit only, others wait",
  async (mode) => {
    await using scope = new Scope()
    const { node } = await nodes(scope, "primary", mode)
    const [a, b] = [await impatient(scope, node), await impatient(scope, node)]
    for (const client of [a, b]) await client.exec(`pragma journal_mode = ${mode}`)
    await a.exec("begin immediate; insert into t values(2)")
    expect(await codeOf(b.exec("begin immediate"))).toBe("SQLITE_BUSY")
    // The journal is there, and whether it is hot depends on RESERVED: F_GETLK.
    const late = await impatient(scope, node)
    expect(await late.rows("select x from t")).toEqual([[1]])
    await b.exec("begin; select * from t")
    expect(await codeOf(a.exec("commit"))).toBe("SQLITE_BUSY")
    expect(await codeOf(late.rows("select x from t"))).toBe("SQLITE_BUSY") // PENDING
    await b.exec("commit")
    await a.exec("commit")
    expect(await late.rows("select x from t")).toEqual([[1], [2]])

    await a.exec("begin exclusive")
    expect(await codeOf(b.rows("select x from t"))).toBe("SQLITE_BUSY")
    await b.exec("pragma busy_timeout = 20000")
    const waiting = b.exec("begin immediate; insert into t values(4); commit")
    await a.exec("insert into t values(3); commit")
    await waiting
    expect(await late.rows("select x from t")).toEqual([[1], [2], [3], [4]])
    for (const client of [a, b, late]) await client.close()
    await expectQuiet(node)
  },
  30_000,
)

test("WAL mode: one process writes at a time, readers keep what they see, and checkpoints mind them", async () => {
  await using scope = new Scope()
  const { node } = await nodes(scope, "primary", "wal")
  const [a, b, reader] = [
    await impatient(scope, node),
    await impatient(scope, node),
    await impatient(scope, node),
  ]
  await a.exec("begin immediate; insert into t values(2)")
  expect(await codeOf(b.exec("begin immediate"))).toBe("SQLITE_BUSY")
  await reader.exec("begin")
  expect(await reader.rows("select x from t")).toEqual([[1]])
  await b.exec("pragma busy_timeout = 20000")
  const waiting = b.exec("begin immediate; insert into t values(3); commit")
  await a.exec("commit")
  await waiting
  expect(await reader.rows("select x from t")).toEqual([[1]])
  expect((await a.rows("pragma wal_checkpoint(truncate)"))[0]?.[0]).toBe(1)
  await reader.exec("commit")
  expect(await reader.rows("select x from t")).toEqual([[1], [2], [3]])
  expect(await a.rows("pragma wal_checkpoint(truncate)")).toEqual([[0, 0, 0]])
  for (const client of [a, b, reader]) await client.close()
  await expectQuiet(node)
}, 30_000)

test.each(["delete", "wal"])(
  "%p mode: a client that is killed in a transaction has no lock any more when it is gone",
  async (mode) => {
    await using scope = new Scope()
    const { node } = await nodes(scope, "primary", mode)
    const next = await impatient(scope, node)
    for (let round = 0; round < 5; round++) {
      const holder = await impatient(scope, node)
      await holder.exec("begin immediate; insert into t values(0)")
      expect(await codeOf(next.exec("begin immediate"))).toBe("SQLITE_BUSY")
      await holder.close("SIGKILL")
      await next.exec("begin immediate; insert into t values(7); commit")
    }
    expect(await next.rows("select x, count(*) from t group by x order by x")).toEqual([
      [1, 1],
      [7, 5],
    ])
    await next.close()
    await expectQuiet(node)
  },
  30_000,
)

test.each(["delete", "wal"])(
  "%p mode: a replica applies what readers let it apply, and readers see all of a transaction",
  async (mode) => {
    await using scope = new Scope()
    const { primary, node: replica } = await nodes(scope, "replica", mode)
    const [reader, other] = [
      new LongClient(scope, replica, "a.db"),
      new LongClient(scope, replica, "a.db"),
    ]
    for (let x = 2; x < 40; x++) {
      await other.exec("begin")
      expect(await other.value("select max(x) from t")).toBe(x - 1)
      sqlite3(primary, "a.db", `insert into t values(${x})`)
      // In rollback mode nothing is applied under a reader; in WAL mode it is, and he sees the same.
      if (mode === "wal") await caughtUp(primary, replica, "a.db")
      expect(await other.value("select max(x) from t")).toBe(x - 1)
      await other.exec("commit")
      await caughtUp(primary, replica, "a.db")
      expect(await reader.rows("select max(x), count(*) from t")).toEqual([[x, x]])
    }
    await expectSame(primary, replica, "a.db")
    for (const client of [reader, other]) await client.close()
    await expectQuiet(replica, primary)
  },
  60_000,
)

test.each(["primary", "replica"] as const)(
  "a %s keeps the locks of fcntl(2) by process and by open file, and tells who has them",
  async (role) => {
    await using scope = new Scope()
    const { node } = await nodes(scope, role, "delete")
    const path = `${node.mount}/a.db`
    const [a, b] = [new LockClient(scope, path), new LockClient(scope, path)]
    expect(await a.lock("posix", "set", "exclusive", 10, 10)).toBe("ok")
    expect(await b.lock("posix", "set", "shared", 19, 5)).toBe("EAGAIN")
    expect(await b.lock("posix", "get", "shared", 0, 0)).toEqual({
      ...{ type: "exclusive", start: "10", length: "10", pid: a.pid },
    })
    expect(await a.lock("posix", "set", "shared", 12, 3)).toBe("ok")
    expect(await b.lock("ofd", "set", "shared", 12, 3)).toBe("ok")
    expect(await b.lock("ofd", "set", "shared", 12, 4)).toBe("EAGAIN")
    expect(await b.lock("posix", "get", "shared", 12, 3)).toBe("free")
    expect(await b.lock("ofd", "get", "exclusive", 12, 0)).toMatchObject({
      ...{ type: "shared", start: "12", length: "3", pid: -1 },
    })
    // Closing any descriptor of the file drops the process's locks, and not those of the open file.
    // The daemon takes SQLite's bytes as well, for moments.
    await until("the end of the file is locked", async () => {
      return (await a.lock("ofd", "set", "exclusive", 90, 0)) === "ok"
    })
    expect(await b.reopen()).toBe("ok")
    expect(await a.lock("posix", "set", "exclusive", 12, 1)).toBe("EAGAIN")
    expect(await a.reopen()).toBe("ok")
    expect(await b.lock("posix", "set", "exclusive", 10, 2)).toBe("ok")
    expect(await b.lock("posix", "get", "exclusive", 50, 0)).toMatchObject({
      ...{ type: "exclusive", start: "90", length: "0" },
    })
    const last = `${2n ** 63n - 2n}`
    expect(await b.lock("posix", "set", "shared", last, 1)).toBe("EAGAIN")
    await a.kill()
    expect(await b.lock("posix", "set", "exclusive", 50, 0)).toBe("ok")
  },
  30_000,
)

test("locks that are waited for come in order, when they are unlocked or their owner dies, and a deadlock is refused", async () => {
  await using scope = new Scope()
  const node = await scope.node({ flags: [...flags, "--fuse-debug", "--log-level", "debug"] })
  sqlite3(node, "a.db", "create table t(x)")
  const path = `${node.mount}/a.db`
  const clients = Array.from({ length: 4 }, () => new LockClient(scope, path))
  const [a, b, c, d] = clients as [LockClient, LockClient, LockClient, LockClient]
  expect(await a.lock("posix", "set", "exclusive", 1, 1)).toBe("ok")
  expect(await b.lock("posix", "set", "exclusive", 2, 1)).toBe("ok")
  expect(await c.lock("ofd", "set", "exclusive", 3, 1)).toBe("ok")

  const order: string[] = []
  const waits = (client: LockClient, name: string, start: number) =>
    client
      .lock("posix", "wait", "exclusive", start, 1)
      .then((answer) => order.push(`${name} ${answer}`))
  const waitsForA = waits(b, "b", 1)
  await node.logged(asked(b, 1))
  expect(await a.lock("posix", "wait", "exclusive", 2, 1)).toBe("EDEADLK")
  const waitsForC = waits(d, "d", 3)
  await node.logged(asked(d, 3))
  await a.lock("posix", "set", "unlock", 0, 0)
  await waitsForA
  expect(order).toEqual(["b ok"])
  await c.kill()
  await waitsForC
  expect(order).toEqual(["b ok", "d ok"])

  // One that waits can be killed, and gets nothing.
  const killed = a.lock("posix", "wait", "exclusive", 3, 1)
  await node.logged(asked(a, 3))
  await a.kill()
  expect(await killed).toStartWith("ended")
  await d.lock("posix", "set", "unlock", 0, 0)
  expect(await b.lock("posix", "set", "exclusive", 3, 1)).toBe("ok")
}, 30_000)

/** The log line of a client that will wait for the byte. */
function asked({ pid }: LockClient, byte: number): RegExp {
  return RegExp(`SETLKW n\\d+ h\\d+ WRLCK \\[${byte}\\.\\.${byte}\\] owner [0-9a-f]+ p${pid}\\b`)
}
