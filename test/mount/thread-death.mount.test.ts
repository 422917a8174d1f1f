/** A thread of a node that ends, and a disk without room for LTX files while the role changes: nothing hangs. */
import { describe, expect, test } from "bun:test"
import { existsSync, mkdirSync, mkdtempSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { caughtUp, expectSame, sqlite3 } from "../support/client.ts"
import { canMount, mountsBelow, Scope, type TestNode } from "../support/node.ts"
import { becomes } from "../support/node-api.ts"
import { CallFaults } from "../torture/call-faults.ts"
import { within } from "../torture/client.ts"
import { onlyPrimary, promote } from "../torture/handoffs.ts"

const END_MS_MAX = 20_000

/** A client that is always in the middle of something. */
const COMMAND = `
  import Database from "better-sqlite3"
  const db = new Database(process.argv[1])
  db.exec("create table if not exists t(x)")
  console.log("writing " + process.pid)
  for (;;) try { db.exec("insert into t values(randomblob(3000))") } catch { await new Promise((done) => setTimeout(done, 10)) }
`

describe.skipIf(!canMount)("a thread that ends", () => {
  test.each([
    ["fs, in a commit", "2/log:write#1=end"],
    ["fs, in the LTX file after it", "2/ltx:write#1=end"],
    ["fs, at a lookup", "2/database:stat#1=end"],
    ["peer, at an upkeep", "1/log:syncfs#1=end,1/database:fsync#1=end,1/ltx:list#1=end"],
  ])(
    "ends the node and its command: %s",
    async (_, plan) => {
      await using scope = new Scope()
      const faults = new CallFaults(join(scope.directory, "calls"))
      const directory = mkdtempSync(join(scope.directory, "node-"))
      mkdirSync(join(directory, "mnt"))
      const node = await scope.node({
        directory,
        env: faults.env,
        flags: ["--retention-interval", "100ms"],
        command: ["node", "--input-type=module", "-e", COMMAND, "--", join(directory, "mnt/a.db")],
      })
      const pid = Number(/writing (\d+)/.exec(await node.logged(/writing \d+/))?.[1])
      faults.set(plan)
      expect(await within(END_MS_MAX, node.exited)).toBe(true)
      expect((await node.exited).code).toBe(1)
      expect(stateOf(pid)).toBeUndefined()
      expect(mountsBelow(node.directory)).toEqual([])
    },
    60_000,
  )
})

describe.skipIf(!canMount)("a thread that ends while the node stops", () => {
  test.each([
    ["primary", "2/shm:unlink#1=end"],
    ["primary", "2/synced:rename#1=end"],
    ["replica", "1/synced:rename#1=end"],
  ] as const)(
    "makes a %s end with 1, which says so: %s",
    async (side, plan) => {
      await using scope = new Scope()
      const faults = new CallFaults(join(scope.directory, "calls"))
      const { env } = faults
      const primary = await scope.node(side === "primary" ? { env } : {})
      const replica = await scope.node({ follows: primary, ...(side === "replica" ? { env } : {}) })
      sqlite3(primary, "a.db", "create table t(x); insert into t values(1)")
      await caughtUp(primary, replica, "a.db")
      const node = side === "primary" ? primary : replica
      faults.set(plan)
      const { code } = await node.stop()
      expect(faults.hitCount).toBe(1)
      expect(code).toBe(1)
      expect(node.output).toMatch(/^ERROR: Cannot go on.*thread has ended/m)
      expect(node.output).not.toMatch(/the mount has failed/) // it is gone, and its number may be another's
      expect(mountsBelow(node.directory)).toEqual([])
      faults.set("")
      const again = await scope.again(node, side === "replica" ? { follows: primary } : {})
      expect(sqlite3(again, "a.db", "select x from t")).toBe("1")
    },
    60_000,
  )
})

/** D when it hangs in the kernel; undefined when it is gone. */
function stateOf(pid: number): string | undefined {
  const path = `/proc/${pid}/stat`
  return existsSync(path) ? /\) (\w)/.exec(readFileSync(path, "utf8"))?.[1] : undefined
}

describe.skipIf(!canMount)("a primary without room for LTX files", () => {
  test("hands its role over", async () => {
    await using scope = new Scope()
    const { faults, primary, replica } = await fullPrimary(scope)
    await promote(replica)
    await expectSteppedDown(primary)
    sqlite3(replica, "a.db", "insert into t values('after')")
    faults.set("")
    await caughtUp(replica, primary, "a.db")
    await expectSame(replica, primary, "a.db")
    const rows = sqlite3(replica, "a.db", "select group_concat(x) from t")
    expect(rows).toBe("before,full,after")
    await promote(primary)
    expect(await onlyPrimary([primary, replica])).toBe(primary)
    sqlite3(primary, "a.db", "insert into t values('back')")
    await expectSame(primary, replica, "a.db")
  }, 60_000)

  test("steps down when another node is forced", async () => {
    await using scope = new Scope()
    const { faults, primary, replica } = await fullPrimary(scope)
    await promote(replica, "?force=true")
    await expectSteppedDown(primary)
    sqlite3(replica, "a.db", "insert into t values('after')")
    faults.set("")
    await caughtUp(replica, primary, "a.db")
    await expectSame(replica, primary, "a.db")
    expect(primary.isRunning).toBe(true)
  }, 60_000)
})

async function fullPrimary(scope: Scope) {
  const faults = new CallFaults(join(scope.directory, "calls"))
  const primary = await scope.node({ env: faults.env, flags: ["--candidate"] })
  const replica = await scope.node({ follows: primary, flags: ["--candidate"] })
  sqlite3(primary, "a.db", "create table t(x); insert into t values('before')")
  await caughtUp(primary, replica, "a.db")
  faults.set("ltx:*#1+=ENOSPC")
  sqlite3(primary, "a.db", "insert into t values('full')")
  await caughtUp(primary, replica, "a.db") // it is sent out of memory
  return { faults, primary, replica }
}

async function expectSteppedDown(node: TestNode): Promise<void> {
  await node.logged(/handed the role of primary over|another node has become the primary/)
  await becomes(node, "replica")
  expect(sqlite3(node, "a.db", "select count(*) from t")).toBe("2") // it answers
}
