/** A write lock whose time is over: the replica that has borrowed it is dead, or was stopped. */
import { expect, test } from "bun:test"
import { expectSame, failureOf, run } from "../support/client.ts"
import { canMount } from "../support/node.ts"
import { pair } from "../support/pair.ts"
import { holder, ONE_ROW, shell, values } from "../support/write-lock.ts"

test.skipIf(!canMount)(
  "a node that dies with the lock keeps the primary's writers waiting until the lock's time is over",
  async () => {
    await using scope = await pair({ mode: "wal", sql: ONE_ROW })
    const { primary, replica } = scope
    await holder(scope, replica)
    run(shell(replica, "insert into t values(2)"))
    await replica.stop("SIGKILL")
    run(shell(primary, "insert into t values(3)"))
    await primary.logged(/a borrowed write lock was not renewed, took it back/)
    const again = await scope.again(replica, { follows: primary })
    await expectSame(primary, again, "a.db")
    expect(values(again)).toBe("1,2,3")
  },
  60_000,
)

test.skipIf(!canMount)(
  "a node that has lost the lock without knowing it commits nothing, and follows the primary again",
  async () => {
    await using scope = await pair({ mode: "wal", sql: ONE_ROW })
    const { primary, replica } = scope
    await holder(scope, replica)
    run(shell(replica, "insert into t values(2)"))
    replica.signal("SIGSTOP")
    run(shell(primary, "insert into t values(3)"))
    replica.signal("SIGCONT")
    failureOf(shell(replica, "insert into t values(0)"))
    await replica.logged(/lost a borrowed write lock/)
    await expectSame(primary, replica, "a.db")
    expect(values(replica)).toBe("1,2,3")
  },
  60_000,
)
