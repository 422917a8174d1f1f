/** `--forward-writes`: a program that knows of nothing writes on a replica. */
import { expect } from "bun:test"
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
import { Scope, type TestNode } from "../support/node.ts"
import { rounds, testRandom } from "../support/random.ts"
import { promote } from "../torture/handoffs.ts"

const random = testRandom()

const MODES = ["wal", "delete"] as const
const FLAGS = ["--forward-writes", "--candidate"]

async function cluster(scope: Scope, mode: string, count: number): Promise<TestNode[]> {
  const primary = await scope.node({ flags: FLAGS })
  sqlite3(
    primary,
    "a.db",
    `pragma journal_mode = ${mode}; create table t(node, i, unique(node, i)); create table n(x); insert into n values(0)`,
  )
  const nodes = [primary]
  while (nodes.length < count) nodes.push(await scope.node({ follows: primary, flags: FLAGS }))
  for (const node of nodes) await caughtUp(primary, node, "a.db")
  return nodes
}

/** Of each of three nodes; in the long form 40. */
const TRANSACTIONS = rounds(15, 40)

/** Counts in one row and notes each step in another: both need what the others have written. */
function writer(node: TestNode, name: string, count: number): string[] {
  return nodeCommand(
    node,
    `const a = db("a.db")
     const step = a.transaction((i) => {
       a.prepare("insert into t values(?, ?)").run(${JSON.stringify(name)}, i)
       a.prepare("update n set x = x + 1").run()
     })
     for (let i = 0; i < ${count}; i++) { step.immediate(i); console.log(i) }`,
  )
}

test.each(random.someOf(MODES))(
  "%s mode: transactions of three nodes at once are there exactly once, in one order everywhere",
  async (mode) => {
    await using scope = new Scope()
    const nodes = await cluster(scope, mode, 3)
    const writers = nodes.map((node, index) =>
      start(writer(node, `${index}`, TRANSACTIONS), { limitMs: 100_000 }),
    )
    for (const running of writers) await output(running)
    const [primary, ...replicas] = nodes as [TestNode, ...TestNode[]]
    expect(sqlite3(primary, "a.db", "select x from n")).toBe(`${3 * TRANSACTIONS}`)
    expect(sqlite3(primary, "a.db", "select node, count(*) from t group by node")).toBe(
      [0, 1, 2].map((name) => `${name}|${TRANSACTIONS}`).join("\n"),
    )
    for (const replica of replicas) await expectSame(primary, replica, "a.db")
  },
  120_000,
)

test.each(random.someOf(MODES))(
  "%s mode: a program writes on a replica, and reads there what it wrote",
  async (mode) => {
    await using scope = new Scope()
    const [primary, replica] = (await cluster(scope, mode, 2)) as [TestNode, TestNode]
    const client = new LongClient(scope, replica, "a.db")
    for (let i = 0; i < 5; i++) {
      await client.exec(`begin immediate; insert into t values('r', ${i}); commit`)
      expect(await client.value("select count(*) from t")).toBe(2 * i + 1)
      sqlite3(primary, "a.db", `insert into t values('p', ${i})`)
      await caughtUp(primary, replica, "a.db")
    }
    run(["sqlite3", "-cmd", ".timeout 5000", `${replica.mount}/a.db`, "update n set x = 7; vacuum"])
    expect(sqlite3(primary, "a.db", "select x from n")).toBe("7")
    await client.close()
    await expectSame(primary, replica, "a.db")
  },
  60_000,
)

test("a writer that is killed in a transaction on a replica leaves nothing, and others go on", async () => {
  await using scope = new Scope()
  const [primary, replica] = (await cluster(scope, "wal", 2)) as [TestNode, TestNode]
  const client = new LongClient(scope, replica, "a.db")
  await client.exec("begin immediate; insert into t values('killed', 1)")
  expect(
    failureOf(["sqlite3", `${primary.mount}/a.db`, "insert into t values('busy', 1)"]),
  ).toContain("locked")
  await client.close("SIGKILL")
  sqlite3(primary, "a.db", "insert into t values('p', 1)")
  run(["sqlite3", "-cmd", ".timeout 5000", `${replica.mount}/a.db`, "insert into t values('r', 1)"])
  await expectSame(primary, replica, "a.db")
  expect(sqlite3(replica, "a.db", "select group_concat(node) from t")).toBe("p,r")
}, 60_000)

test("nodes that write all the time let the others write, and the role move", async () => {
  await using scope = new Scope()
  const [primary, first, second] = (await cluster(scope, "wal", 3)) as [
    TestNode,
    TestNode,
    TestNode,
  ]
  const busy = [primary, first].map((node, index) =>
    start(writer(node, `${index}`, 1_000_000), { limitMs: 100_000 }),
  )
  for (const { spoken } of busy) await spoken
  for (let i = 0; i < 3; i++) {
    const sql = `begin immediate; insert into t values('s', ${i}); update n set x = x + 1; commit`
    run(["sqlite3", "-bail", "-cmd", ".timeout 20000", `${second.mount}/a.db`, sql])
  }
  await promote(first)
  await primary.logged(/this node is a replica/)
  for (const running of busy) running.kill("SIGKILL")
  for (const { ended } of busy) await ended
  const counted =
    "select (select x from n) = (select count(*) from t), count(*) from t where node = 's'"
  expect(sqlite3(first, "a.db", counted)).toBe("1|3")
  await expectSame(first, primary, "a.db")
  await expectSame(first, second, "a.db")
}, 120_000)

test("without a primary a replica that forwards writes reads on, and its writes fail", async () => {
  await using scope = new Scope()
  const [primary, replica] = (await cluster(scope, "wal", 2)) as [TestNode, TestNode]
  await primary.stop("SIGKILL")
  expect(sqlite3(replica, "a.db", "select x from n")).toBe("0")
  expect(
    failureOf(["sqlite3", "-cmd", ".timeout 2000", `${replica.mount}/a.db`, "update n set x = 1"]),
  ).not.toBe("")
  await replica.logged(/cannot forward writes to the primary/)
  const again = await scope.again(primary, { flags: FLAGS })
  run(["sqlite3", "-cmd", ".timeout 20000", `${replica.mount}/a.db`, "update n set x = 2"])
  await expectSame(again, replica, "a.db")
}, 60_000)
