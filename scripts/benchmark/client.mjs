/**
 * A client that does one thing as often as it can: an ordinary program with better-sqlite3.
 *
 *     node client.mjs DIRECTORY WORKLOAD        (as JSON: one of workloads.ts, and number, ms, mb)
 *
 *     "ready" ─▶ a line on stdin ─▶ {"count", "ms", "cpuMs"} ─▶ the end of stdin
 *
 * `insert` and `load` make a database and remove it. `read` and `scan` make one of so many MB if it is not there, and
 * leave it. `write` is beside a reader: it changes 100 rows a second of such a database until its stdin ends.
 */
import { randomBytes } from "node:crypto"
import { existsSync, rmSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import Database from "better-sqlite3"

const ROW_SIZE = 1000
const ROWS_PER_MB = 1e6 / ROW_SIZE
const ROWS_PER_LOAD = 10_000 // of one transaction
const SCAN = "select sum(length(v)) from t"

const [directory, json] = process.argv.slice(2)
const workload = JSON.parse(json)
const { kind, journal, synchronous, number, ms, mb } = workload
const isOwn = kind === "insert" || kind === "load"
const path = join(directory, isOwn ? `${workload.name}-${number}.db` : `read-${journal}-${mb}.db`)
const rowCount = mb * ROWS_PER_MB
const bytes = randomBytes(1 << 20)

function random(count) {
  return Math.floor(Math.random() * count)
}

function open() {
  const db = new Database(path, { timeout: 60_000 })
  db.pragma(`synchronous=${synchronous}`)
  return db
}

function make() {
  const db = open()
  db.pragma(`journal_mode=${journal}`)
  db.exec("create table t(id integer primary key, v)")
  return db
}

function fill(db) {
  const insert = db.prepare("insert into t(v) values(?)")
  const row = () => {
    const start = random(bytes.length - ROW_SIZE)
    insert.run(bytes.subarray(start, start + ROW_SIZE))
  }
  const rows = db.transaction((count) => {
    for (let i = 0; i < count; i++) row()
  })
  for (let left = rowCount; left > 0; left -= ROWS_PER_LOAD) rows(Math.min(left, ROWS_PER_LOAD))
  db.pragma("wal_checkpoint(truncate)")
}

function filled() {
  if (existsSync(path)) return open()
  const db = make()
  fill(db)
  return db
}

/** Each returns a step, and that a count of what it has done. */
const KINDS = {
  insert() {
    const insert = make().prepare("insert into t(v) values(?)")
    const { rows = 1 } = workload
    const row = "x".repeat(100)
    const step = () => insert.run(row).changes
    if (rows === 1) return step
    return insert.database.transaction(() => {
      for (let i = 0; i < rows; i++) step()
      return rows
    })
  },

  load() {
    const db = make()
    return () => {
      fill(db)
      return mb
    }
  },

  read() {
    const db = filled()
    db.prepare(SCAN).get() // so that all of it is in memory
    const select = db.prepare("select v from t where id = ?")
    if (workload.isInTransaction) db.exec("begin")
    return () => {
      for (let i = 0; i < 10; i++) select.get(1 + random(rowCount))
      return 10
    }
  },

  scan() {
    const scan = filled().prepare(SCAN)
    return () => scan.pluck().get() / 1e6
  },

  write() {
    const update = filled().prepare("update t set v = randomblob(1000) where id = ?")
    setInterval(() => update.run(1 + random(rowCount)), 10)
  },
}

const step = KINDS[kind]()
const isOnce = kind === "load" || workload.isCold
if (step !== undefined && !isOnce) step() // to warm up
createInterface({ input: process.stdin }).once("line", measure).once("close", end)
console.log("ready")

function measure() {
  const [startMs, startCpu] = [performance.now(), process.cpuUsage()]
  let [count, elapsedMs] = [0, 0]
  do {
    count += step()
    elapsedMs = performance.now() - startMs
  } while (!isOnce && elapsedMs < ms)
  const { user, system } = process.cpuUsage(startCpu)
  console.log(JSON.stringify({ count, ms: elapsedMs, cpuMs: (user + system) / 1000 }))
}

function end() {
  if (isOwn)
    for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(path + suffix, { force: true })
  process.exit()
}
