/**
 * Commits a second over loopback, one after the other, synchronous=FULL, on a primary with two replicas of which 0, 1 or
 * 2 have to acknowledge; and how long a commit takes. The rounds of all three take turns. Run it through
 * `scripts/bench-sync`.
 */
import { spawnSync } from "node:child_process"
import { parseArgs } from "node:util"
import { caughtUp, sqlite3 } from "../test/support/client.ts"
import { Scope, type TestNode } from "../test/support/node.ts"
import { infoOf } from "../test/support/node-api.ts"
import { until } from "../test/support/until.ts"
import { median } from "./benchmark/statistics.ts"

const MODES = ["wal", "delete"] as const
const COUNTS = [0, 1, 2] as const

const { values } = parseArgs({
  options: {
    commits: { type: "string", default: "300" },
    rounds: { type: "string", default: "5" },
  },
})
const commits = Number(values.commits)

const WRITER = `
  import Database from "better-sqlite3"
  const db = new Database(process.argv[1], { timeout: 20000 })
  const insert = db.prepare("insert into t(v) values(randomblob(100))")
  insert.run()
  const times = []
  const startMs = performance.now()
  for (let i = 0; i < ${commits}; i++) {
    const beginMs = performance.now()
    insert.run()
    times.push(performance.now() - beginMs)
  }
  const rate = (${commits} / (performance.now() - startMs)) * 1000
  times.sort((a, b) => a - b)
  const at = (share) => times[Math.floor(times.length * share)]
  console.log(JSON.stringify({ rate, p50: at(0.5), p99: at(0.99) }))
`

interface Measured {
  readonly rate: number // per second
  readonly p50: number // milliseconds
  readonly p99: number
}

/** In a process of its own. */
function measure(node: TestNode, database: string): Measured {
  const words = ["--input-type=module", "-e", WRITER, `${node.mount}/${database}`]
  const { status, stdout, stderr } = spawnSync("node", words, { encoding: "utf8" })
  if (status !== 0) throw new Error(stderr)
  return JSON.parse(stdout) as Measured
}

await using scope = new Scope()
const clusters = new Map<number, readonly TestNode[]>()
for (const count of COUNTS) {
  const flags = count === 0 ? [] : ["--sync-replicas", String(count)]
  const primary = await scope.node({ flags })
  const replicas = [
    await scope.node({ follows: primary }),
    await scope.node({ follows: primary }),
  ] as const
  clusters.set(count, [primary, ...replicas])
  const isWhole = async () => ((await infoOf(primary)).sync?.acknowledging ?? 2) === 2
  await until("the replicas acknowledge", isWhole)
}
for (const mode of MODES) {
  const database = `${mode}.db`
  const found = new Map<number, Measured[]>(COUNTS.map((count) => [count, []]))
  for (const [primary] of clusters.values()) {
    const setup = `pragma journal_mode = ${mode}; create table t(id integer primary key, v)`
    sqlite3(primary as TestNode, database, setup)
  }
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [count, [primary, ...replicas]] of clusters) {
      found.get(count)?.push(measure(primary as TestNode, database))
      for (const replica of replicas) await caughtUp(primary as TestNode, replica, database)
    }
  }
  for (const [count, rounds] of found) {
    const of = (key: keyof Measured) => median(rounds.map((each) => each[key]))
    const name = `${mode.padEnd(7)} --sync-replicas ${count}`
    const latency = `p50 ${of("p50").toFixed(2)} ms, p99 ${of("p99").toFixed(2)} ms`
    console.log(`${name}  ${of("rate").toFixed(0).padStart(6)} tx/s  ${latency}`)
  }
}
