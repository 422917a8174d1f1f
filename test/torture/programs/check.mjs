// Reads everything once, as a client that comes after the others. Argument: JSON {path, checks}.
// Prints JSON {problems, writers}: the writer of transaction n is at index n - 1.
import Database from "better-sqlite3"

const { path, checks } = JSON.parse(process.argv[2])
const db = new Database(path, { timeout: 20000 })
const found = db.pragma("integrity_check").map((row) => row.integrity_check)
const problems = found[0] === "ok" ? [] : found.slice(0, 5)
for (const sql of checks) problems.push(...db.prepare(sql).pluck().all())
const writers = db.prepare("SELECT writer FROM tx ORDER BY n").pluck().all()
db.close()
process.stdout.write(JSON.stringify({ problems, writers }))
