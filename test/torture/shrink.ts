/** A database that grows and shrinks by deletes, VACUUM and auto_vacuum, with a reader in another process. */
import type { Random } from "../support/random.ts"
import type { Client } from "./client.ts"
import type { Mode } from "./model.ts"
import { inPair } from "./pair.ts"
import { DATABASE, Round } from "./round.ts"

const STEP_MS_MAX = 300_000
const ROW_SIZE = 2000
const LONG_READ_MS = 5000
const VERY_LONG_READ_MS = 60_000
/** SQLite is not fair: a reader that asks every 100 ms can miss the moments between many long transactions. */
const PRIMARY_WAIT_MS_MAX = 600_000
const REPLICA_WAIT_MS_MAX = 20_000

export interface ShrinkOptions {
  readonly random: Random
  readonly mode: Exclude<Mode, "mixed">
  readonly sizeMiB: number
  readonly cycles: number
}

/**
 * How long a reader was kept out at most. In a rollback mode a transaction that does not fit the cache keeps readers
 * of the primary out from there to its end, on any file system.
 */
export interface ShrinkWaits {
  readonly statementMs: number // the longest on the primary
  readonly primaryMs: number
  readonly replicaMs: number
}

export async function shrink(options: ShrinkOptions): Promise<ShrinkWaits> {
  let waits: ShrinkWaits = { statementMs: 0, primaryMs: 0, replicaMs: 0 }
  await inPair(`shrink-${options.mode}`, async (pair) => {
    const { random, mode, sizeMiB, cycles } = options
    const round = new Round(pair, random, mode)
    let statementMs = 0
    const sql = async (text: string) => {
      const startMs = Date.now()
      const setup = `PRAGMA busy_timeout = 60000; PRAGMA journal_mode = ${mode};`
      const cache = `PRAGMA cache_size = ${random.pick([2000, 50])};`
      await round.run(setup + cache + text, STEP_MS_MAX)
      statementMs = Math.max(statementMs, Date.now() - startMs)
    }
    try {
      await round.setUp()
      await sql("CREATE TABLE big (id INTEGER PRIMARY KEY, body BLOB)")
      await pair.settled(DATABASE)
      const onPrimary = round.startReader(pair.primary, {
        longMs: LONG_READ_MS,
        timeoutMs: mode === "wal" ? 1000 : PRIMARY_WAIT_MS_MAX,
      })
      const onReplica = round.startReader(pair.replica, { timeoutMs: REPLICA_WAIT_MS_MAX })
      if (mode === "wal") round.startReader(pair.replica, { longMs: VERY_LONG_READ_MS })
      for (let cycle = 0; cycle < cycles; cycle++) {
        const vacuum = random.pick(["none", "full", "incremental"])
        await sql(`PRAGMA auto_vacuum = ${vacuum}; VACUUM`)
        const rows = Math.ceil((sizeMiB << 20) / ROW_SIZE / 4)
        for (let part = 0; part < 4; part++) {
          await sql(`WITH RECURSIVE s(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM s WHERE k < ${rows})
            INSERT INTO big (body) SELECT randomblob(${ROW_SIZE - 50}) FROM s`)
        }
        await sql(`DELETE FROM big WHERE id % ${random.between(5, 50)} <> 0`)
        if (vacuum === "incremental") await sql("PRAGMA incremental_vacuum(500)")
        if (random.below(2) === 0) await sql("UPDATE big SET body = randomblob(100) WHERE id % 2")
        if (vacuum === "incremental") await sql("PRAGMA incremental_vacuum")
        if (random.below(3) > 0) await sql("VACUUM")
        await sql("DELETE FROM big")
        if (vacuum === "none" || random.below(3) === 0) await sql("VACUUM")
        round.checkReaders()
        await pair.settled(DATABASE)
        await round.checkContent(pair.primary)
      }
      await round.end()
      const [primaryMs, replicaMs] = [longestWait(onPrimary), longestWait(onReplica)]
      waits = { statementMs, primaryMs, replicaMs }
      await round.check()
    } finally {
      await round.end()
    }
  })
  return waits
}

function longestWait({ lines }: Client): number {
  return Math.max(0, ...lines.map((line) => Number(/^waited (\d+)$/.exec(line)?.[1] ?? 0)))
}
