// A client of a soak: writes a few rows a second, or reads them, for as long as it lives. While the node does not take
// writes, or the database changes hands, it waits and tries again.
//
//   node soak-client.mjs PATH write|read PER_SECOND
import Database from "better-sqlite3"

const [path, what, perSecond] = process.argv.slice(2)
const ROWS_MAX = 2000
const pauseMs = 1000 / Number(perSecond)
let db
let done = 0

for (;;) {
  const startMs = performance.now()
  try {
    db ??= new Database(path, { timeout: 2000, fileMustExist: true })
    if (what === "write") write(db)
    else read(db)
    done += 1
    if (done % 500 === 0) close() // as those do that connect anew for each request
  } catch (error) {
    if (
      !["SQLITE_BUSY", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_IOERR"].some((code) =>
        error.code?.startsWith(code),
      )
    ) {
      console.error(`${what} ${path}: ${error.code} ${error.message}`)
    }
    close()
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  const leftMs = pauseMs - (performance.now() - startMs)
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, leftMs)))
}

function write(db) {
  const add = db.transaction(() => {
    db.prepare("insert into rows(text) values(hex(randomblob(?)))").run(
      Math.floor(Math.random() * 400),
    )
    db.prepare("delete from rows where id <= (select max(id) from rows) - ?").run(ROWS_MAX)
  })
  add.immediate()
}

function read(db) {
  const { count } = db.prepare("select count(*) as count, sum(length(text)) from rows").get()
  if (count > ROWS_MAX + 1) throw new Error(`there are ${count} rows`)
}

function close() {
  try {
    db?.close()
  } catch {
    // It has failed already.
  }
  db = undefined
}
