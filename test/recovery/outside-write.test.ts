/** A database file that somebody else has written to while no LiteFS ran. */
import { describe, expect, test } from "bun:test"
import {
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { saveCleanState } from "../../src/recovery/clean-stop.ts"
import { recoverDatabase } from "../../src/recovery/recover.ts"
import { BackedFile } from "../../src/store/backed-file.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { writeSynced } from "../../src/store/synced.ts"
import { imageChecksum } from "../support/captured-database.ts"
import {
  type DatabaseFixture,
  DataDirectory,
  FIXTURE_PAGE_SIZE as PAGE_SIZE,
} from "../support/data-directory.ts"
import { RecordedLog } from "../support/recorded-log.ts"

const KEPT =
  "warn: the database file was written to while LiteFS was not running, kept a copy of it and restored it from the LTX files"
const REPLAYED = "info: replayed transactions"
const INSERT = "INSERT INTO t(a) VALUES(hex(randomblob(200)))"
/** After what the LTX files of a fixture say of their time. */
const LATER = Date.now() / 1000 + 3600
const EARLIER = 1_000_000

function recover(directory: DataDirectory) {
  const log = new RecordedLog()
  const state = recoverDatabase("app.db", new DataDir(directory.root), log.logger)
  return { state, log }
}

function stopCleanly(directory: DataDirectory, database: DatabaseFixture): void {
  const { state } = recover(directory)
  const file = new BackedFile("database", database.path("database"))
  file.open()
  saveCleanState(new DataDir(directory.root), "app.db", file, state)
  file.close()
}

/** Writes to the file as another program: the bytes of `pgno` are others then. Returns what the file then is. */
function writeOutside(database: DatabaseFixture, pgno: number, atS = LATER): Uint8Array {
  database.flip((pgno - 1) * PAGE_SIZE + 200, "database")
  utimesSync(database.path("database"), atS, atS)
  return database.read("database")
}

function keptFiles(database: DatabaseFixture): Uint8Array[] {
  return readdirSync(database.path())
    .filter((name) => /^database\.changed-\d+$/.test(name))
    .map((name) => readFileSync(database.path(name)))
}

/** The page that the last transaction has written, and that is no page 1. */
function lastPage(database: DatabaseFixture): number {
  return database.read("database").length / PAGE_SIZE
}

describe("recoverDatabase() of a file that was written from outside", () => {
  test("recoverDatabase() keeps the file before it returns to the log, after a clean stop", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const image = database.read("database")
    stopCleanly(directory, database)
    const changed = writeOutside(database, lastPage(database), EARLIER)
    const { state, log } = recover(directory)
    expect(log.lines).toEqual([KEPT, REPLAYED])
    expect(log.fields[0]).toMatchObject({
      db: "app.db",
      file: expect.stringContaining("database.changed-"),
    })
    expect(keptFiles(database).map((bytes) => Buffer.compare(bytes, changed))).toEqual([0])
    expect(Buffer.compare(database.read("database"), image)).toBe(0)
    expect(state.pos.checksum).toBe(imageChecksum(image, PAGE_SIZE))
    expect(recover(directory).log.lines).toEqual([])
  })

  test("recoverDatabase() keeps an older copy of the file, too, after a clean stop", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 3)
    const old = database.read("database")
    database.commit(INSERT)
    database.save()
    stopCleanly(directory, database)
    rmSync(database.path("synced")) // so that the log can mend it
    writeFileSync(database.path("database"), old)
    const { log } = recover(directory)
    expect(log.lines).toEqual([KEPT, REPLAYED])
    expect(keptFiles(database).map((bytes) => Buffer.compare(bytes, old))).toEqual([0])
  })

  test("recoverDatabase() is content with a file that was only touched", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    stopCleanly(directory, database)
    utimesSync(database.path("database"), LATER, LATER)
    const { state, log } = recover(directory)
    expect(log.lines).toEqual([])
    expect(state.pos.txid).toBe(4n)
  })

  test.each(["a clean stop", "a kill"])(
    "recoverDatabase() reads no hole of a file that was made longer, after %s",
    (end) => {
      using directory = new DataDirectory()
      const database = directory.database()
      if (end === "a clean stop") stopCleanly(directory, database)
      const before = database.read("database")
      const file = database.path("database")
      truncateSync(file, 1024 ** 4) // 2^31 pages, which no memory holds
      utimesSync(file, LATER, LATER)
      const { state } = recover(directory)
      expect(state?.pos.txid).toBe(4n)
      expect(statSync(file).size).toBe(before.length)
      expect(keptFiles(database)).toEqual([])
    },
  )

  test("recoverDatabase() refuses, and says why, what the log cannot mend after a clean stop", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    stopCleanly(directory, database)
    for (const txid of [1, 2, 3]) rmSync(database.ltxPath(txid))
    const changed = writeOutside(database, 3)
    expect(() => recover(directory)).toThrow(
      /expected at TXID 0{15}4; its file was written to while LiteFS was not running: copy it to keep what was written, and see litefs doctor$/,
    )
    expect(Buffer.compare(database.read("database"), changed)).toBe(0)
  })

  test("recoverDatabase() keeps the file after a kill, by its time", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const image = database.read("database")
    writeSynced(database.path("synced"), 3n)
    const changed = writeOutside(database, lastPage(database))
    const { log } = recover(directory)
    expect(log.lines).toEqual([KEPT, REPLAYED])
    expect(keptFiles(database).map((bytes) => Buffer.compare(bytes, changed))).toEqual([0])
    expect(Buffer.compare(database.read("database"), image)).toBe(0)
  })

  test("recoverDatabase() sets aside a file that was put in the place of a database that was dropped", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const put = database.read("database")
    put[700] = 1 + (put[700] as number)
    database.capture(new Uint8Array(0))
    writeFileSync(database.path("database"), put)
    const { state, log } = recover(directory)
    expect(log.lines).toEqual([
      "warn: set aside a database file that is not the one that was dropped, import it to use it",
    ])
    expect(state).toMatchObject({ commit: 0, pos: { txid: 5n } })
    expect(keptFiles(database).map((bytes) => Buffer.compare(bytes, put))).toEqual([0])
  })

  test("recoverDatabase() removes what a crash has left of a database that was dropped, with its WAL", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 4, "wal")
    database.capture(new Uint8Array(0))
    expect(recover(directory).log.lines).not.toContain(
      "warn: set aside a database file that is not the one that was dropped, import it to use it",
    )
    expect(keptFiles(database)).toEqual([])
  })

  test("recoverDatabase() sets aside the WAL of a client that has opened the file itself", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    writeFileSync(database.path("database-wal"), "transactions")
    expect(recover(directory).log.lines).toEqual([
      "warn: set aside a file that a SQLite client left beside the database file, LiteFS has no transaction of it",
    ])
    const names = readdirSync(database.path()).filter((name) => name.startsWith("database-wal"))
    expect(names).toEqual([expect.stringMatching(/^database-wal\.changed-\d+$/)])
    expect(recover(directory).log.lines).toEqual([])
  })

  test("recoverDatabase() keeps transactions of the file that are in no LTX file", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    database.commit(INSERT)
    database.save()
    writeSynced(database.path("synced"), 5n)
    const newer = database.read("database")
    rmSync(database.ltxPath(5))
    try {
      recover(directory)
    } catch {
      // Where the log does not cover all of it. Then nothing has changed.
      expect(Buffer.compare(database.read("database"), newer)).toBe(0)
      return
    }
    expect(keptFiles(database).map((bytes) => Buffer.compare(bytes, newer))).toEqual([0])
  })
})

/** The journal of a transaction that has not come to its end. */
function interrupted(database: DatabaseFixture, sql: string): Uint8Array {
  database.sqlite.run(`PRAGMA cache_size=1; BEGIN; ${sql}`)
  database.save()
  const journal = database.read("journal")
  database.sqlite.run("ROLLBACK")
  return journal
}

describe("recoverDatabase() of a file as a crash leaves it", () => {
  test("recoverDatabase() keeps nothing of a file that is at an older transaction, whatever its time", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    for (let count = 0; count < 3; count++) database.commit(INSERT)
    writeSynced(database.path("synced"), 4n)
    for (const txid of [1, 2, 3]) rmSync(database.ltxPath(txid)) // as retention does
    utimesSync(database.path("database"), LATER, LATER)
    const { state, log } = recover(directory)
    expect(state.pos.txid).toBe(7n)
    expect(log.lines).toEqual([REPLAYED])
    expect(keptFiles(database)).toEqual([])
  })

  test("recoverDatabase() keeps nothing of a file that has pages of several transactions", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const old = database.read("database")
    database.commit("UPDATE t SET a = hex(randomblob(200))")
    database.save()
    const mixed = database.read("database")
    mixed.set(old.subarray(PAGE_SIZE, 3 * PAGE_SIZE), PAGE_SIZE)
    writeFileSync(database.path("database"), mixed)
    utimesSync(database.path("database"), LATER, LATER)
    writeSynced(database.path("synced"), 4n)
    const { log } = recover(directory)
    expect(log.lines).toEqual([REPLAYED])
    expect(keptFiles(database)).toEqual([])
  })

  test("recoverDatabase() keeps nothing of a file whose old pages only the journal has", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const old = database.read("database")
    database.sqlite.run("PRAGMA cache_size=2; BEGIN; UPDATE t SET a = hex(randomblob(200))")
    database.save()
    const journal = database.read("journal")
    database.sqlite.run("COMMIT")
    database.capture()
    database.save()
    const mixed = database.read("database")
    mixed.set(old.subarray(PAGE_SIZE, 3 * PAGE_SIZE), PAGE_SIZE)
    writeFileSync(database.path("database"), mixed)
    writeFileSync(database.path("journal"), journal)
    utimesSync(database.path("database"), LATER, LATER)
    writeSynced(database.path("synced"), 4n)
    for (const txid of [1, 2, 3, 4]) rmSync(database.ltxPath(txid))
    const { log } = recover(directory)
    expect(log.lines).toEqual([REPLAYED])
    expect(keptFiles(database)).toEqual([])
  })

  test("recoverDatabase() keeps nothing of a file with pages older than the log, by its time", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const old = database.read("database")
    database.commit("UPDATE t SET a = hex(randomblob(200))")
    database.save()
    const mixed = database.read("database")
    mixed.set(old.subarray(PAGE_SIZE, 3 * PAGE_SIZE), PAGE_SIZE)
    writeFileSync(database.path("database"), mixed)
    writeSynced(database.path("synced"), 4n)
    for (const txid of [1, 2, 3, 4]) rmSync(database.ltxPath(txid))
    const { log } = recover(directory)
    expect(log.lines).toEqual([REPLAYED])
    expect(keptFiles(database)).toEqual([])
  })

  test("recoverDatabase() keeps what rolling a journal back would take away", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const image = database.read("database")
    const journal = interrupted(database, "UPDATE t SET a = hex(randomblob(200))")
    const spilled = database.read("database")
    writeFileSync(database.path("journal"), journal)
    writeSynced(database.path("synced"), 4n)
    for (const txid of [1, 2, 3]) rmSync(database.ltxPath(txid))
    expect(Buffer.compare(spilled, image)).not.toBe(0)
    expect(recover(directory).log.lines[0]).toBe("info: rolled back") // as after a kill
    expect(keptFiles(database)).toEqual([])

    const changed = writeOutside(database, 3)
    writeFileSync(database.path("journal"), journal)
    expect(recover(directory).log.lines.slice(0, 2)).toEqual([KEPT, "info: rolled back"])
    expect(keptFiles(database).map((bytes) => Buffer.compare(bytes, changed))).toEqual([0])
    expect(Buffer.compare(database.read("database"), image)).toBe(0)
  })

  test("recoverDatabase() keeps nothing of a large transaction, which is written long after its journal", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const image = database.read("database")
    const journal = interrupted(database, "UPDATE t SET a = hex(randomblob(200))")
    writeFileSync(database.path("journal"), journal)
    writeSynced(database.path("synced"), 4n)
    for (const txid of [1, 2, 3]) rmSync(database.ltxPath(txid))

    const dataDir = new DataDir(directory.root)
    const file = dataDir.databaseFile("app.db")
    file.create()
    file.writeBytes(database.read("database").subarray(PAGE_SIZE), PAGE_SIZE)
    file.close()
    for (const path of [database.path("database"), dataDir.writtenPath("app.db")])
      utimesSync(path, LATER, LATER)
    expect(recover(directory).log.lines[0]).toBe("info: rolled back")
    expect(keptFiles(database)).toEqual([])
    expect(Buffer.compare(database.read("database"), image)).toBe(0)
  })

  test("recoverDatabase() rolls no journal back when that does not help", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const journal = interrupted(database, "UPDATE t SET a = hex(randomblob(200)) WHERE id <= 2")
    const other = Buffer.concat([
      database.sqlite.read().subarray(0, PAGE_SIZE),
      Buffer.alloc(40 * PAGE_SIZE, 3),
    ])
    writeFileSync(database.path("database"), other)
    writeFileSync(database.path("journal"), journal)
    writeSynced(database.path("synced"), 4n)
    for (const txid of [1, 2, 3]) rmSync(database.ltxPath(txid))
    const before = directory.content
    for (let attempt = 0; attempt < 2; attempt++) {
      expect(() => recover(directory)).toThrow(/its pages sum to/)
      expect(directory.content).toEqual(before)
    }
  })
})
