// A client of one node that does not know which role the node has: it opens the database, reads, writes where it may,
// and closes it again, until its standard input ends. A row is one in two tables, so that half a transaction shows.
// Argument: JSON {path, writer, seed}. Lines on standard input: `pause`, answered by `paused`, whatever is open stays
// so; `look`, answered by `sees` and what the open connection reads, nothing when none is open; `go N`: it closes after
// one of N acts, from here on.
import { writeSync } from "node:fs"
import { createInterface } from "node:readline"
import Database from "better-sqlite3"

const { path, writer, seed, digest } = JSON.parse(process.argv[2])
const say = (line) => writeSync(1, `${line}\n`)

let state = seed >>> 0
const below = (n) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return Math.floor((state / 0x100000000) * n)
}

let isOver = false
let isPaused = false
let closing = 4
let wake = () => {}
let db
createInterface({ input: process.stdin })
  .on("line", (line) => {
    if (line === "look") {
      try {
        say(`sees ${db === undefined ? "" : JSON.stringify(db.prepare(digest).raw().get())}`)
      } catch (error) {
        say(`sees ${error.code} ${error.message}`)
      }
      return
    }
    isPaused = line === "pause"
    if (isPaused) return
    closing = Number(line.slice(3))
    wake()
  })
  .on("close", () => {
    isOver = true
    wake()
  })

const pause = (ms) => new Promise((done) => setTimeout(done, ms))

function look() {
  const [a, b] = db.prepare("select (select count(*) from a), (select count(*) from b)").raw().get()
  if (a !== b)
    throw Object.assign(new Error(`half a transaction: ${a} and ${b}`), { code: "ERROR" })
}

let n = 0
function write() {
  const rows = below(12) === 0 ? 40 : 1
  db.exec("begin immediate")
  try {
    for (let row = 0; row < rows; row++) {
      db.prepare("insert into a(writer, n, padding) values(?, ?, randomblob(?))").run(
        writer,
        n,
        50 + below(400),
      )
      db.prepare("insert into b(writer, n) values(?, ?)").run(writer, n)
    }
    if (below(6) === 0)
      db.exec("update a set padding = randomblob(length(padding)) where id % 13 = 0")
    db.exec("commit")
  } catch (error) {
    if (db.inTransaction) db.exec("rollback")
    throw error
  }
  say(`ack ${n}`)
}

function act() {
  db ??= new Database(path, { timeout: 100, fileMustExist: true })
  const kind = below(10)
  if (kind < 4) look()
  else if (kind < 9) write()
  else db.pragma(`wal_checkpoint(${["passive", "truncate"][below(2)]})`)
}

function close() {
  try {
    db?.close()
  } catch {}
  db = undefined
}

while (!isOver) {
  try {
    act()
    n += 1
    if (below(closing) === 0) close()
  } catch (error) {
    if (/undefined|CONSTRAINT|CORRUPT|NOTADB|ERROR$/.test(String(error.code))) {
      say(`fatal ${error.code} ${error.message}`)
      process.exit(1)
    }
    n += 1 // it may count: then its number is not used again
    if (below(2) === 0) close()
    await pause(below(10))
  }
  await pause(below(8))
  if (isPaused) {
    say("paused")
    await new Promise((done) => {
      wake = done
    })
  }
}
close()
