/** The short form of the handoff torture, and what single handoffs and promotions have to show. */
import { expect } from "bun:test"
import { closeSync, openSync } from "node:fs"
import { join } from "node:path"
import { caughtUp, run, sqlite3 } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { PROGRAM, Scope } from "../support/node.ts"
import { testRandom } from "../support/random.ts"
import { CallFaults } from "../torture/call-faults.ts"
import { handoffs, noHandoffsResult } from "../torture/handoffs.ts"

const random = testRandom()

test.each(random.someOf(["wal", "delete"] as const))(
  "%p mode: handoffs back and forth under writers lose no row and double none, and both nodes are the same",
  async (mode) => {
    const result = noHandoffsResult()
    await handoffs({ random, mode, handoffs: 25, result })
    const gapsMs = result.gapsMs.toSorted((a, b) => a - b)
    console.log(`${mode}: no commit for ${gapsMs[12]} ms (median), ${gapsMs.at(-1)} ms (worst)`)
    expect(result.acknowledged).toBeGreaterThan(25)
  },
  120_000,
)

test("A node that cannot make the files of a database after it has handed over goes on, and makes them when it can", async () => {
  await using scope = new Scope()
  const faults = new CallFaults(join(scope.directory, "calls"))
  const primary = await scope.node({ env: faults.env })
  const replica = await scope.node({ follows: primary, flags: ["--candidate"] })
  // Its directories are looked for again, for as long as it has no transaction.
  const held = openSync(join(primary.mount, "a.db"), "w")
  scope.defer(() => closeSync(held))
  faults.set("1/data:mkdir#1+=EIO")
  run([...PROGRAM, "promote", "--url", replica.url])
  await primary.logged(/this node is a replica/)
  sqlite3(replica, "a.db", "create table t(x); insert into t values('after')")
  await primary.logged(/cannot take what the primary sends.*\(EIO\)/)
  faults.set("")
  await caughtUp(replica, primary, "a.db")
  expect(sqlite3(primary, "a.db", "select x from t")).toBe("after")
}, 60_000)
