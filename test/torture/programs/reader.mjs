// Reads snapshots until it is killed, and exits with 1 when one is not whole or changes while it is read.
// Argument: JSON {path, checks, holdMs, pauseMs}.
import Database from "better-sqlite3"

const { path, checks, holdMs, pauseMs } = JSON.parse(process.argv[2])
const sleep = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
const db = new Database(path, { timeout: 60000 })
const statements = checks.map((sql) => db.prepare(sql).pluck())
const sum = db.prepare(
  "SELECT (SELECT max(n) FROM tx) || ' ' || (SELECT count(*) || ' ' || total(length(body)) FROM part)",
)

process.stdout.write("ready\n")
for (;;) {
  db.exec("BEGIN")
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
