/** A write lock that a replica has borrowed, and the primary is gone. */
import { expect } from "bun:test"
import { expectSame, run } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { test } from "../support/mount-test.ts"
import { pair } from "../support/pair.ts"
import { testRandom } from "../support/random.ts"
import { holder, locked, ONE_ROW, shell, values } from "../support/write-lock.ts"

const random = testRandom()

test.each(random.someOf(["wal", "delete"] as const))(
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
    run(shell(again, "insert into t values(5)"))
    await expectSame(again, replica, "a.db")
    expect(values(replica)).toMatch(/^1,2,(3,)?5$/)
    run(locked(replica, ...shell(replica, "insert into t values(6)")))
    await expectSame(again, replica, "a.db")
  },
  90_000,
)
