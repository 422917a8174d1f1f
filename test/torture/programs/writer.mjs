// Writes transactions until it is killed, and prints the number of each after its commit. Node, so that
// better-sqlite3 is what it runs on. Argument: JSON {path, setup, transaction, between: [[every, sql]]}.
import { writeSync } from "node:fs"
import Database from "better-sqlite3"

const { path, setup, transaction, between } = JSON.parse(process.argv[2])
const db = new Database(path, { timeout: 20000 })
db.exec(setup)
const lastRowId = db.prepare("SELECT last_insert_rowid()").pluck()
for (let count = 1; ; count++) {
  db.exec(transaction)
  writeSync(1, `ack ${lastRowId.get()}\n`)
  for (const [every, sql] of between) if (count % every === 0) db.exec(sql)
}
