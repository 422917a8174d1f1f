/**
 * Nodes that have the original's HTTP on the other side: HTTP/2 without TLS, none of our headers. Node's `node:http2`
 * speaks it (support/http2-bridge.mjs); and the original itself, where LITEFS_ORIGINAL names its program.
 */
import { expect } from "bun:test"
import { caughtUp, expectSame, pos, run, sqlite3 } from "../support/client.ts"
import { Http2Bridge } from "../support/http2-bridge.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope, type TestNode } from "../support/node.ts"
import { infoOf } from "../support/node-api.ts"
import { hasOriginal, ORIGINAL, OriginalNode } from "../support/original.ts"
import { testRandom } from "../support/random.ts"
import { until } from "../support/until.ts"

const random = testRandom()

const originalTest = test.skipIf(!hasOriginal)

/** 8 MB, which do not fit into any window. */
const LARGE = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 80)"

function fill(node: TestNode, mode: string): void {
  sqlite3(
    node,
    "a.db",
    `pragma journal_mode = ${mode}; create table t(x); insert into t values (1)`,
  )
}

function grow(node: TestNode): void {
  sqlite3(node, "a.db", `${LARGE} insert into t select randomblob(100000) from n`)
}

function writeHalted(node: TestNode | OriginalNode, program: readonly string[], sql: string): void {
  const path = `${node.mount}/a.db`
  const name = program === PROGRAM ? ["a.db", "--fuse-dir", node.mount] : [path]
  const flag = program === PROGRAM ? "--with-halt-lock-on" : "-with-halt-lock-on"
  run([...program, "run", flag, ...name, "--", "sqlite3", path, sql])
}

const total = (node: TestNode | OriginalNode) =>
  sqlite3(node as TestNode, "a.db", "select count(*), sum(length(x)) from t").trim()

async function same(one: TestNode | OriginalNode, other: TestNode | OriginalNode): Promise<void> {
  const [first, second] = [one, other] as [TestNode, TestNode]
  await until(
    "both are at the same position",
    () => {
      try {
        return pos(first, "a.db") === pos(second, "a.db")
      } catch {
        return false
      }
    },
    { everyMs: 50 },
  )
  expect(total(second)).toBe(total(first))
}

test.each(random.someOf(["wal", "delete"]))(
  "a replica follows a primary that answers 426, and one of ours in its place (%s)",
  async (mode) => {
    await using scope = new Scope()
    const primary = await scope.node()
    fill(primary, mode)
    const bridge = await Http2Bridge.start(scope, "primary", primary.port)
    const replica = await scope.node({ follows: bridge })
    await caughtUp(primary, replica, "a.db")
    expect(bridge.lines).toContain("POST /stream 426")
    sqlite3(primary, "a.db", "insert into t values (2)")
    await caughtUp(primary, replica, "a.db")
    writeHalted(replica, PROGRAM, "insert into t values (3)")
    expect(total(primary)).toStartWith("3|")
    grow(primary)
    await caughtUp(primary, replica, "a.db")
    const count = bridge.lines.filter((line) => line === "POST /stream 200").length
    bridge.hangUp()
    await until(
      "it has connected again",
      () => bridge.lines.filter((line) => line === "POST /stream 200").length > count,
      {
        context: () => bridge.lines.join("\n"),
      },
    )
    sqlite3(primary, "a.db", "insert into t values (4)")
    await caughtUp(primary, replica, "a.db")
    expect(bridge.lines).not.toContain("POST /acknowledge 200")

    await bridge.stop()
    await primary.stop()
    const ours = await scope.again(primary, { port: bridge.port })
    sqlite3(ours, "a.db", "insert into t values (5)")
    await caughtUp(ours, replica, "a.db")
    await expectSame(ours, replica, "a.db")
    expect((await infoOf(ours)).replicas.map(({ hostname }) => hostname)).toEqual([
      `node-${replica.port}`,
    ])
  },
  120_000,
)

test.each(random.someOf(["wal", "delete"]))(
  "who speaks only HTTP/2 follows a primary, borrows its lock and sends transactions (%s)",
  async (mode) => {
    await using scope = new Scope()
    const primary = await scope.node()
    fill(primary, mode)
    const bridge = await Http2Bridge.start(scope, "replica", primary.port)
    const replica = await scope.node({ follows: bridge })
    await caughtUp(primary, replica, "a.db")
    sqlite3(primary, "a.db", "insert into t values (2)")
    await caughtUp(primary, replica, "a.db")
    writeHalted(replica, PROGRAM, "insert into t values (3)")
    writeHalted(replica, PROGRAM, "insert into t values (randomblob(3000000))")
    expect(total(primary)).toStartWith("4|")
    for (const path of ["POST /stream", "POST /halt", "POST /tx", "DELETE /halt"]) {
      await bridge.said(new RegExp(`^${path} 200$`, "m"))
    }
    grow(primary)
    await caughtUp(primary, replica, "a.db")
    await primary.stop()
    const again = await scope.again(primary)
    sqlite3(again, "a.db", "insert into t values (4)")
    await caughtUp(again, replica, "a.db")
    await expectSame(again, replica, "a.db")
  },
  120_000,
)

originalTest(
  "a node follows the original, and writes with its lock",
  async () => {
    await using scope = new Scope()
    const original = await OriginalNode.start(scope)
    fill(original as unknown as TestNode, "wal")
    const replica = await scope.node({ follows: original })
    await same(original, replica)
    sqlite3(original as unknown as TestNode, "a.db", "insert into t values (2)")
    await same(original, replica)
    writeHalted(replica, PROGRAM, "insert into t values (3)")
    writeHalted(replica, PROGRAM, "insert into t values (randomblob(3000000))")
    await same(original, replica)
    expect(total(replica)).toStartWith("4|")
    grow(original as unknown as TestNode)
    await same(original, replica)
    await original.stop()
    const { directory, port } = original
    const again = await OriginalNode.start(scope, { directory, port })
    sqlite3(again as unknown as TestNode, "a.db", "insert into t values (4)")
    await same(again, replica)
  },
  120_000,
)

originalTest(
  "the original follows a node, and writes with its lock",
  async () => {
    await using scope = new Scope()
    const primary = await scope.node()
    fill(primary, "wal")
    const original = await OriginalNode.start(scope, { follows: primary.url })
    await same(primary, original)
    sqlite3(primary, "a.db", "insert into t values (2)")
    await same(primary, original)
    writeHalted(original, [ORIGINAL], "insert into t values (3)")
    writeHalted(original, [ORIGINAL], "insert into t values (randomblob(3000000))")
    await same(primary, original)
    expect(total(primary)).toStartWith("4|")
    grow(primary)
    await same(primary, original)
    await primary.stop()
    const again = await scope.again(primary)
    sqlite3(again, "a.db", "insert into t values (4)")
    await same(again, original)
    sqlite3(again, "b.db", "create table u(y)")
    await original.logged(/b\.db/)
  },
  120_000,
)

originalTest(
  "a cluster of the original moves over node by node, and back",
  async () => {
    await using scope = new Scope()
    const asNode = (node: OriginalNode) => node as unknown as TestNode
    let first = await OriginalNode.start(scope)
    fill(asNode(first), "wal")
    const second = await OriginalNode.start(scope, { follows: first.url })
    await same(first, second)

    await second.stop() // a replica first
    const replica = await scope.node({ follows: first, directory: second.directory })
    sqlite3(asNode(first), "a.db", "insert into t values (2)")
    await same(first, replica)

    await first.stop() // then the primary, in its place
    const primary = await scope.node({ directory: first.directory, port: first.port })
    sqlite3(primary, "a.db", "insert into t values (3)")
    await same(primary, replica)
    expect(total(replica)).toBe("3|3")

    await replica.stop() // and back
    const back = await OriginalNode.start(scope, {
      follows: primary.url,
      directory: replica.directory,
    })
    sqlite3(primary, "a.db", "insert into t values (4)")
    await same(primary, back)
    await primary.stop()
    first = await OriginalNode.start(scope, { directory: primary.directory, port: primary.port })
    sqlite3(asNode(first), "a.db", "insert into t values (5)")
    await same(first, back)
    expect(total(back)).toBe("5|5")
  },
  120_000,
)
