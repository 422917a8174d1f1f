/**
 * One benchmark client: `node bench-client.mjs DIRECTORY WORKLOAD MILLISECONDS` prints operations per second.
 *
 * It is an ordinary program: better-sqlite3 on a database in the directory, which it makes and removes.
 */
import { rmSync } from "node:fs"
import { join } from "node:path"
import Database from "better-sqlite3"

const [directory, workload, milliseconds] = process.argv.slice(2)
const path = join(directory, `bench-${workload}.db`)

const inserts = (journal, synchronous) => ({
  prepare(db) {
    db.pragma(`journal_mode=${journal}`)
    db.pragma(`synchronous=${synchronous}`)
    db.exec("create table t(id integer primary key, v text)")
    const insert = db.prepare("insert into t(v) values(?)")
    const text = "x".repeat(100)
    return () => insert.run(text)
  },
})

const reads = (journal) => ({
  prepare(db) {
    db.pragma(`journal_mode=${journal}`)
    db.exec("create table t(id integer primary key, v text)")
    db.exec(
      "with recursive n(i) as (select 1 union all select i+1 from n where i<100000) insert into t select i, hex(randomblob(50)) from n",
    )
    const select = db.prepare("select v from t where id=?")
    let id = 0
    return () => {
      id = (id * 1103515245 + 12345) % 100000
      select.get(id + 1)
    }
  },
})

const WORKLOADS = {
  "read-wal": reads("wal"),
  "read-delete": reads("delete"),
  "insert-wal-full": inserts("wal", "full"),
  "insert-wal-normal": inserts("wal", "normal"),
  "insert-delete-full": inserts("delete", "full"),
  "insert-truncate-full": inserts("truncate", "full"),
  "insert-persist-full": inserts("persist", "full"),
}

const db = new Database(path)
const step = WORKLOADS[workload].prepare(db)
for (let i = 0; i < 50; i++) step()
const start = performance.now()
let count = 0
let elapsed = 0
while (elapsed < Number(milliseconds)) {
  for (let i = 0; i < 10; i++) step()
  count += 10
  elapsed = performance.now() - start
}
db.close()
for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(path + suffix, { force: true })
console.log(Math.round((count / elapsed) * 1000))
