/**
 * One side is killed at a system call in the middle of a handoff, at those that decide something, half of them by chance
 * (all with LITEFS_ALL_FAULTS), and started again. Whatever it was, no acknowledged row is lost, and at most one node takes writes.
 */
import { expect } from "bun:test"
import { join } from "node:path"
import { caughtUp, expectSame, sqlite3, sqlite3Command, start } from "../support/client.ts"
import { test } from "../support/mount-test.ts"
import { Scope } from "../support/node.ts"
import { rounds, testRandom } from "../support/random.ts"
import { CallFaults } from "../torture/call-faults.ts"
import { handoffKills, noHandoffsResult, onlyPrimary } from "../torture/handoffs.ts"

const random = testRandom()

/** On the primary: before the record is made, while it is, after it. On the target: before and after it is kept. */
const KILLS = [
  ["primary", "log:syncfs#1"],
  ["primary", "lease:open#1"],
  ["primary", "lease:write#1"],
  ["primary", "lease:fsync#1"],
  ["primary", "lease:rename#1"],
  ["primary", "lease:sync-dir#1"],
  ["primary", "log:clear#1"],
  ["primary", "log:clear-fsync#1"],
  ["target", "lease:open#1"],
  ["target", "lease:fsync#1"],
  ["target", "lease:rename#1"],
  ["target", "lease:sync-dir#1"],
  ["target", "log:clear#1"],
  ["target", "log:clear-fsync#1"],
] as const

test.each(random.halfOf(KILLS))(
  "a handoff whose %s is killed at %s loses nothing and leaves one primary",
  async (side, call) => {
    await using scope = new Scope()
    const faults = new CallFaults(join(scope.directory, "calls"))
    const { env } = faults
    const first = await scope.node({
      flags: ["--candidate"],
      ...(side === "primary" ? { env } : {}),
    })
    const second = await scope.node({
      follows: first,
      flags: ["--candidate"],
      ...(side === "target" ? { env } : {}),
    })
    sqlite3(first, "a.db", "pragma journal_mode = wal; create table t(x); insert into t values(1)")
    await caughtUp(first, second, "a.db")
    faults.set(`${call}=kill`)
    const killed = side === "primary" ? first : second
    const other = side === "primary" ? second : first
    // Its answer takes long when the primary is killed: what becomes of the role does not wait for that.
    const asked = new AbortController()
    scope.defer(() => asked.abort())
    fetch(`${second.url}/promote`, { method: "POST", signal: asked.signal }).catch(() => {})
    // Acknowledged while it goes on, or refused; where the answer is lost, either.
    const racing = start(sqlite3Command(first, "a.db"), { input: "insert into t values(2);" })
    await killed.exited
    faults.set("")
    const raced = await racing.ended

    const back = await scope.again(killed, {
      flags: ["--candidate"],
      ...(side === "target" ? { follows: first } : {}),
    })
    const [a, b] = side === "primary" ? [back, other] : [other, back]
    const primary = await onlyPrimary([a, b])
    const replica = primary === a ? b : a
    sqlite3(primary, "a.db", "insert into t values(3)")
    await expectSame(primary, replica, "a.db")
    const found = sqlite3(primary, "a.db", "select group_concat(x) from t")
    expect(raced.code === 0 ? ["1,2,3"] : ["1,3", "1,2,3"]).toContain(found)
  },
  60_000,
)

test("handoffs in which a node is killed at any moment lose no acknowledged row", async () => {
  const result = noHandoffsResult()
  const mode = random.pick(["wal", "delete"] as const)
  const handoffs = rounds(2, 4)
  await handoffKills({ random, mode, handoffs, result })
  expect(result.acknowledged).toBeGreaterThan(handoffs)
}, 120_000)
