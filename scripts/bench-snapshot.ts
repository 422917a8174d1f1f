/**
 * Commit latency on a primary while a new replica gets a snapshot, as a ratio to that before, the time until the
 * replica is ready, and the memory of both. Run it through `scripts/bench-snapshot`.
 *
 * A writer updates random rows of the database all the time, 50 of them a second, so that there is a load in both
 * phases and not a contest for the machine. Both nodes share the processors and, unless --replica-dir is on
 * another one, the disk.
 */
import { tmpdir } from "node:os"
import { parseArgs } from "node:util"
import { Scope, type TestNode } from "../test/support/node.ts"
import { Client, memoryOf } from "./benchmark/process.ts"
import { quantile } from "./benchmark/statistics.ts"

const SIZES_MIB = [10, 200]
const ROW_SIZE = 3900 // one to a page
const LIMIT_MS = 3_600_000 // of a slow rate and a large database

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rate: { type: "string" },
    "replica-dir": { type: "string", default: tmpdir() },
    mode: { type: "string", default: "wal" },
    before: { type: "string", default: "5000" }, // ms
    "per-second": { type: "string", default: "50" },
  },
})

/** Fills the database, then updates rows; each line on stdin is answered with the latencies since the last. */
const WRITER = `
  import Database from "better-sqlite3"
  import { createInterface } from "node:readline"
  const [path, mode, mebibytes, perSecond] = process.argv.slice(1)
  const db = new Database(path, { timeout: 60000 })
  db.pragma("journal_mode=" + mode)
  db.pragma("synchronous=full")
  db.exec("create table t(id integer primary key, v)")
  const rows = Number(mebibytes) * 256
  const insert = db.prepare("insert into t(v) values(randomblob(${ROW_SIZE}))")
  for (let done = 0; done < rows; done += 2560) {
    db.transaction(() => { for (let i = done; i < Math.min(rows, done + 2560); i++) insert.run() })()
  }
  const update = db.prepare("update t set v = randomblob(${ROW_SIZE}) where id = ?")
  let times = []
  createInterface({ input: process.stdin })
    .on("line", () => {
      console.log(JSON.stringify(times))
      times = []
    })
    .on("close", () => process.exit())
  console.log("filled")
  setInterval(() => {
    const start = performance.now()
    update.run(1 + Math.floor(Math.random() * rows))
    times.push(performance.now() - start)
  }, 1000 / Number(perSecond))
`

console.log(
  "size        p50 before/during ms   p99 before/during ms  ratio   ready   MiB/s   primary MiB   replica MiB",
)
for (const size of positionals.length > 0 ? positionals.map(Number) : SIZES_MIB) await measure(size)

async function measure(mebibytes: number): Promise<void> {
  await using scope = new Scope()
  await using replicaScope = new Scope(values["replica-dir"])
  const rate = values.rate === undefined ? [] : ["--snapshot-rate", values.rate]
  const primary = await scope.node({ flags: rate })
  const args = [`${primary.mount}/a.db`, values.mode, `${mebibytes}`, values["per-second"]]
  await using writer = new Client(["--input-type=module", "-e", WRITER, "--", ...args])
  await writer.line()
  const latencies = async () => {
    writer.tell()
    return JSON.parse(await writer.line()) as number[]
  }
  await Bun.sleep(1000)
  await latencies()
  await Bun.sleep(Number(values.before))
  const before = await latencies()
  const memoryBefore = residentMiB(primary)

  const start = performance.now()
  const replica = await replicaScope.node({ follows: primary })
  const peaks = { primary: 0, replica: 0 }
  const sampler = setInterval(() => {
    peaks.primary = Math.max(peaks.primary, residentMiB(primary))
    peaks.replica = Math.max(peaks.replica, residentMiB(replica))
  }, 50)
  await replica.logged(/took a snapshot of the primary/, LIMIT_MS)
  const seconds = (performance.now() - start) / 1000
  clearInterval(sampler)
  const during = await latencies()
  const shown = (share: number) =>
    [before, during].map((list) => quantile(list, share).toFixed(2)).join(" / ")
  const ratio = quantile(during, 0.99) / quantile(before, 0.99)
  console.log(
    [
      `${mebibytes} MiB`.padEnd(10),
      shown(0.5).padStart(20),
      shown(0.99).padStart(22),
      ratio.toFixed(2).padStart(6),
      `${seconds.toFixed(1)} s`.padStart(8),
      (mebibytes / seconds).toFixed(0).padStart(7),
      `${memoryBefore} → ${peaks.primary}`.padStart(13),
      `${peaks.replica}`.padStart(13),
    ].join(" "),
  )
}

function residentMiB({ pid }: TestNode): number {
  return Math.round(memoryOf(pid).resident / 2 ** 20)
}
