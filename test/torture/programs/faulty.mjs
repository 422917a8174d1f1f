// Does what it is told in JSON lines on stdin, each answered with one on stdout: a fixed workload in which any
// statement may fail, and the check of what is left. Statements that fail are rolled back and told of.
//   {do: "work", path, mode}   answers {steps: [[what, n, problem]]}, n of the row that a commit adds, and tells of each
//                              step before it, {begins: [what, n]} and {ended: problem}, in case it does not live to
//                              answer; with `marks`, a file, a line of it says where each begins, when `follower` has
//                              done the one before
//   {do: "check", path}        answers {rows, problems}
//   {do: "make", path, mode}   answers {problem}: a database with the row 1, of pages of `pageSize`
//   {do: "add", path, n}       answers {problem}: one transaction; with `count` and `size` so many blobs of that size too,
//                              with `mustExist` only to what is there: where nothing is mounted, nothing is made
//   {do: "checkpoint", path}   answers {problem}
//   {do: "drop", path}         answers {problem}
//   {do: "hold", paths}        opens them, and reads
//   {do: "held"}               answers {held: [{rows, problems}]}, of the connections that hold has opened
//   {do: "release"}            closes them
import { appendFileSync, closeSync, existsSync, openSync, readSync, unlinkSync } from "node:fs"
import { createInterface } from "node:readline"
import Database from "better-sqlite3"

const TIMEOUT_MS = 3000
const FOLLOW_MS = 3000

function work({ path, mode, marks, follower }) {
  const steps = []
  let db
  let n = 0
  const attempt = (what, row, act) => {
    if (marks !== undefined) {
      followed(path, follower)
      appendFileSync(marks, "#\n")
    }
    tell({ begins: [what, row] })
    let problem = null
    try {
      act()
    } catch (error) {
      problem = `${error.code ?? ""} ${error.message}`
      try {
        if (db?.inTransaction) db.exec("rollback")
      } catch {
        // the next statement shows it
      }
    }
    steps.push([what, row, problem])
    tell({ ended: problem })
  }
  const open = () =>
    attempt("open", 0, () => {
      db = new Database(path, { timeout: TIMEOUT_MS })
      db.pragma("page_size=65536") // few pages make few calls
      db.pragma(`journal_mode=${mode}`)
      db.exec("create table if not exists tx(n integer primary key, v)")
    })
  const add = (rows = 1, size = 100, end = "commit") => {
    const row = end === "commit" ? ++n : 1_000_000
    attempt(end, row, () => {
      db.exec("begin immediate")
      const insert = db.prepare("insert into tx values(?, randomblob(?))")
      insert.run(row, size)
      db.exec("create table if not exists body(v)")
      for (let count = 1; count < rows; count++)
        db.exec(`insert into body values(randomblob(${size}))`)
      db.exec(end)
    })
  }
  const close = () => attempt("close", 0, () => db?.close())
  open()
  add()
  add()
  attempt("pragma", 0, () => db.pragma("cache_size=5"))
  add(12, 50_000) // into the WAL or the file before its end
  add(12, 50_000, "rollback")
  attempt("pragma", 0, () => db.pragma("cache_size=2000"))
  add(22, 50_000) // larger than what goes through the commit log
  attempt("delete", 0, () => db.exec("delete from body where rowid % 2"))
  attempt("checkpoint", 0, () => db.pragma("wal_checkpoint(passive)"))
  add()
  attempt("vacuum", 0, () => db.exec("vacuum"))
  attempt("checkpoint", 0, () => db.pragma("wal_checkpoint(truncate)"))
  add(3)
  close()
  attempt("drop", 0, () => unlinkSync(path))
  open()
  add()
  add(3, 3000)
  close()
  return { steps }
}

/** Waits until both are at the same position. */
function followed(path, follower) {
  const word = new Int32Array(new SharedArrayBuffer(4))
  for (let ms = 0; pos(path).pos !== pos(follower).pos && ms < FOLLOW_MS; ms += 10)
    Atomics.wait(word, 0, 0, 10)
}

function check(path) {
  if (!existsSync(path)) return { rows: [], problems: [], pos: "" }
  const db = new Database(path, { timeout: TIMEOUT_MS })
  try {
    return contentOf(db)
  } finally {
    db.close()
  }
}

function contentOf(db) {
  const problems = db.pragma("integrity_check").map((row) => row.integrity_check)
  const hasTable = db.prepare("select 1 from sqlite_master where name = 'tx'").get() !== undefined
  const rows = hasTable ? db.prepare("select n from tx order by n").pluck().all() : []
  return { rows, problems: problems.filter((line) => line !== "ok") }
}

function make({ path, mode, pageSize = 4096 }) {
  const db = new Database(path, { timeout: TIMEOUT_MS })
  try {
    db.pragma(`page_size=${pageSize}`)
    db.pragma(`journal_mode=${mode}`)
    db.exec("create table tx(n integer primary key, v); insert into tx values(1, 'first')")
  } finally {
    db.close()
  }
  return {}
}

function add({ path, n, count = 0, size = 0, mustExist = false }) {
  const db = new Database(path, { timeout: TIMEOUT_MS, fileMustExist: mustExist })
  try {
    db.exec("create table if not exists tx(n integer primary key, v)")
    db.exec("begin immediate")
    db.prepare("insert into tx values(?, 'afterwards')").run(n)
    if (count > 0) db.exec("create table if not exists body(v)")
    const insert = count > 0 ? db.prepare("insert into body values(randomblob(?))") : undefined
    for (let done = 0; done < count; done++) insert.run(size)
    db.exec("commit")
  } finally {
    db.close()
  }
  return {}
}

function checkpoint({ path }) {
  const db = new Database(path, { timeout: TIMEOUT_MS })
  try {
    db.pragma("wal_checkpoint(truncate)")
  } finally {
    db.close()
  }
  return {}
}

const connections = []

function hold({ paths }) {
  release()
  for (const path of paths) connections.push(new Database(path, { timeout: TIMEOUT_MS }))
  return held()
}

const held = () => ({ held: connections.map(contentOf) })

function release() {
  for (const db of connections.splice(0)) db.close()
  return {}
}

const drop = (path) => {
  if (existsSync(path)) unlinkSync(path)
  return {}
}

/** readFileSync() ends the process when the file cannot be closed, as when the daemon is killed. */
const pos = (path) => {
  if (!existsSync(`${path}-pos`)) return { pos: "" }
  const bytes = Buffer.alloc(100)
  const fd = openSync(`${path}-pos`)
  const size = readSync(fd, bytes)
  closeSync(fd)
  return { pos: bytes.toString("utf8", 0, size) }
}

const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`)

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  const { do: what, path } = request
  let answer
  try {
    if (what === "work") answer = work(request)
    else if (what === "check") answer = check(path)
    else if (what === "make") answer = make(request)
    else if (what === "add") answer = add(request)
    else if (what === "checkpoint") answer = checkpoint(request)
    else if (what === "hold") answer = hold(request)
    else if (what === "held") answer = held()
    else if (what === "release") answer = release()
    else if (what === "drop") answer = drop(path)
    else answer = pos(path)
  } catch (error) {
    answer = { problem: `${error.code ?? ""} ${error.message}` }
  }
  tell(answer)
}
