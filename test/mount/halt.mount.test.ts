/** Writing on a replica with the primary's write lock, borrowed through flock(1) on `<db>-lock`. */
import { expect } from "bun:test"
import { join } from "node:path"
import { appeared } from "../support/appeared.ts"
import {
  caughtUp,
  expectSame,
  failureOf,
  nodeCommand,
  output,
  pos,
  run,
  sqlite3,
  start,
} from "../support/client.ts"
import { FaultProxy } from "../support/fault-proxy.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { testRandom } from "../support/random.ts"
import { holder, locked, ONE_ROW, shell, values } from "../support/write-lock.ts"
import { promote } from "../torture/handoffs.ts"
import { someModes } from "../torture/model.ts"

const random = testRandom()

test.each(someModes(random))(
  "%s mode: a command under flock(1) writes on a replica, and every node has what it wrote when it is done",
  async (mode) => {
    await using scope = await pair({ mode, sql: ONE_ROW })
    const { primary, replica } = scope
    const third = await scope.node({ follows: primary })
    for (let i = 2; i <= 4; i++) {
      run(locked(replica, ...shell(replica, `insert into t values(${i})`)))
      expect(values(primary)).toEndWith(`${i}`)
      sqlite3(primary, "a.db", `insert into t values(${i * 10})`)
    }
    await caughtUp(primary, replica, "a.db")
    await caughtUp(primary, third, "a.db")
    await expectSame(primary, replica, "a.db")
    await expectSame(primary, third, "a.db")
    expect(values(third)).toBe("1,2,20,3,30,4,40")
    expect(failureOf(shell(replica, "insert into t values(0)"))).toContain("rror")
    expect(replica.output).not.toContain("lost")
  },
  60_000,
)

test("a write under the lock follows on a transaction so large that the WAL has started over since", async () => {
  const setup = `pragma page_size = 512; pragma journal_mode = wal; ${ONE_ROW}; create table big(b)`
  await using scope = await pair({ sql: setup })
  const { primary, replica } = scope
  expect(values(replica)).toBe("1")
  sqlite3(primary, "a.db", "insert into big values(randomblob(3000000))")
  await caughtUp(primary, replica, "a.db")
  expect(values(replica)).toBe("1") // with its only client the wal-index goes
  for (const x of [2, 3]) {
    run(locked(replica, ...shell(replica, `insert into t values(${x})`)))
    expect(values(primary)).toEndWith(`${x}`)
  }
  await expectSame(primary, replica, "a.db")
}, 60_000)

test.each(random.someOf(["wal", "delete"] as const))(
  "%s mode: migrations of every kind run under the lock, with clients connected on both nodes",
  async (mode) => {
    await using scope = await pair({ mode, sql: ONE_ROW })
    const { primary, replica } = scope
    const there = new LongClient(scope, primary, "a.db")
    const here = new LongClient(scope, replica, "a.db")
    expect(await there.rows("select x from t")).toEqual([[1]])
    expect(await here.rows("select x from t")).toEqual([[1]])
    const migrate = `
      const a = db("a.db")
      a.exec("begin immediate; alter table t add column y; update t set y = 1; commit")
      a.pragma("cache_size = 20")
      a.exec("create table big(id integer primary key, x)")
      a.exec("with recursive n(i) as (select 1 union all select i + 1 from n where i < 1200) insert into big select i, randomblob(3000) from n")
      a.exec("begin; delete from big where id % 2; savepoint s; delete from big; rollback to s; commit")
      a.exec("vacuum")
      a.exec("begin; update t set y = 2; rollback")
      for (let i = 0; i < 20; i++) a.prepare("insert into t values(?, ?)").run(i, "row")
      a.pragma("wal_checkpoint(truncate)")
      a.exec("update t set y = 3")
    `
    run(locked(replica, ...nodeCommand(replica, migrate)))
    const count = "select count(*), sum(y = 3) from t"
    expect(await there.rows(count)).toEqual([[21, 21]])
    expect(await here.rows(count)).toEqual([[21, 21]])
    await there.exec("insert into t values(100, 4)")
    await caughtUp(primary, replica, "a.db")
    expect(await here.rows("select y from t where x = 100")).toEqual([[4]])
    await there.close()
    await here.close()
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)

test("the journal mode and the page size change under the lock, and other databases of a transaction stay behind", async () => {
  await using scope = await pair({ mode: "delete", sql: ONE_ROW })
  const { primary, replica } = scope
  sqlite3(primary, "b.db", "create table u(x)")
  await caughtUp(primary, replica, "b.db")
  run(locked(replica, ...shell(replica, "pragma journal_mode = wal; insert into t values(2)")))
  await expectSame(primary, replica, "a.db")
  sqlite3(primary, "a.db", "insert into t values(3)")
  run(locked(replica, ...shell(replica, "insert into t values(4); pragma journal_mode = delete")))
  run(
    locked(replica, ...shell(replica, "pragma page_size = 8192; vacuum; insert into t values(5)")),
  )
  expect(values(primary)).toBe("1,2,3,4,5")
  expect(sqlite3(primary, "a.db", "pragma page_size; pragma journal_mode")).toBe("8192\ndelete")
  await expectSame(primary, replica, "a.db")
  const both = `attach '${replica.mount}/b.db' as b; begin; insert into t values(6); insert into u values(6); commit`
  expect(failureOf(locked(replica, ...shell(replica, both)))).not.toBe("")
  await expectSame(primary, replica, "b.db")
}, 60_000)

test.each(random.someOf(["wal", "delete"] as const))(
  "%s mode: while a replica has the lock, the primary's readers go on and its writers find it locked",
  async (mode) => {
    await using scope = await pair({ mode, sql: ONE_ROW })
    const { primary, replica } = scope
    const reader = new LongClient(scope, primary, "a.db")
    if (mode === "wal") await reader.exec("begin")
    expect(await reader.rows("select x from t")).toEqual([[1]])
    const held = await holder(scope, replica)
    run(shell(replica, "insert into t values(2)"))
    expect(await reader.rows("select x from t")).toEqual(mode === "wal" ? [[1]] : [[1], [2]])
    expect(values(primary)).toBe("1,2")
    expect(failureOf(shell(primary, "insert into t values(0)", 300))).toContain("locked")
    const waiter = start(shell(primary, "insert into t values(3)"))
    run(shell(replica, "insert into t values(4)"))
    held.kill("SIGKILL")
    await output(waiter)
    if (mode === "wal") await reader.exec("commit")
    expect(await reader.rows("select x from t")).toEqual([[1], [2], [4], [3]])
    await reader.close()
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)

test("litefs run and litefs sql write with the lock, wherever they run, one node after the other", async () => {
  await using scope = await pair({ mode: "wal", sql: ONE_ROW })
  const { primary, replica } = scope
  const litefs = (node: TestNode, ...words: string[]) => [
    ...["env", `LITEFS_FUSE_DIR=${node.mount}`, `LITEFS_URL=${node.url}`],
    ...[...PROGRAM, ...words],
  ]
  const halted = ["run", "--with-halt-lock-on", "a.db", "--"]
  run(litefs(replica, ...halted, ...shell(replica, "insert into t values(2)")))
  run(litefs(replica, "sql", "--with-halt-lock", "a.db", "insert into t values(3)"))
  run(litefs(primary, ...halted, ...shell(primary, "insert into t values(4)")))
  const { code } = await start(litefs(replica, ...halted, "sh", "-c", "exit 7")).ended
  expect(code).toBe(7)
  const missing = failureOf(litefs(replica, "run", "--with-halt-lock-on", "no.db", "--", "true"))
  expect(missing).toBe(
    `ERROR: Cannot borrow the write lock of "no.db": there is no such database in "${replica.mount}"\n`,
  )
  const elsewhere = ["run", "--with-halt-lock-on", "a.db", "--fuse-dir"]
  for (const [dir, problem] of [
    [scope.directory, `"${scope.directory}", where it was looked for, is not a mount of LiteFS`],
    ["/no/such", 'there is no directory "/no/such"'],
  ] as const) {
    const failure = failureOf([...PROGRAM, ...elsewhere, dir, "--", "true"])
    const advice = "give where LiteFS is mounted with --fuse-dir, like"
    expect(failure).toStartWith(
      `ERROR: Cannot borrow the write lock of "a.db": ${problem}, ${advice} `,
    )
    expect(failure).toMatch(/like "\/.*\/mnt"/) // other files of tests have mounts of their own
  }

  // Two nodes count, which needs both a read and a write.
  const count = "for i in 1 2 3 4 5; do sqlite3 $0 'update t set x = x + 1 where rowid = 1'; done"
  const counters = [primary, replica, replica].map((node) =>
    start(litefs(node, ...halted, "sh", "-c", count, `${node.mount}/a.db`)),
  )
  for (const counter of counters) await output(counter)
  expect(values(primary)).toBe("16,2,3,4")
  await expectSame(primary, replica, "a.db")
}, 60_000)

test("litefs run and litefs sql do not wait for the lock any longer than they are told", async () => {
  await using scope = await pair({ mode: "wal", sql: ONE_ROW })
  const { primary, replica } = scope
  const holding = await holder(scope, replica)
  const environment = (node: TestNode) => ["env", `LITEFS_FUSE_DIR=${node.mount}`, ...PROGRAM]
  for (const node of [replica, primary]) {
    for (const words of [
      ["run", "--with-halt-lock-on", "a.db", "--timeout", "700ms", "--", "true"],
      ["sql", "--with-halt-lock", "--busy-timeout", "700ms", "a.db", "insert into t values(9)"],
    ]) {
      const startMs = Date.now()
      const problem = failureOf([...environment(node), ...words])
      expect(Date.now() - startMs).toBeLessThan(6000) // the daemon itself waits for 10 seconds
      expect(problem).toMatch(
        /Cannot borrow the write lock of "a.db": it was not available within [67]\d\dms, /,
      )
    }
  }
  holding.kill("SIGKILL")
  await holding.ended
  // Who has given up waits for nothing any more, and has no lock.
  run(locked(primary, ...shell(primary, "insert into t values(2)")))
  run(locked(replica, ...shell(replica, "insert into t values(3)")))
  expect(values(primary)).toBe("1,2,3")
}, 60_000)

test.each(random.someOf(["wal", "delete"] as const))(
  "%s mode: a client that is killed in a transaction under the lock leaves nothing, and the lock goes with it",
  async (mode) => {
    await using scope = await pair({ mode, sql: ONE_ROW })
    const { primary, replica } = scope
    const log = join(scope.directory, "log")
    const source = `
      import { appendFileSync } from "node:fs"
      const a = db("a.db")
      a.pragma("cache_size = 10")
      a.exec("insert into t values(2); begin immediate")
      a.exec("with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000) insert into t select randomblob(1000) from n")
      appendFileSync(${JSON.stringify(log)}, "open\\n")
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
    `
    const client = start([
      "flock",
      "-F",
      `${replica.mount}/a.db-lock`,
      ...nodeCommand(replica, source),
    ])
    await appeared(log, /open/)
    client.kill("SIGKILL")
    sqlite3(primary, "a.db", "insert into t values(3)")
    expect(values(primary)).toBe("1,2,3")
    await expectSame(primary, replica, "a.db")
    run(locked(replica, ...shell(replica, "insert into t values(4)")))
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)

test.each(random.someOf(["wal", "delete"] as const))(
  "%s mode: over a link that is cut again and again every commit under the lock is there once",
  async (mode) => {
    await using scope = new Scope()
    const primary = await scope.node()
    const link = await FaultProxy.start(primary.port)
    scope.defer(() => link[Symbol.asyncDispose]())
    const replica = await scope.node({ follows: { url: link.url } })
    sqlite3(primary, "a.db", `pragma journal_mode = ${mode}; ${ONE_ROW}`)
    await caughtUp(primary, replica, "a.db")
    const held = await holder(scope, replica)
    const writer = start(
      nodeCommand(
        replica,
        `const insert = db("a.db").prepare("insert into t values(?)")
         for (let i = 2; i <= 100; i++) { insert.run(i); console.log(i) }`,
      ),
    )
    let isWriting = true
    const writing = output(writer).finally(() => {
      isWriting = false
    })
    while (isWriting) {
      link.cut()
      await Bun.sleep(20 + Math.random() * 200)
    }
    const lines = await writing
    expect(lines.trim().split("\n")).toHaveLength(99)
    expect(sqlite3(primary, "a.db", "select count(*), count(distinct x) from t")).toBe("100|100")
    expect(replica.output).not.toContain("lost a borrowed write lock")
    held.kill("SIGKILL")
    await held.ended
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)

test.each(["flock(1)", "a promotion"] as const)(
  "a transaction on a replica that is older than what the primary has sent since takes nothing back after %s",
  async (how) => {
    await using scope = await pair({
      mode: "wal",
      sql: ONE_ROW,
      replica: { flags: ["--candidate"] },
    })
    const { primary, replica } = scope
    const client = new LongClient(scope, replica, "a.db")
    await client.exec("begin immediate")
    for (let i = 2; i <= 5; i++) sqlite3(primary, "a.db", `insert into t values(${i})`)
    await caughtUp(primary, replica, "a.db")
    if (how === "a promotion") await promote(replica)
    else await start(locked(replica, "true")).ended
    await expect(client.exec("insert into t values(100); commit")).rejects.toThrow()
    expect(values(replica)).toBe("1,2,3,4,5")
    await client.exec("rollback").catch(() => {}) // SQLite may have
    run(locked(replica, ...shell(replica, "insert into t values(6)")))
    expect(values(replica)).toBe("1,2,3,4,5,6")
    await client.close()
    if (how === "a promotion") await primary.logged(/this node is a replica/)
    const [now, then] = how === "a promotion" ? [replica, primary] : [primary, replica]
    await expectSame(now, then, "a.db")
  },
  60_000,
)

test("the role moves when no node has the lock; a forced promotion ends it, and its holder writes nothing more", async () => {
  await using scope = await pair({
    mode: "wal",
    sql: ONE_ROW,
    replica: { flags: ["--candidate"] },
  })
  const { primary, replica } = scope
  const held = await holder(scope, replica)
  run(shell(replica, "insert into t values(2)"))
  await expect(promote(replica)).rejects.toThrow(/has borrowed its write lock/)
  sqlite3(primary, "a.db", "select 1")
  run(shell(replica, "insert into t values(3)"))
  held.kill("SIGKILL")
  run(shell(primary, "insert into t values(4)"))
  await promote(replica)
  await primary.logged(/this node is a replica/)
  run(locked(primary, ...shell(primary, "insert into t values(5)")))
  await expectSame(replica, primary, "a.db")
  await holder(scope, primary)
  run(shell(primary, "insert into t values(6)"))
  await promote(primary, "?force=true")
  await replica.logged(/this node is a replica/)
  run(shell(primary, "insert into t values(7)"))
  await expectSame(primary, replica, "a.db")
  expect(values(replica)).toBe("1,2,3,4,5,6,7")
}, 60_000)

test("a primary that is asked for the lock while it starts lends it when it can", async () => {
  await using scope = await pair({ mode: "wal", sql: ONE_ROW })
  const { primary, replica } = scope
  await primary.stop("SIGKILL")
  const again = await scope.spawn({ directory: primary.directory, port: primary.port })
  let lent: Response | undefined
  for (const deadline = Date.now() + 20_000; lent === undefined && Date.now() < deadline; ) {
    lent = await fetch(`${again.url}/halt?name=a.db&id=7`, { method: "POST" }).catch(
      () => undefined,
    )
  }
  expect(lent?.status).toBe(200)
  await fetch(`${again.url}/halt?name=a.db&id=7`, { method: "DELETE" })
  sqlite3(again, "a.db", "insert into t values(2)")
  await expectSame(again, replica, "a.db")
}, 60_000)

test("an import waits until the lock is back, and what the holder has committed until then is replaced", async () => {
  await using scope = await pair({ mode: "wal", sql: ONE_ROW })
  const { primary, replica } = scope
  const file = join(scope.directory, "new.db")
  run(["sqlite3", file, "pragma journal_mode = wal; create table t(x); insert into t values(7)"])
  const held = await holder(scope, replica)
  const importing = start([...PROGRAM, "import", "--url", primary.url, "--name", "a.db", file])
  await Bun.sleep(500)
  run(shell(replica, "insert into t values(2)"))
  expect(values(primary)).toBe("1,2")
  held.kill("SIGKILL")
  await output(importing)
  expect(values(primary)).toBe("7")
  run(locked(replica, ...shell(replica, "insert into t values(8)")))
  await expectSame(primary, replica, "a.db")
  expect(values(replica)).toBe("7,8")
}, 60_000)

test("the API lends to one node at a time, and takes transactions from nobody else", async () => {
  await using scope = await pair({ mode: "wal", sql: ONE_ROW })
  const { primary, replica } = scope
  const call = async (node: TestNode, method: string, path: string, body?: Uint8Array) => {
    const init = { method, ...(body === undefined ? {} : { body }) }
    const response = await fetch(node.url + path, init)
    return { status: response.status, text: (await response.text()).trim() }
  }
  const before = pos(primary, "a.db")
  const lent = await call(primary, "POST", "/halt?name=a.db&id=77")
  expect(lent.status).toBe(200)
  const [TXID, PostApplyChecksum] = before.split("/")
  expect(JSON.parse(lent.text)).toEqual({
    id: 77,
    pos: { TXID, PostApplyChecksum },
    expires: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
  })
  expect((await call(primary, "POST", "/halt?name=a.db&id=77")).status).toBe(200)
  expect((await call(primary, "POST", "/halt?name=a.db&id=78&wait=0")).status).toBe(409)
  expect((await call(primary, "POST", "/tx?name=a.db&lockID=78", new Uint8Array(200))).status).toBe(
    409,
  )
  expect((await call(primary, "POST", "/tx?name=a.db&lockID=77", new Uint8Array(8))).status).toBe(
    400,
  )
  expect((await call(primary, "POST", "/halt?name=a.db&id=x")).status).toBe(400)
  expect((await call(primary, "POST", "/halt?name=..%2Fa.db&id=1")).status).toBe(400)
  expect((await call(replica, "POST", "/halt?name=a.db&id=1")).status).toBe(503)
  expect((await call(primary, "DELETE", "/halt?name=a.db&id=78")).status).toBe(200)
  expect(failureOf(shell(primary, "insert into t values(0)", 200))).toContain("locked")
  expect((await call(primary, "DELETE", "/halt?name=a.db&id=77")).status).toBe(200)
  sqlite3(primary, "a.db", "insert into t values(2)")
  expect((await call(primary, "POST", "/tx?name=a.db&lockID=77", new Uint8Array(200))).status).toBe(
    409,
  )
  await expectSame(primary, replica, "a.db")
}, 60_000)
