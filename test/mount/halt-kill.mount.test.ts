/**
 * A node is killed at a system call in the middle of a transaction that is made on a replica, at those that decide
 * something, half of them by chance (all with LITEFS_ALL_FAULTS), and started again; and nodes, writers and links at any moment. No acknowledged row is lost, all
 * nodes have the same, and each of them can be written to.
 */
import { expect } from "bun:test"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { parseLtxFileName } from "../../src/ltx/file-name.ts"
import { caughtUp, expectSame, output, sqlite3, start } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { Scope } from "../support/node.ts"
import { rounds, testRandom } from "../support/random.ts"
import { CallFaults } from "../torture/call-faults.ts"
import { halt } from "../torture/halt.ts"

const random = testRandom()

/** On the replica: before the primary is asked, when it has agreed. On the primary: before and after it is durable. */
const KILLS = [
  ["replica", "wal:write#1"],
  ["replica", "ltx:open#1"],
  ["replica", "ltx:write#1"],
  ["replica", "ltx:fsync#1"],
  ["primary", "ltx:write#1"],
  ["primary", "ltx:fsync#1"],
  ["primary", "mount:write#1"],
  ["primary", "mount:write#2"],
] as const

// At once, since each waits for a lock that a dead node has left.
test("a transaction on a replica in which a node is killed is there everywhere or nowhere", async () => {
  await Promise.all(random.halfOf(KILLS).map(([side, call]) => kill(side, call)))
}, 120_000)

async function kill(side: "primary" | "replica", call: string): Promise<void> {
  await using scope = new Scope()
  const faults = new CallFaults(join(scope.directory, "calls"))
  const { env } = faults
  const primary = await scope.node({ ...(side === "primary" ? { env } : {}) })
  const replica = await scope.node({ follows: primary, ...(side === "replica" ? { env } : {}) })
  const sql = "pragma journal_mode = wal; create table t(x); insert into t values(1)"
  sqlite3(primary, "a.db", sql)
  await caughtUp(primary, replica, "a.db")
  const insert = (x: number) => [
    ...["flock", "-w", "15", `${replica.mount}/a.db-lock`],
    ...["sqlite3", "-bail", `${replica.mount}/a.db`, `insert into t values(${x})`],
  ]
  await output(start(insert(2)))
  faults.set(`${call}=kill`)
  const racing = start(insert(3))
  const killed = side === "primary" ? primary : replica
  await killed.exited
  faults.set("")
  const raced = await racing.ended
  const back = await scope.again(killed, { ...(side === "replica" ? { follows: primary } : {}) })
  const ltx = readdirSync(join(back.data, "dbs/a.db/ltx"))
  expect(ltx.filter((name) => parseLtxFileName(name) === undefined)).toEqual([])
  const [now, then] = side === "primary" ? [back, replica] : [primary, back]
  sqlite3(now, "a.db", "insert into t values(4)")
  await caughtUp(now, then, "a.db")
  await output(start(insert(5)))
  await expectSame(now, then, "a.db")
  const found = sqlite3(then, "a.db", "select group_concat(x) from t")
  const allowed = raced.code === 0 ? ["1,2,3,4,5"] : ["1,2,3,4,5", "1,2,4,5"]
  expect(allowed, `${side} killed at ${call}`).toContain(found)
}

test("three nodes that are written to at once, behind bad links and killed at any moment, lose and repeat nothing", async () => {
  const result = { kills: 0, acknowledged: 0, unended: 0 }
  const mode = random.pick(["wal", "delete"] as const)
  // In the long form 5 and 60; more: scripts/torture --only halt.
  const [faults, transactions] = [rounds(3, 5), rounds(30, 60)]
  await halt({ random, mode, faults, transactions, mayBeLong: false, result })
  expect(result.acknowledged).toBeGreaterThanOrEqual(transactions)
}, 120_000)
