/** Nodes whose primary a store names: real nodes, a real etcd, clients in processes of their own. */
import { expect } from "bun:test"
import { caughtUp, sqlite3 } from "../support/client.ts"
import { Etcd, hasEtcd } from "../support/etcd.ts"
import { test as mountTest } from "../support/mount-test.ts"
import { Scope, type TestNode } from "../support/node.ts"
import { until } from "../support/until.ts"

const test = hasEtcd ? mountTest : mountTest.skip
const CANDIDATE = ["--candidate"]

interface Info {
  readonly isPrimary: boolean
  readonly lease?: { readonly epoch: number; readonly primary: { readonly hostname: string } }
}

async function info(node: TestNode): Promise<Info | undefined> {
  try {
    const response = await fetch(`${node.url}/info`, { signal: AbortSignal.timeout(2000) })
    return (await response.json()) as Info
  } catch {
    return undefined
  }
}

/** The one of the nodes that is the primary. */
async function primaryOf(nodes: readonly TestNode[], limitMs = 20_000): Promise<TestNode> {
  const look = async () => {
    const infos = await Promise.all(nodes.map(info))
    const primaries = nodes.filter((_, index) => infos[index]?.isPrimary === true)
    expect(primaries.length).toBeLessThan(2)
    return primaries[0] !== undefined && primaries[0]
  }
  const context = () => nodes.map(({ output }) => output).join("\n---\n")
  return until("a node is the primary", look, { limitMs, everyMs: 50, context })
}

test("Two candidates at once become one primary and its replica", async () => {
  await using scope = new Scope()
  const etcd = await Etcd.start(scope)
  const nodes = await Promise.all(
    [0, 1].map(() => scope.node({ lease: etcd.url(), flags: CANDIDATE })),
  )
  const primary = await primaryOf(nodes)
  const replica = nodes.find((each) => each !== primary) as TestNode
  sqlite3(primary, "a.db", "create table t(x); insert into t values(1)")
  await caughtUp(primary, replica, "a.db")
  expect(sqlite3(replica, "a.db", "select x from t")).toBe("1")
}, 60_000)
