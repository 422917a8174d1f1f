// Reads snapshots until it is killed, and exits with 1 when one is not whole or changes while it is read. Says
// "waited MS" whenever it has taken longer than ever to be let in.
// Argument: JSON {path, checks, holdMs, pauseMs, timeoutMs}.
import Database from "better-sqlite3"

const { path, checks, holdMs, pauseMs, timeoutMs } = JSON.parse(process.argv[2])
const sleep = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
const db = new Database(path, { timeout: timeoutMs })
const statements = checks.map((sql) => db.prepare(sql).pluck())
const sum = db.prepare(
  "SELECT (SELECT max(n) FROM tx) || ' ' || (SELECT count(*) || ' ' || total(length(body)) FROM part)",
)
const enter = db.prepare("SELECT 1 FROM sqlite_schema LIMIT 1")
let worstMs = 0

process.stdout.write("ready\n")
for (;;) {
  const startMs = performance.now()
  db.exec("BEGIN")
  enter.get()
  const waitedMs = Math.round(performance.now() - startMs)
  if (waitedMs > worstMs) {
    worstMs = waitedMs
    process.stdout.write(`waited ${worstMs}\n`)
  }
  const before = sum.pluck().get()
  if (holdMs > 0) sleep(Math.random() * holdMs)
  const problems = statements.flatMap((statement) => statement.all())
  const after = sum.pluck().get()
  if (after !== before) problems.push(`the snapshot changed from ${before} to ${after}`)
  db.exec("COMMIT")
  if (problems.length > 0) {
    process.stderr.write(`${problems.join("\n")}\n`)
    process.exit(1)
  }
  sleep(pauseMs)
}
