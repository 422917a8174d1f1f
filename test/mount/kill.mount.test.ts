/**
 * The short form of the kill matrix: writers and daemons killed at random moments, a database that shrinks. The
 * long one is `scripts/torture`; LITEFS_ALL_FAULTS kills more here. LITEFS_SEED repeats a run as far as timing allows.
 */
import { expect } from "bun:test"
import { test } from "../support/mount-test.ts"
import { inCapture } from "../support/node.ts"
import { rounds, testRandom } from "../support/random.ts"
import { clientKill } from "../torture/client-kill.ts"
import { daemonKill } from "../torture/daemon-kill.ts"
import { someModes, someWays } from "../torture/model.ts"
import type { Result } from "../torture/round.ts"
import { shrink } from "../torture/shrink.ts"

const LIMIT_MS = 90_000
const CLIENT_KILLS = rounds(6, 15)
const DAEMON_KILLS = rounds(2, 3)

const random = testRandom()
const noResult = (): Result => ({ kills: 0, acknowledged: 0, unended: 0 })

test.each([...someWays(random), ["mixed", ""] as const])(
  "clients killed in %s mode lose nothing they were told is committed%s",
  async (mode, how) => {
    const result = noResult()
    await inCapture(how, () => clientKill({ random, mode, kills: CLIENT_KILLS, result }))
    expect(result.acknowledged).toBeGreaterThan(0)
  },
  LIMIT_MS,
)

test.each(someWays(random))(
  "a daemon killed in %s mode loses nothing that it has acknowledged%s",
  async (mode, how) => {
    const result = noResult()
    await inCapture(how, () => daemonKill({ random, mode, kills: DAEMON_KILLS, result }))
    expect(result).toMatchObject({ kills: DAEMON_KILLS, unended: 0 })
  },
  LIMIT_MS,
)

test.each(someModes(random))(
  "a database that grows and shrinks in %s mode is the same on both nodes",
  async (mode) => {
    await shrink({ random, mode, sizeMiB: 4, cycles: 1 })
  },
  LIMIT_MS,
)
