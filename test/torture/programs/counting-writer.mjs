// Counts in one row and notes each step in a row of its own, so that every transaction needs what all others have
// written. Each commit is printed: `ack I N`, the Ith of this writer was the Nth of all. One whose outcome is not known
// is made again, and is refused when it is there: `found I`. Ends with its standard input, or after `limit` commits.
// Argument: JSON {path, writer, limit}.
import { writeSync } from "node:fs"
import Database from "better-sqlite3"

const { path, writer, limit = Infinity } = JSON.parse(process.argv[2])
let isOver = false
process.stdin.on("end", () => {
  isOver = true
})
process.stdin.resume()

const still = new Int32Array(new SharedArrayBuffer(4))

let db
const open = () => {
  db = new Database(path, { timeout: 20_000, fileMustExist: true })
  const count = db.prepare("update counter set n = n + 1 returning n").pluck()
  const note = db.prepare("insert into log(n, writer, i) values(?, ?, ?)")
  return db.transaction((i) => {
    const n = count.get()
    if (i % 5 === 4) Atomics.wait(still, 0, 0, 15) // long enough to be killed, stopped or cut off in it
    note.run(n, writer, i)
    return n
  })
}

const FATAL = /MODULE_NOT_FOUND|CONSTRAINT_PRIMARYKEY|CORRUPT|NOTADB|SQLITE_ERROR$|^ERR_|undefined/

let i = 0
let step
while (!isOver && i < limit) {
  try {
    step ??= open()
    const n = step.immediate(i)
    writeSync(1, `ack ${i} ${n}\n`)
    i += 1
  } catch (error) {
    const isUnmounted = /directory does not exist/.test(error.message)
    if (error.code === "SQLITE_CONSTRAINT_UNIQUE") {
      writeSync(1, `found ${i}\n`)
      i += 1
    } else if (!isUnmounted && FATAL.test(String(error.code))) {
      writeSync(1, `fatal ${error.code} ${error.message}\n`)
      process.exit(1)
    } else {
      writeSync(1, `failed ${i} ${error.code} ${error.message.replaceAll("\n", " ")}\n`)
      try {
        db?.close()
      } catch {}
      step = undefined
      db = undefined
      await new Promise((done) => setTimeout(done, 20))
    }
  }
  await new Promise((done) => setImmediate(done))
}
process.exit(0)
