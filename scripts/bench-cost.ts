/**
 * µs per commit (WAL and DELETE, synchronous FULL) in databases of several sizes, on the mount and next to it on
 * plain ext4 in the same run, and from the start of the process to "mounted" after a clean stop. Run it through
 * `scripts/bench-cost`.
 *
 * Rounds alternate between the two sides and medians are compared, since the machine is noisy. A commit changes
 * one row at a random place of the table.
 */
import { execFileSync } from "node:child_process"
import { copyFileSync, mkdirSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { Scope } from "../test/support/node.ts"
import { median } from "./benchmark/statistics.ts"

const SIZES_MIB = [1, 100, 1024]
const MODES = ["wal", "delete"] as const
const ROW_SIZE = 900 // a database page of 4096 bytes holds 4

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "3" },
    ms: { type: "string", default: "1000" },
  },
})
const sizes = positionals.length > 0 ? positionals.map(Number) : SIZES_MIB

/** Updates random rows for some time; prints µs per commit. */
const CLIENT = `
  import Database from "better-sqlite3"
  const [path, mode, ms] = process.argv.slice(1)
  const db = new Database(path, { timeout: 20000 })
  db.pragma("journal_mode=" + mode)
  db.pragma("synchronous=full")
  const rows = db.prepare("select max(id) from t").pluck().get()
  const update = db.prepare("update t set v = randomblob(${ROW_SIZE}) where id = ?")
  const step = () => update.run(1 + Math.floor(Math.random() * rows))
  for (let i = 0; i < 50; i++) step()
  const start = performance.now()
  let count = 0
  while (performance.now() - start < Number(ms)) {
    step()
    count++
  }
  console.log((performance.now() - start) * 1000 / count)
  db.close()
`

console.log("size        mode     ext4 µs  mount µs  ratio   clean start ms")
for (const size of sizes) await measureSize(size)

async function measureSize(mib: number): Promise<void> {
  await using scope = new Scope()
  const [plain, directory] = [join(scope.directory, "plain"), join(scope.directory, "node")]
  const database = join(directory, "data/dbs/a.db")
  for (const path of [plain, join(directory, "mnt"), database]) mkdirSync(path, { recursive: true })
  makeDatabase(join(plain, "a.db"), mib)
  copyFileSync(join(plain, "a.db"), join(database, "database"))
  let node = await scope.node({ directory })
  client(node.mount, "delete", 1) // its first commit holds every page
  const lines: string[] = []
  for (const mode of MODES) {
    const [ext4, mounted]: [number[], number[]] = [[], []]
    for (let round = 0; round < Number(values.rounds); round++) {
      ext4.push(client(plain, mode, Number(values.ms)))
      mounted.push(client(node.mount, mode, Number(values.ms)))
    }
    const [ours, theirs] = [median(mounted), median(ext4)]
    const numbers = [theirs.toFixed(0).padStart(8), ours.toFixed(0).padStart(9)]
    lines.push(
      `${`${mib} MiB`.padEnd(11)} ${mode.padEnd(7)} ${numbers.join(" ")}  ${(ours / theirs).toFixed(2)}`,
    )
  }
  const starts: number[] = []
  for (let round = 0; round < Number(values.rounds); round++) {
    await node.stop()
    const startedMs = performance.now()
    node = await scope.spawn({ directory, port: node.port })
    await node.logged(/msg=mounted/)
    starts.push(performance.now() - startedMs)
  }
  for (const line of lines) console.log(`${line}    ${median(starts).toFixed(0).padStart(6)}`)
}

function makeDatabase(path: string, mib: number): void {
  const rows = Math.ceil((mib * 1024 * 1024) / 4096) * 4
  const sql = `pragma journal_mode=off; create table t(id integer primary key, v);
    with recursive n(i) as (select 1 union all select i + 1 from n where i < ${rows})
    insert into t select i, randomblob(${ROW_SIZE}) from n`
  execFileSync("sqlite3", [path, sql], { timeout: 300_000 })
}

function client(where: string, mode: string, ms: number): number {
  // With -e there is no path of a program in argv.
  const args = ["--input-type=module", "-e", CLIENT, "--", join(where, "a.db"), mode, String(ms)]
  return Number(execFileSync("node", args, { encoding: "utf8", timeout: 300_000 }))
}
