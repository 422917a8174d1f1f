/**
 * Transactions a second over loopback, one after the other, synchronous=FULL: on the primary, on a replica under
 * flock(1), and on a replica alone that forwards writes. Run it through `scripts/bench-halt`.
 */
import { spawnSync } from "node:child_process"
import { parseArgs } from "node:util"
import { caughtUp, sqlite3 } from "../test/support/client.ts"
import { Scope, type TestNode } from "../test/support/node.ts"
import { median } from "./benchmark/statistics.ts"

const MODES = ["wal", "delete"] as const

const { values } = parseArgs({
  options: {
    commits: { type: "string", default: "300" },
    rounds: { type: "string", default: "3" },
  },
})
const commits = Number(values.commits)

const WRITER = `
  import Database from "better-sqlite3"
  const db = new Database(process.argv[1], { timeout: 20000 })
  const insert = db.prepare("insert into t(v) values(randomblob(100))")
  insert.run()
  const startMs = performance.now()
  for (let i = 0; i < ${commits}; i++) insert.run()
  console.log((${commits} / (performance.now() - startMs)) * 1000)
`

/** Per second, in a process of its own. */
function measure(node: TestNode, database: string, through: readonly string[]): number {
  const path = `${node.mount}/${database}`
  const [command = "node", ...args] = [
    ...through,
    "node",
    "--input-type=module",
    "-e",
    WRITER,
    path,
  ]
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8" })
  if (status !== 0) throw new Error(stderr)
  return Number(stdout)
}

await using scope = new Scope()
for (const flags of [[], ["--forward-writes"]]) {
  const primary = await scope.node({ flags })
  const replica = await scope.node({ follows: primary, flags })
  for (const mode of MODES) {
    const database = `${mode}.db`
    sqlite3(
      primary,
      database,
      `pragma journal_mode = ${mode}; create table t(id integer primary key, v)`,
    )
    await caughtUp(primary, replica, database)
    const flock = ["flock", `${replica.mount}/${database}-lock`]
    const places =
      flags.length === 0
        ? ([
            ["primary", primary, []],
            ["replica, flock", replica, flock],
          ] as const)
        : ([["replica, forwards", replica, []]] as const)
    for (const [name, node, through] of places) {
      const rates: number[] = []
      for (let round = 0; round < Number(values.rounds); round++) {
        rates.push(measure(node, database, through))
        await caughtUp(primary, replica, database)
      }
      const rate = median(rates)
      const ms = (1000 / rate).toFixed(2)
      console.log(
        `${mode.padEnd(7)} ${name.padEnd(18)} ${rate.toFixed(0).padStart(6)} tx/s  ${ms} ms`,
      )
    }
  }
}
