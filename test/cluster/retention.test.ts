import { describe, expect, test } from "bun:test"
import { RetentionMonitor } from "../../src/cluster/retention.ts"
import { IdleClock } from "../support/idle-clock.ts"

const OPTIONS = { ageMs: 1, intervalMs: 1000, sizeMax: 1 }

describe("RetentionMonitor", () => {
  test("RetentionMonitor looks after one database after the other, in every interval", async () => {
    const clock = new IdleClock()
    const calls: string[] = []
    let running = 0
    const monitor = new RetentionMonitor(OPTIONS, {
      clock,
      databases: () => ["a.db", "b.db"],
      neededTxid: (database) => (database === "a.db" ? 7n : undefined),
      async maintain(database, neededTxid) {
        expect(running++).toBe(0)
        await Promise.resolve()
        running -= 1
        calls.push(`${database} ${neededTxid}`)
        return 1
      },
    })
    await clock.waiting()
    clock.advance(999)
    expect(calls).toEqual([])
    for (let round = 1; round <= 2; round++) {
      clock.advance(1000)
      await clock.waiting()
      expect(calls.length).toBe(2 * round)
    }
    expect(calls).toEqual(["a.db 7", "b.db undefined", "a.db 7", "b.db undefined"])
    await monitor.close()
    expect(clock.timerCount).toBe(0)
  })

  test("RetentionMonitor.close() waits for the database at hand, and does no other", async () => {
    const clock = new IdleClock()
    const calls: string[] = []
    const [began, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const monitor = new RetentionMonitor(OPTIONS, {
      clock,
      databases: () => ["a.db", "b.db"],
      neededTxid: () => undefined,
      async maintain(database) {
        began.resolve()
        await goOn.promise
        calls.push(database)
        return 0
      },
    })
    await clock.waiting()
    clock.advance(1000)
    await began.promise
    const closed = monitor.close()
    goOn.resolve()
    await closed
    expect(calls).toEqual(["a.db"])
  })
})
