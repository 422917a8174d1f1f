/** A write lock that a replica has borrowed, and one of the two nodes that is gone or has another role. */
import { describe, expect, test } from "bun:test"
import { expectSame, output, run, sqlite3, start } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { canMount, type TestNode } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { holder, locked, ONE_ROW, shell, values } from "../support/write-lock.ts"
import { promote } from "../torture/handoffs.ts"

/** Waits without keeping the other tests from going on. */
async function write(node: TestNode, x: number): Promise<void> {
  await output(start(shell(node, `insert into t values(${x})`)))
}

// At once, since each waits until the time of a lock is over.
describe.skipIf(!canMount).concurrent("a borrowed write lock", () => {
  test("a node that dies with the lock keeps the primary's writers waiting until the lock's time is over", async () => {
    await using scope = await pair({ mode: "wal", sql: ONE_ROW })
    const { primary, replica } = scope
    await holder(scope, replica)
    run(shell(replica, "insert into t values(2)"))
    await replica.stop("SIGKILL")
    await write(primary, 3)
    await primary.logged(/a borrowed write lock was not renewed, took it back/)
    const again = await scope.again(replica, { follows: primary })
    await expectSame(primary, again, "a.db")
    expect(values(again)).toBe("1,2,3")
  }, 60_000)

  test.each(["wal", "delete"] as const)(
    "%s mode: commits under the lock fail when the primary is gone, and what was acknowledged is there when it is back",
    async (mode) => {
      await using scope = await pair({ mode, sql: ONE_ROW })
      const { primary, replica } = scope
      const held = await holder(scope, replica)
      const client = new LongClient(scope, replica, "a.db")
      await client.exec("insert into t values(2)")
      await primary.stop("SIGKILL")
      await expect(client.exec("insert into t values(3)")).rejects.toThrow()
      expect(await client.rows("select x from t")).toEqual([[1], [2]])
      await expect(client.exec("insert into t values(4)")).rejects.toThrow()
      await client.close()
      held.kill("SIGKILL")
      const again = await scope.again(primary)
      sqlite3(again, "a.db", "insert into t values(5)")
      await expectSame(again, replica, "a.db")
      expect(values(replica)).toMatch(/^1,2,(3,)?5$/)
      run(locked(replica, ...shell(replica, "insert into t values(6)")))
      await expectSame(again, replica, "a.db")
    },
    90_000,
  )

  test("a node that has lost the lock without knowing it commits nothing, and follows the primary again", async () => {
    await using scope = await pair({ mode: "wal", sql: ONE_ROW })
    const { primary, replica } = scope
    await holder(scope, replica)
    run(shell(replica, "insert into t values(2)"))
    replica.signal("SIGSTOP")
    await write(primary, 3)
    replica.signal("SIGCONT")
    await expect(write(replica, 0)).rejects.toThrow()
    await replica.logged(/lost a borrowed write lock/)
    await expectSame(primary, replica, "a.db")
    expect(values(replica)).toBe("1,2,3")
  }, 60_000)

  test("the role moves when no node has the lock; a forced promotion ends it, and its holder writes nothing more", async () => {
    await using scope = await pair({
      mode: "wal",
      sql: ONE_ROW,
      replica: { flags: ["--candidate"] },
    })
    const { primary, replica } = scope
    const held = await holder(scope, replica)
    await write(replica, 2)
    await expect(promote(replica)).rejects.toThrow(/has borrowed its write lock/)
    sqlite3(primary, "a.db", "select 1")
    await write(replica, 3)
    held.kill("SIGKILL")
    await write(primary, 4)
    await promote(replica)
    await primary.logged(/this node is a replica/)
    run(locked(primary, ...shell(primary, "insert into t values(5)")))
    await expectSame(replica, primary, "a.db")
    await holder(scope, primary)
    await write(primary, 6)
    await promote(primary, "?force=true")
    await replica.logged(/this node is a replica/)
    await write(primary, 7)
    await expectSame(primary, replica, "a.db")
    expect(values(replica)).toBe("1,2,3,4,5,6,7")
  }, 60_000)
})
