/**
 * Readers on a replica while its primary writes as fast as it can: none ever sees an error, half a transaction, or one
 * that is older than the last; one keeps its snapshot for the whole round, and nobody falls behind for it.
 */
import { statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DataDir } from "../../src/store/data-dir.ts"
import { output, sqlite3, start } from "../support/client.ts"
import { LongClient } from "../support/long-client.ts"
import { Scope } from "../support/node.ts"
import type { Random } from "../support/random.ts"
import { checkingReader, fullWriter, ROWS, SCHEMA } from "../support/whole-rows.ts"
import type { Mode } from "./model.ts"
import { inPair } from "./pair.ts"

const BEHIND_MAX = 2000 // transactions
const SNAPSHOT = "select min(v), max(v), count(*), sum(length(pad)) from t"

export interface ReadersOptions {
  readonly random: Random
  readonly mode: Exclude<Mode, "mixed">
  readonly roundMs: number
}

export interface ReadersResult {
  readonly reads: number
  readonly transactions: number
  /** How many transactions the replica was behind, once a second. */
  readonly behind: readonly number[]
  /** Of the replica at the end, when the long reader has its snapshot still. */
  readonly walSize: number
}

export async function readers({ random, mode, roundMs }: ReadersOptions): Promise<ReadersResult> {
  let [reads, transactions, walSize] = [0, 0, 0]
  const lag: number[] = []
  await inPair(`readers-${mode}`, async (pair) => {
    await using scope = new Scope()
    const { primary, replica } = pair
    sqlite3(primary, "a.db", `pragma journal_mode = ${mode}; ${SCHEMA} ${ROWS}`)
    await pair.settled("a.db")
    const done = join(scope.directory, "done")
    scope.defer(() => writeFileSync(done, ""))
    const limits = { limitMs: roundMs + 60_000 }
    // In WAL mode nobody ever waits. In the others a reader waits while pages are written, as for any writer.
    const timeoutMs = mode === "wal" ? 0 : 20_000
    const running = Array.from({ length: random.between(1, 3) }, () => {
      const mmapSize = random.pick([0, 1 << 30])
      return start(checkingReader(replica, done, { mmapSize, timeoutMs }), limits)
    })
    for (const reader of running) await reader.spoken
    const long = new LongClient(scope, replica, "a.db")
    if (mode === "wal") await long.exec("begin")
    const seen = mode === "wal" ? await long.rows(SNAPSHOT) : undefined
    const writer = start(fullWriter(primary, done), limits)
    const endMs = Date.now() + roundMs
    while (Date.now() < endMs) {
      await Bun.sleep(1000)
      const at = async (node: typeof primary) =>
        Number.parseInt(await pair.position(node, "a.db"), 16)
      const behind = (await at(primary)) - (await at(replica))
      lag.push(behind)
      if (behind > BEHIND_MAX) throw new Error(`the replica is ${behind} transactions behind`)
      if (seen !== undefined && !Bun.deepEquals(await long.rows(SNAPSHOT), seen)) {
        throw new Error("the snapshot of a long reader has changed")
      }
    }
    walSize =
      statSync(new DataDir(replica.data).path("a.db", "wal"), { throwIfNoEntry: false })?.size ?? 0
    writeFileSync(done, "")
    transactions = Number(await output(writer))
    for (const reader of running) reads += Number(await output(reader))
    await pair.settled("a.db")
    await long.close()
  })
  return { reads, transactions, behind: lag, walSize }
}
