/** What a node has open does not grow with what it does. */
import { describe, expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { caughtUp, expectSame, run, sqlite3 } from "../support/client.ts"
import { canMount, Scope, type TestNode } from "../support/node.ts"
import { usageOf } from "../support/process-usage.ts"
import { rounds, testRandom } from "../support/random.ts"
import { until } from "../support/until.ts"
import { onlyPrimary, promote } from "../torture/handoffs.ts"
import { MODES } from "../torture/model.ts"
import { DURATIONS, noSweepResult } from "../torture/sweep.ts"
import { measure, type OperationUsage } from "../torture/upkeep-faults.ts"
import { OPERATIONS } from "../torture/upkeep-operations.ts"

/** A handoff may leak one file, on one side only. What is done to each database leaks one of each. */
const TIMES = 4
const random = testRandom()
const TIMES_EACH = rounds(2, TIMES)
const IMPORTS = 40
/** A hundred milliseconds each. */
const SETTLED_LOOKS = 10
const SETTLED_MS_MAX = 10_000
const QUICK = ["import", "import-new", "export", "reap", "catch-up", "handoff", "borrow", "restart"]
const DATABASES = MODES.map((mode) => `${mode}.db`)

describe.skipIf(!canMount)("descriptors", () => {
  test("do not grow with handoffs", async () => {
    await using scope = new Scope()
    const nodes = await pairOf(scope)
    await expectNoGrowth(nodes, TIMES, async () => {
      for (let count = 0; count < 2; count++) {
        await promote(nodes[1] as TestNode)
        await onlyPrimary(nodes)
        nodes.reverse()
        for (const database of DATABASES) add(nodes[0] as TestNode, database)
      }
    })
    for (const database of DATABASES) await expectSame(...nodes, database)
  }, 120_000)

  test("do not grow with borrowed write locks", async () => {
    await using scope = new Scope()
    const nodes = await pairOf(scope)
    const [, replica] = nodes
    await expectNoGrowth(nodes, TIMES_EACH, async () => {
      for (const database of DATABASES) {
        const path = join(replica.mount, database)
        const client = ["sqlite3", "-bail", "-cmd", ".timeout 5000", path]
        run(["flock", `${path}-lock`, ...client, "insert into t values('borrowed')"])
      }
    })
    for (const database of DATABASES) await expectSame(...nodes, database)
  }, 120_000)

  test("do not grow with imports, exports and databases that come and go", async () => {
    await using scope = new Scope()
    const nodes = await pairOf(scope)
    const [primary, replica] = nodes
    await expectNoGrowth(nodes, TIMES_EACH, async () => {
      for (const database of DATABASES) {
        const exported = await fetch(`${replica.url}/export?name=${database}`)
        expect(exported.status).toBe(200)
        const body = await exported.arrayBuffer()
        const imported = await fetch(`${primary.url}/import?name=${database}`, {
          ...{ method: "POST", body },
        })
        expect(imported.status).toBe(200)
        await caughtUp(primary, replica, database)
        sqlite3(primary, `new-${database}`, "create table t(x)")
        await caughtUp(primary, replica, `new-${database}`)
        sqlite3(replica, `new-${database}`, "select * from t")
        run(["rm", join(primary.mount, `new-${database}`)])
        await caughtUp(primary, replica, `new-${database}`)
      }
    })
    for (const database of DATABASES) await expectSame(...nodes, database)
  }, 120_000)
})

test.skipIf(!canMount)(
  "imports leave no memory mapped",
  async () => {
    await using scope = new Scope()
    const primary = await scope.node()
    sqlite3(primary, "a.db", "create table t(x); insert into t values(zeroblob(100000))")
    const body = await (await fetch(`${primary.url}/export?name=a.db`)).arrayBuffer()
    const importAll = async (count: number) => {
      for (let done = 0; done < count; done++) {
        const { status } = await fetch(`${primary.url}/import?name=a.db`, { method: "POST", body })
        expect(status).toBe(200)
      }
    }
    await importAll(3)
    const before = mappedSize(primary)
    await importAll(IMPORTS)
    expect(mappedSize(primary) - before).toBeLessThan((IMPORTS / 2) * 1024 * 1024)
  },
  120_000,
)

// Half of them, by chance; all with LITEFS_ALL_FAULTS.
const some = random.halfOf(OPERATIONS.filter(({ name }) => QUICK.includes(name)))

test.skipIf(!canMount).each(some)(
  "nothing is left open by what upkeep sweeps: $name",
  async (operation) => {
    const failures: string[] = []
    const rows: OperationUsage[] = []
    const how = { random, mode: random.pick(MODES), at: "primary", durations: DURATIONS } as const
    const options = {
      ...{ ...how, sample: 1, limitMs: 1, scratch: tmpdir(), result: noSweepResult() },
      onFailure: (text: string) => void failures.push(text),
    }
    await measure(options, operation, (usage) => rows.push(usage))
    expect(failures).toEqual([])
    expect(rows.map(({ node }) => node)).toEqual(["primary", "replica"])
  },
  120_000,
)

async function pairOf(scope: Scope): Promise<[TestNode, TestNode]> {
  const primary = await scope.node({ flags: ["--candidate"] })
  const replica = await scope.node({ follows: primary, flags: ["--candidate"] })
  for (const mode of MODES) {
    sqlite3(primary, `${mode}.db`, `pragma journal_mode = ${mode}; create table t(x)`)
    await caughtUp(primary, replica, `${mode}.db`)
  }
  return [primary, replica]
}

function add(node: TestNode, database: string): void {
  sqlite3(node, database, "insert into t values('here')")
}

/** The first time is not counted: what is needed then stays open. */
async function expectNoGrowth(
  nodes: TestNode[],
  times: number,
  act: () => Promise<void>,
): Promise<void> {
  await act()
  const before = new Map<TestNode, number>()
  for (const node of nodes) before.set(node, await settledCount(node))
  for (let time = 0; time < times; time++) await act()
  for (const node of nodes) await untilNoMore(node, (before.get(node) ?? 0) + DATABASES.length)
}

/** Once it stays the same: while a lock goes back, its files are closed by one thread and not yet opened by the other. */
async function settledCount(node: TestNode): Promise<number> {
  let [count, looks] = [ownFiles(node).length, 0]
  await until(
    "the open files of a node stay the same",
    () => {
      const now = ownFiles(node).length
      looks = now === count ? looks + 1 : 0
      count = now
      return looks >= SETTLED_LOOKS
    },
    { everyMs: 100 },
  )
  return count
}

/** What is given back is closed a moment later. What leaks stays. */
async function untilNoMore(node: TestNode, limit: number): Promise<void> {
  for (let waitedMs = 0; ; waitedMs += 100) {
    const files = ownFiles(node)
    // A journal or a WAL is there, or is not: that adds up to nothing.
    if (files.length < limit && deletedOf(files).length === 0) return
    if (waitedMs >= SETTLED_MS_MAX) {
      expect(files.length).toBeLessThan(limit)
      expect(deletedOf(files)).toEqual([])
    }
    await Bun.sleep(100)
  }
}

function ownFiles({ pid, data, mount }: TestNode): string[] {
  return usageOf(pid).files.filter((file) => [data, mount].some((of) => file.startsWith(of)))
}

/** Their names are gone, but not their room on the disk. */
function deletedOf(files: readonly string[]): string[] {
  return files.filter((file) => /\(deleted\)$/.test(file))
}

/** Bytes that are of no file. */
function mappedSize({ pid }: TestNode): number {
  return Number(/^VmData:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024
}
