/** A table that is changed as a whole by every transaction, and readers that tell whether they see it whole. */
import { nodeCommand } from "./client.ts"
import type { TestNode } from "./node.ts"

export const SCHEMA = "create table t(i integer primary key, v, pad); create index tv on t(v);"
/** Every row has the same `v`: a reader that sees two has seen a torn transaction. */
export const ROWS = `insert into t with recursive n(i) as (select 1 union all select i + 1 from n where i < 300)
  select i, 0, randomblob(300) from n;`

/** Transactions, each of which changes every row. Prints how many when `done` appears. */
export function fullWriter(node: TestNode, done: string): string[] {
  return nodeCommand(
    node,
    `
    import { existsSync } from "node:fs"
    const d = db("a.db")
    let v = 0
    while (!existsSync(${JSON.stringify(done)})) {
      v += 1
      d.transaction(() => {
        d.prepare("update t set v = ?, pad = randomblob(200 + ? % 200)").run(v, v)
        if (v % 7 === 0) d.prepare("delete from t where i > 250").run()
        if (v % 7 === 3) d.exec("insert or ignore into t select i + 250, v, pad from t where i <= 50")
      }).immediate()
    }
    console.log(v)
  `,
  )
}

/**
 * Reads until `done` appears; fails at the first error, also when it is that the database is locked for longer than
 * `timeoutMs`, and at the first torn or older row. Prints how often.
 */
export function checkingReader(
  node: TestNode,
  done: string,
  { mmapSize = 0, timeoutMs = 0 } = {},
): string[] {
  return nodeCommand(
    node,
    `
    import { existsSync } from "node:fs"
    const d = db("a.db", { timeout: ${timeoutMs} })
    d.pragma("mmap_size = ${mmapSize}")
    const all = d.prepare("select min(v) least, max(v) most, count(*) count, sum(length(pad)) size from t")
    const byIndex = d.prepare("select min(v) least, max(v) most, count(*) count from t indexed by tv")
    let reads = 0
    let last = -1
    while (reads % 16 !== 0 || !existsSync(${JSON.stringify(done)})) {
      d.exec("begin")
      const a = all.get()
      const b = byIndex.get()
      d.exec("commit")
      const isWhole = a.least === a.most && a.least === b.least && b.least === b.most && a.count === b.count
      if (!isWhole || a.least < last || a.size < a.count) throw new Error(JSON.stringify({ a, b, last }))
      last = a.least
      if (reads++ === 0) process.stdout.write(" ")
    }
    console.log(reads)
  `,
  )
}
