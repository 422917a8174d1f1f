/**
 * Writers killed at random moments of their transactions; the next ones go on where they were.
 *
 * A moment is chosen from when the writer has printed its first number, or soon after its start, so that
 * opening, recovering the WAL and rolling back a hot journal are hit as well.
 */
import type { Random } from "../support/random.ts"
import type { Mode } from "./model.ts"
import { inPair } from "./pair.ts"
import { DATABASE, type Result, Round } from "./round.ts"

const FIRST_WORD_MS_MAX = 30_000

export interface ClientKillOptions {
  readonly random: Random
  readonly mode: Mode
  readonly kills: number
  readonly result: Result
}

export async function clientKill(options: ClientKillOptions): Promise<void> {
  return inPair(`client-${options.mode}`, async (pair) => {
    const { random, mode, kills, result } = options
    const round = new Round(pair, random, mode)
    try {
      await round.setUp()
      const count = mode === "mixed" ? 1 : random.between(1, 3)
      const readsLong = mode !== "mixed" && random.below(2) === 0
      round.mayBeExclusive = count === 1 && !readsLong
      if (readsLong) await round.startReader(pair.primary).heard(/^ready/, FIRST_WORD_MS_MAX)
      await pair.settled(DATABASE)
      if (random.below(2) === 0) round.startReader(pair.replica)

      let left = kills
      const lane = async () => {
        while (left > 0) {
          left -= 1
          const wasKilled = await killOne(round)
          if (wasKilled) result.kills += 1
        }
      }
      const lanes = await Promise.allSettled(Array.from({ length: count }, lane))
      const failed = lanes.find((lane) => lane.status === "rejected")
      if (failed !== undefined) throw failed.reason
      // With a reader that stays, no recovery of the WAL has published what the last writer has left.
      if (readsLong) await round.checkContent(pair.primary)
      round.checkReaders()
      await round.end()
      await round.check()
      result.acknowledged += round.acknowledgedCount
    } finally {
      await round.end()
    }
  })
}

/** False when the writer was done before it could be killed. */
async function killOne(round: Round): Promise<boolean> {
  const { random, mode } = round
  const writer = round.startWriter()
  if (random.below(4) === 0) {
    await Bun.sleep(random.below(40))
  } else {
    await writer.client.heard(/^ack/, FIRST_WORD_MS_MAX)
    await Bun.sleep(random.below(random.pick([1, 5, 20, 80])))
  }
  const wasKilled = await writer.client.kill()
  round.collect(writer)
  const problem = wasKilled ? undefined : writer.problem(mode)
  if (problem !== undefined) throw new Error(problem)
  return wasKilled
}
