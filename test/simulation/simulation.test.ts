/** The short form of `scripts/simulate`, which is the long one. */
import { describe, expect, test } from "bun:test"
import { systemClock } from "../../src/lib/clock.ts"
import { CANARIES, type Canary } from "./canaries.ts"
import { withoutTheWorld } from "./guard.ts"
import { type Outcome, simulate } from "./simulation.ts"

const LIMIT_MS = 300_000
/** Of the seeds from 1 on; more with LITEFS_SIMULATIONS. */
const SEED_COUNT = Number(process.env.LITEFS_SIMULATIONS ?? 30)
const CANARY_SEED_COUNT = 60

function failureText({ seed, config, violations }: Outcome): string {
  return `scripts/simulate --seed ${seed} --trace (${config}): ${violations.join("; ")}`
}

describe("simulated clusters", () => {
  test(
    `seeds 1 to ${SEED_COUNT} lose nothing, have one writer at a time, and are well in the end`,
    () => {
      const sum = { faults: 0, epochs: 0, answered: 0, borrowed: 0 }
      for (let seed = 1; seed <= SEED_COUNT; seed++) {
        const outcome = simulate({ seed })
        expect(outcome.violations.length === 0 ? "" : failureText(outcome)).toBe("")
        for (const name of ["faults", "epochs", "answered", "borrowed"] as const) {
          sum[name] += outcome[name]
        }
      }
      // Clusters in which nothing happens would lose nothing, too.
      expect(sum.faults).toBeGreaterThan(SEED_COUNT)
      expect(sum.epochs).toBeGreaterThan(SEED_COUNT)
      expect(sum.answered).toBeGreaterThan(SEED_COUNT * 10)
      expect(sum.borrowed).toBeGreaterThan(SEED_COUNT)
    },
    LIMIT_MS,
  )

  /** What each has found was mended. A seed is another run when what it goes through has changed. */
  test.each([
    [21111, "a borrowed commit is answered only for the history of the primary that has taken it"],
    [
      17503,
      "a commit counts when it is durable, not when the process goes on that was stopped then",
    ],
    [23366, "what a node lacks that somebody forces into the role may be lost"],
  ])(
    "seed %d: %s",
    (seed) => {
      const outcome = simulate({ seed })
      expect(outcome.violations.length === 0 ? "" : failureText(outcome)).toBe("")
    },
    LIMIT_MS,
  )

  test(
    "a seed is the same run each time",
    () => {
      const [first, second] = [0, 1].map(() => {
        const lines: string[] = []
        const outcome = simulate({ seed: 2, trace: (line) => lines.push(line) })
        return { outcome, lines }
      })
      expect(first?.lines.length).toBeGreaterThan(50)
      expect(second).toEqual(first as NonNullable<typeof first>)
    },
    LIMIT_MS,
  )

  test.each(Object.entries(CANARIES) as [Canary, string][])(
    "find %s: %s",
    (canary) => {
      let found: Outcome | undefined
      for (let seed = 1; seed <= CANARY_SEED_COUNT && found === undefined; seed++) {
        const outcome = simulate({ seed, canary })
        if (outcome.violations.length > 0) found = outcome
      }
      expect(found).toBeDefined()
    },
    LIMIT_MS,
  )
})

describe("withoutTheWorld()", () => {
  test("withoutTheWorld() throws for a look at a real clock, also when that was caught", () => {
    const work = () => {
      try {
        systemClock.monotonicMs()
      } catch {
        // As a promise would have it that nobody looks at.
      }
    }
    expect(() => withoutTheWorld(work)).toThrow("Cannot simulate: now() was called")
    expect(systemClock.wallMs()).toBeGreaterThan(0)
  })
})
