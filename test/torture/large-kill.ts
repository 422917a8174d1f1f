/**
 * The daemon killed in transactions that take more free pages than are held in memory. SQLite's journal does not save
 * what was in those; LiteFS does, in a file of its own, before it overwrites them (store/undo-file.ts).
 *
 *     fill ─▶ delete, which frees the pages ─▶ fill again ─▶ …
 *                                              └ killed here, at a random size of that file
 */
import { statSync, unlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DataDir } from "../../src/store/data-dir.ts"
import type { Random } from "../support/random.ts"
import { within } from "./client.ts"
import { endWriters } from "./daemon-kill.ts"
import { type Mode, schemaSql, transactionSql } from "./model.ts"
import { inPair, type Pair } from "./pair.ts"
import { DATABASE, type Result, Round, Writer } from "./round.ts"

/** 100 MB, of which memory holds 64 MiB (capture/overlay.ts). */
const ROWS = 1000
const ROW_SIZE = 100_000
const UNDO_SIZE_MAX = 100 << 20
const FILL_MS_MAX = 120_000
const CYCLES = 3
const FIRST_WRITER = 1000 // beside those of the round

export interface LargeKillOptions {
  readonly random: Random
  readonly mode: Exclude<Mode, "mixed">
  readonly kills: number
  readonly result: Result
}

/** Transactions that fill a table with rows that the number of the transaction says, beside what writers do. */
export function filling(rows: number, rowSize: number) {
  const last = "(SELECT max(n) FROM tx)"
  const body = `replace(hex(zeroblob(${rowSize / 8})), '00',
    printf('%08x', (n * 2654435761 + k * 40503) % 4294967296))`
  const fill = `INSERT INTO filled SELECT ${last};
WITH RECURSIVE s(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM s WHERE k < ${rows})
INSERT INTO bulk SELECT n, k, ${body} FROM filled, s;
COMMIT;`
  return {
    schema: `CREATE TABLE bulk (n INTEGER, k INTEGER, body TEXT, PRIMARY KEY (n, k)) WITHOUT ROWID;
CREATE TABLE filled (n INTEGER PRIMARY KEY) WITHOUT ROWID;
`,
    /** Its pages are free then. */
    empty: "BEGIN IMMEDIATE; DELETE FROM bulk; DELETE FROM filled; COMMIT;\n",
    fill: (writer: number) => transactionSql(writer).replace("COMMIT;", fill),
    checks: [
      `SELECT 'the bulk of transaction ' || n || ' is not whole' FROM filled
         WHERE (SELECT count(*) FROM bulk WHERE bulk.n = filled.n) <> ${rows}`,
      "SELECT 'there is bulk of transaction ' || n FROM bulk WHERE n NOT IN (SELECT n FROM filled) LIMIT 1",
      `SELECT 'bulk ' || n || '.' || k || ' has a wrong body' FROM bulk WHERE body <> ${body} LIMIT 3`,
    ],
  }
}

const FILLING = filling(ROWS, ROW_SIZE)

/** Returns how many kills met a transaction with pages in that file. */
export async function largeKill({
  random,
  mode,
  kills,
  result,
}: LargeKillOptions): Promise<number> {
  let hits = 0
  await inPair(`large-${mode}`, async (pair) => {
    const round = new Round(pair, random, mode)
    round.checks.push(...FILLING.checks)
    try {
      const pageSize = random.pick([4096, 8192, 65536])
      await round.run(`${schemaSql(mode, pageSize, "none")}${FILLING.schema}`, FILL_MS_MAX)
      await round.run(FILLING.fill(FIRST_WRITER), FILL_MS_MAX)
      for (let kill = 1; kill <= kills; kill++) {
        if (await killOnce(round, FIRST_WRITER + kill, result)) hits += 1
        result.kills += 1
      }
      await round.check()
      result.acknowledged += round.acknowledgedCount
    } finally {
      await round.end()
    }
  })
  if (mode !== "wal" && hits === 0) throw new Error(`none of ${kills} kills met old pages on disk`)
  return hits
}

async function killOnce(round: Round, id: number, result: Result): Promise<boolean> {
  const { pair, random, mode } = round
  const writer = startFilling(round, id)
  await writer.client.heard(/^free/, FILL_MS_MAX)
  if (mode === "wal") await within(random.below(5000), writer.client.exited)
  else await untilUndo(pair, writer, random.below(UNDO_SIZE_MAX))
  await pair.kill(pair.primary)
  const isHit = undoSize(pair) > 0
  const waitsForErrors = random.below(2) === 0
  if (waitsForErrors) await endWriters(round, [writer], result)
  pair.restartPrimary()
  await pair.ready()
  if (!waitsForErrors) await endWriters(round, [writer], result, pair.primary)
  await round.checkContent(pair.primary)
  return isHit
}

function startFilling(round: Round, id: number): Writer {
  const { pair, random, mode } = round
  const script = join(pair.directory, `writer-${id}.sql`)
  const setup = [
    "PRAGMA busy_timeout = 20000",
    `PRAGMA journal_mode = ${mode}`,
    `PRAGMA synchronous = ${random.pick(["normal", "full"])}`,
    `PRAGMA cache_size = ${random.pick([2000, 50, -100_000])}`,
  ]
  const cycle = `${FILLING.empty}SELECT 'free';\n${FILLING.fill(id)}SELECT 'ack ' || last_insert_rowid();\n`
  writeFileSync(script, `${setup.join(";\n")};\n${cycle.repeat(CYCLES)}`)
  const command = ["stdbuf", "-oL", "sqlite3", "-bail", join(pair.primary.mount, DATABASE)]
  const writer = new Writer(id, round.client(`writer ${id}`, command, script))
  unlinkSync(script) // it has it open
  return writer
}

/** Until the file has grown so far, or is gone again because the transaction has ended. */
async function untilUndo(pair: Pair, { client }: Writer, size: number): Promise<void> {
  const deadline = Date.now() + FILL_MS_MAX
  for (let most = 0; !client.hasEnded && Date.now() < deadline; ) {
    const now = undoSize(pair)
    if (now > size || now < most) return
    most = Math.max(most, now)
    await Bun.sleep(1)
  }
}

function undoSize({ primary }: Pair): number {
  const path = new DataDir(primary.data).undoPath(DATABASE)
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}
