/**
 * The daemon killed while writers run, then started on the same data and mount. Writers get errors and are
 * replaced; what they were told before must be there.
 */
import type { TestNode } from "../support/node.ts"
import type { Random } from "../support/random.ts"
import { stacksOf, usesMount, within } from "./client.ts"
import type { Mode } from "./model.ts"
import { inPair } from "./pair.ts"
import { DATABASE, type Result, Round, type Writer } from "./round.ts"

const FIRST_WORD_MS_MAX = 30_000

/** A client of a dead daemon hears of it at its next system call. */
const ERROR_MS_MAX = 3000

export interface DaemonKillOptions {
  readonly random: Random
  readonly mode: Mode
  readonly kills: number
  readonly result: Result
}

export async function daemonKill(options: DaemonKillOptions): Promise<void> {
  return inPair(`daemon-${options.mode}`, async (pair) => {
    const { random, mode, kills, result } = options
    const round = new Round(pair, random, mode)
    try {
      await round.setUp()
      await pair.settled(DATABASE)
      for (let kill = 0; kill < kills; kill++) {
        await killOnce(round, result)
        result.kills += 1
      }
      await round.check()
      result.acknowledged += round.acknowledgedCount
    } finally {
      await round.end()
    }
  })
}

async function killOnce(round: Round, result: Result): Promise<void> {
  const { pair, random, mode } = round
  const count = mode === "mixed" ? 1 : random.between(1, 3)
  const writers: Writer[] = []
  for (let index = 0; index < count; index++) writers.push(round.startWriter())
  const reader =
    mode !== "mixed" && random.below(3) === 0 ? round.startReader(pair.primary) : undefined
  await writers[0]?.client.heard(/^ack/, FIRST_WORD_MS_MAX)
  await Bun.sleep(random.below(random.pick([5, 50, 200])))
  const killsReplica = random.below(3) === 0
  const replicaFirst = random.below(2) === 0
  if (killsReplica && replicaFirst) await pair.kill(pair.replica)
  await pair.kill(pair.primary)
  if (killsReplica && !replicaFirst) await pair.kill(pair.replica)

  // Half of the time the old clients are still there when the daemon comes back.
  const waitsForErrors = random.below(2) === 0
  if (waitsForErrors) await endWriters(round, writers, result)
  pair.restartPrimary()
  if (killsReplica) pair.restartReplica()
  await pair.ready()
  if (!waitsForErrors) await endWriters(round, writers, result, pair.primary)
  await reader?.kill()
  round.forget(reader) // it has had errors
  await round.checkContent(pair.primary)
}

/** A writer that was slow to start may be a client of `successor`: that one has nothing to hear of. */
export async function endWriters(
  round: Round,
  writers: readonly Writer[],
  result: Result,
  successor?: TestNode,
): Promise<void> {
  const isCurrent = ({ client }: Writer) =>
    successor !== undefined && usesMount(client.pid, successor.mount)
  for (const writer of writers) {
    const { client } = writer
    if (isCurrent(writer) || (await within(ERROR_MS_MAX, client.exited))) continue
    if (isCurrent(writer)) continue // by now
    console.warn(`${client.name} outlives its daemon:\n${stacksOf(client.pid)}`)
    result.unended += 1
  }
  for (const writer of writers) {
    await writer.client.kill()
    round.collect(writer)
  }
}
