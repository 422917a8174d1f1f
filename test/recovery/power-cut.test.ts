/**
 * The short form of the power-cut model; the long one is `scripts/torture --only power`. LITEFS_SEED repeats a
 * run as far as timing allows.
 */
import { expect } from "bun:test"
import { test } from "../support/mount-test.ts"
import { rounds, testRandom } from "../support/random.ts"
import { someModes } from "../torture/model.ts"
import { noPowerCutResult, powerCut } from "../torture/power-cut.ts"

const LIMIT_MS = 120_000
/** Of each workload; in the long form 15. */
const CUTS = rounds(6, 15)
const random = testRandom()

test.each(someModes(random))(
  "a power cut in %s mode loses nothing that was acknowledged",
  async (mode) => {
    const result = noPowerCutResult()
    const synchronous = random.pick(["full", "normal"] as const)
    const maintains = random.below(2) === 0
    const common = { random, mode, synchronous, maintains, transactions: 40, cuts: CUTS, result }
    await powerCut({ ...common, node: "primary" })
    expect(result.cuts).toBe(CUTS)
    expect(result.recoveryCuts).toBeGreaterThan(0)
    expect(result.recoveryFaults).toBeGreaterThan(0)
    expect(result.acknowledged).toBeGreaterThan(0)
  },
  LIMIT_MS,
)

test.each(["full", "normal"] as const)(
  "a power cut behind writers under synchronous=%s leaves a prefix, with all that was synced and all that a replica has",
  async (synchronous) => {
    const result = noPowerCutResult()
    const maintains = random.below(2) === 0
    const common = { random, mode: "wal", synchronous, maintains, result } as const
    const cut = { ...common, transactions: 40, cuts: CUTS, capture: "behind" } as const
    await powerCut({ ...cut, node: "primary" })
    expect(result.cuts).toBe(CUTS)
    expect(result.acknowledged).toBeGreaterThan(0)
  },
  LIMIT_MS,
)

test.each(["delete", "wal"] as const)(
  "a power cut on a replica of a %s database loses nothing that it has shown",
  async (mode) => {
    const result = noPowerCutResult()
    const common = { random, mode, synchronous: "full", maintains: false, result } as const
    await powerCut({ ...common, transactions: 30, cuts: CUTS, node: "replica" })
    expect(result.cuts).toBe(CUTS)
  },
  LIMIT_MS,
)
