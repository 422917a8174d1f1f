/** The short form of the handoff torture, and what single handoffs and promotions have to show. */
import { expect, test } from "bun:test"
import { canMount } from "../support/node.ts"
import { testRandom } from "../support/random.ts"
import { handoffs, noHandoffsResult } from "../torture/handoffs.ts"

const random = testRandom()

test.skipIf(!canMount).each(["wal", "delete"] as const)(
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
