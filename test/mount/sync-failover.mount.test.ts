/**
 * The short form of `scripts/torture --only acks`: failovers by force, in which no acknowledged row is lost.
 * LITEFS_SEED repeats a run as far as timing allows.
 */
import { expect } from "bun:test"
import { test } from "../support/mount-test.ts"
import { rounds, testRandom } from "../support/random.ts"
import { failovers } from "../torture/failovers.ts"
import { noHandoffsResult } from "../torture/handoffs.ts"

const LIMIT_MS = 240_000
/** In each mode; in the long form 6. */
const FAILOVERS = rounds(3, 6)

const random = testRandom()

test.each(["wal", random.pick(["delete", "truncate", "persist"] as const)] as const)(
  "with --sync-replicas 1 failovers in %s mode lose nothing that was acknowledged",
  async (mode) => {
    const result = noHandoffsResult()
    await failovers({ random, mode, failovers: FAILOVERS, result })
    expect(result).toMatchObject({ kills: FAILOVERS })
  },
  LIMIT_MS,
)
