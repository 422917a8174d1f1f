// Does transactions of every shape and prints after each what the database has to hold from now on, with the
// size of the daemon's trace at that moment: JSON {at, database, first, last}, the numbers in its table `tx`.
// `first` above `last` says that the database is gone, `mayBeGone` that it is about to be removed.
// Argument: JSON {directory, trace, mode, synchronous, seed, transactions, data, loses}. With `data`, the data directory
// of a node whose clients write past it, it adds to the trace what it finds in a WAL. `loses`: a power cut may take what
// was committed since the last checkpoint, of which alone it then says that it has to stay.
import { appendFileSync, readFileSync, statSync, unlinkSync, writeSync } from "node:fs"
import { join } from "node:path"
import Database from "better-sqlite3"

const argument = JSON.parse(process.argv[2])
const { directory, trace, mode, synchronous, seed, transactions, data, loses } = argument
let state = seed | 0
const below = (limit) => {
  state = (Math.imul(state, 1103515245) + 12345) | 0
  return ((state >>> 8) & 0xffff) % limit
}
const pageSize = [512, 1024, 4096, 4096, 4096, 8192][below(6)]

class Target {
  first = 1
  next = 1

  constructor(name) {
    this.name = name
    this.path = join(directory, name)
  }

  open() {
    this.db = new Database(this.path, { timeout: 20000 })
    this.db.pragma(`page_size=${pageSize}`)
    this.db.pragma(`auto_vacuum=${["none", "full", "incremental"][below(3)]}`)
    this.db.pragma(`journal_mode=${mode}`)
    this.db.pragma(`synchronous=${synchronous}`)
    this.db.exec("create table if not exists tx(n integer primary key)")
    this.db.exec("create table if not exists body(id integer primary key, n, v)")
    this.acknowledge()
  }

  /** In the form of src/sys/trace.ts. */
  traceWal() {
    if (data === undefined) return
    const path = join(data, "dbs", this.name, "wal")
    const status = statSync(path, { throwIfNoEntry: false })
    if (status === undefined) return
    const inode = `${status.dev}:${status.ino}`
    const bytes = readFileSync(path)
    const before = this.wal?.inode === inode ? this.wal.bytes : Buffer.alloc(0)
    this.wal = { inode, bytes }
    const isNew = (at) => !bytes.subarray(at, at + 512).equals(before.subarray(at, at + 512))
    for (let at = 0; at < bytes.length; ) {
      const start = at
      while (at < bytes.length && isNew(at)) at += 512
      if (at > start) {
        const written = bytes.subarray(start, at)
        const json = Buffer.from(JSON.stringify({ type: "write", inode, offset: start }))
        const head = Buffer.alloc(8)
        head.writeUInt32LE(json.length, 0)
        head.writeUInt32LE(written.length, 4)
        appendFileSync(trace, Buffer.concat([head, json, written]))
      } else at += 512
    }
  }

  acknowledge(mayBeGone = false) {
    const { name: database, first } = this
    const line = { at: statSync(trace).size, database, first, last: this.next - 1, mayBeGone }
    writeSync(1, `${JSON.stringify(line)}\n`)
  }

  transaction(rows, size, commits = true) {
    const { db } = this
    db.exec("begin immediate")
    db.prepare("insert into tx values(?)").run(commits ? this.next : 1_000_000)
    const insert = db.prepare("insert into body(n, v) values(?, randomblob(?))")
    for (let row = 0; row < rows; row++) insert.run(this.next, size)
    db.exec("update body set v = randomblob(length(v)) where id % 7 = 0 and id < 200")
    db.exec(commits ? "commit" : "rollback")
    this.traceWal()
    if (!commits) return
    this.next += 1
    if (!loses) this.acknowledge()
  }

  step() {
    const { db } = this
    switch (below(14)) {
      case 0: {
        db.pragma("cache_size=5") // spills
        this.transaction(40, 3000, below(3) > 0)
        db.pragma("cache_size=2000")
        return
      }
      case 1:
        return this.transaction(30, 1000, false)
      case 2:
        db.exec("delete from body where id % 3 <> 0")
        return db.exec("vacuum")
      case 3:
        db.pragma("wal_checkpoint(truncate)")
        return this.acknowledge()
      case 4:
        return this.transaction(500, 3500) // does not go through the commit log
      case 5:
        db.pragma("incremental_vacuum")
        return
      case 6:
        db.exec("delete from body where id % 2 <> 0")
        return
      case 7:
        db.close()
        return this.open()
      default:
        return this.transaction(1 + below(4), 20 + below(3000))
    }
  }

  drop() {
    this.db.close()
    this.acknowledge(true)
    unlinkSync(this.path)
    this.first = this.next
    this.acknowledge()
  }
}

const main = new Target("main.db")
main.open()
for (let count = 0; count < transactions; count++) {
  main.step()
  if (count % 12 !== 5) continue
  const other = count % 24 === 5 ? new Target(`other-${count}.db`) : main
  if (other === main) {
    main.drop()
    main.open()
  } else {
    other.open()
    other.transaction(2, 500)
    other.db.close()
  }
}
main.db.close()
