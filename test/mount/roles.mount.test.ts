/** The short form of `scripts/torture --only roles`. LITEFS_SEED repeats a run as far as timing allows. */
import { expect } from "bun:test"
import { test } from "../support/mount-test.ts"
import { testRandom } from "../support/random.ts"
import { roles } from "../torture/roles.ts"

const random = testRandom()

test.each(random.someOf(["delete", "wal"] as const))(
  "roles taken by force from nodes that are stopped or cut off, in %s mode, leave what the last primary has",
  async (mode) => {
    const result = { kills: 0, acknowledged: 0, unended: 0 }
    await roles({ random, mode, rounds: 4, result })
    expect(result.kills).toBe(4)
    expect(result.acknowledged).toBeGreaterThan(0)
  },
  90_000,
)
