// Writes a row per transaction on whichever node takes it, until its standard input ends. Each commit is printed with
// its time. A row is one in two tables, so that half a transaction shows. Argument: JSON {paths, writer, mode}.
import { writeSync } from "node:fs"
import Database from "better-sqlite3"

const { paths, writer } = JSON.parse(process.argv[2])
let isOver = false
process.stdin.on("end", () => {
  isOver = true
})
process.stdin.resume()

let at = 0
let db
const open = () => {
  db = new Database(paths[at], { timeout: 300, fileMustExist: true })
  const add = (table) => db.prepare(`insert into ${table}(writer, n) values(?, ?)`)
  const [a, b] = [add("a"), add("b")]
  return db.transaction((n) => {
    a.run(writer, n)
    b.run(writer, n)
  })
}

let n = 0
let commit
while (!isOver) {
  try {
    commit ??= open()
    commit.immediate(n)
    writeSync(1, `ack ${n} ${Date.now()}\n`)
    n += 1
  } catch (error) {
    const isUnmounted = /directory does not exist/.test(error.message)
    if (!isUnmounted && /undefined|CONSTRAINT|CORRUPT|NOTADB|ERROR$/.test(String(error.code))) {
      writeSync(1, `fatal ${error.code} ${error.message} on ${paths[at]}\n`)
      process.exit(1)
    }
    try {
      db?.close()
    } catch {}
    commit = undefined
    db = undefined
    at = (at + 1) % paths.length
    await new Promise((done) => setTimeout(done, 2))
  }
  await new Promise((done) => setImmediate(done))
}
