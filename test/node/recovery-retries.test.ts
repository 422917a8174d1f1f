import { describe, expect, test } from "bun:test"
import { RETRY_MS, RETRY_MS_MAX, RecoveryRetries } from "../../src/node/recovery-retries.ts"
import { Databases } from "../../src/node/storage/databases.ts"
import type { RecoveredDatabase } from "../../src/peer/contract.ts"
import { FakeClock } from "../support/fake-clock.ts"

const FULL = { kind: "refused", problem: "the disk is full", mayPass: true } as const
const DAMAGED = { kind: "refused", problem: "its pages are wrong", mayPass: false } as const
const FOUND = { kind: "found", state: undefined, isBelieved: false } as const

/** Trials of "a.db" and how they end; the last one repeats. */
function retrying(outcomes: readonly RecoveredDatabase[], tookMs = 0) {
  const clock = new FakeClock()
  const databases = new Databases()
  databases.noteRefused("a.db", FULL.problem, true)
  databases.noteRefused("bad.db", DAMAGED.problem, false)
  const triedMs: number[] = []
  const done: string[] = []
  const test = { clock, databases, triedMs, done, canTry: true }
  const retries = new RecoveryRetries({
    ...{ clock, databases },
    canTry: () => test.canTry,
    recover: async (name) => {
      expect(name).toBe("a.db")
      triedMs.push(clock.steadyMs())
      clock.advance(tookMs)
      return outcomes[Math.min(triedMs.length, outcomes.length) - 1] as RecoveredDatabase
    },
    take: async (name) => void done.push(`take ${name}`),
    onRecovered: (name) => done.push(`recovered ${name}`),
  })
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= 1000) {
      clock.advance(1000)
      for (let turn = 0; turn < 10; turn++) await Promise.resolve()
    }
  }
  return { ...test, retries, pass, settle: (canTry: boolean) => (test.canTry = canTry) }
}

describe("RecoveryRetries", () => {
  test("tries a database whose reason may pass, ever more rarely, until it is there", async () => {
    const { databases, triedMs, done, retries, pass } = retrying([
      FULL,
      FULL,
      FULL,
      FULL,
      FULL,
      FOUND,
    ])
    await pass(200_000)
    expect(triedMs).toEqual([5, 15, 35, 75, 135, 195].map((s) => s * 1000))
    expect(done).toEqual(["take a.db", "recovered a.db"])
    expect([...databases.refused.keys()]).toEqual(["bad.db"])
    await pass(RETRY_MS_MAX * 2)
    expect(triedMs).toHaveLength(6)
    await retries.close()
  })

  test("leaves a database alone that turns out to be damaged", async () => {
    const { databases, triedMs, retries, pass } = retrying([DAMAGED])
    expect(databases.refused.get("a.db")).toBe("the disk is full, it is tried again")
    await pass(RETRY_MS_MAX * 4)
    expect(triedMs).toHaveLength(1)
    expect(databases.refused.get("a.db")).toBe("its pages are wrong")
    await retries.close()
  })

  test("waits while the role changes, and does not spend much time on a large database", async () => {
    const { triedMs, retries, pass, settle } = retrying([FULL], 10_000)
    settle(false)
    await pass(RETRY_MS)
    settle(true)
    await pass(400_000)
    expect(triedMs).toEqual([15_000, 225_000])
    await retries.close()
  })
})
