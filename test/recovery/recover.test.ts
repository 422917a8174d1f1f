import { describe, expect, test } from "bun:test"
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { Crc64 } from "../../src/lib/codecs/crc64.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { saveCleanState } from "../../src/recovery/clean-stop.ts"
import { recoverDatabase, recoverDatabases } from "../../src/recovery/recover.ts"
import { BackedFile } from "../../src/store/backed-file.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { Positions } from "../../src/store/positions.ts"
import { readSynced, writeSynced } from "../../src/store/synced.ts"
import { closeFile, openFile } from "../../src/sys/file.ts"
import { emptyStatus, statusOf } from "../../src/sys/file-status.ts"
import { withByte } from "../support/bytes.ts"
import { imageChecksum } from "../support/captured-database.ts"
import {
  type DatabaseFixture,
  DataDirectory,
  FIXTURE_PAGE_SIZE as PAGE_SIZE,
} from "../support/data-directory.ts"
import { hotJournal } from "../support/hot-journal.ts"
import { ltxFile } from "../support/ltx-file.ts"
import { RecordedLog } from "../support/recorded-log.ts"
import { SqliteFiles } from "../support/sqlite-files.ts"

const WAL_SET_ASIDE =
  "warn: set aside a WAL that does not end where the log does: it is torn, or has commits that are in no LTX file"
const INSERT = "INSERT INTO t(a) VALUES(hex(randomblob(200)))"

function recover(directory: DataDirectory, name = "app.db") {
  const log = new RecordedLog()
  const state = recoverDatabase(name, new DataDir(directory.root), log.logger)
  return { state, log }
}

/** What SQLite has in the database now. */
function imageOf(database: DatabaseFixture): Uint8Array {
  return database.sqlite.database.serialize()
}

/** A database at the given image and TXID, with nothing left of side files. */
function expectAt(
  database: DatabaseFixture,
  image: Uint8Array,
  txid: number,
  found: ReturnType<typeof recover>,
) {
  expect(Buffer.compare(database.read("database"), image)).toBe(0)
  expect(found.state.pos).toEqual({ txid: BigInt(txid), checksum: imageChecksum(image, PAGE_SIZE) })
  expect(found.state.sums.total).toBe(found.state.pos.checksum)
  expect(found.state).toMatchObject({ pageSize: PAGE_SIZE, commit: image.length / PAGE_SIZE })
  for (const name of ["wal", "shm", "journal"]) expect(existsSync(database.path(name))).toBe(false)
}

describe("recoverDatabase()", () => {
  test.each(["delete", "wal"] as const)(
    "recoverDatabase() finds a database in %s mode where it was",
    (mode) => {
      using directory = new DataDirectory()
      const database = directory.database("app.db", 4, mode)
      const image = imageOf(database)
      writeFileSync(database.path("shm"), "of a dead client")
      expectAt(database, image, 4, recover(directory))
      expectAt(database, image, 4, recover(directory)) // again
    },
  )

  test.each([
    ["rolls back a hot journal when the log does not lead there", 4, "info: rolled back"],
    ["does without a hot journal when the log has everything", 0, "info: replayed transactions"],
  ])("recoverDatabase() %s", (_, synced, line) => {
    using directory = new DataDirectory()
    const database = directory.database()
    const image = imageOf(database)
    database.sqlite.run("PRAGMA cache_size=5; BEGIN")
    for (let i = 0; i < 30; i++) database.sqlite.run(INSERT)
    database.sqlite.run("UPDATE t SET a = hex(randomblob(200))")
    database.save()
    expect(Buffer.compare(database.read("database"), image)).not.toBe(0)
    if (synced > 0) {
      writeSynced(database.path("synced"), BigInt(synced))
      for (let txid = 1; txid < synced; txid++) rmSync(database.ltxPath(txid)) // as retention does
    }
    const found = recover(directory)
    expectAt(database, image, 4, found)
    expect(found.log.lines).toEqual([line])
    database.sqlite.run("ROLLBACK")
  })

  test("recoverDatabase() rolls back a hot journal also when the log that it would replay is damaged", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const image = imageOf(database)
    database.sqlite.run("PRAGMA cache_size=5; BEGIN")
    for (let i = 0; i < 30; i++) database.sqlite.run(INSERT)
    database.sqlite.run("UPDATE t SET a = hex(randomblob(200))")
    database.save()
    database.sqlite.run("ROLLBACK")
    writeSynced(database.path("synced"), 1n)
    database.flip(200, "ltx", "0000000000000003-0000000000000003.ltx")
    const found = recover(directory)
    expectAt(database, image, 4, found)
    expect(found.log.lines).toEqual(["info: rolled back"])
  })

  test("recoverDatabase() removes what nobody goes on with, and nothing else", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const strange = ["snapshot-x", "notes", "database.tmp"]
    for (const name of ["snapshot-12", "synced.tmp", "checksums.tmp", ...strange]) {
      writeFileSync(database.path(name), "left behind")
    }
    expectAt(database, imageOf(database), 4, recover(directory))
    expect(readdirSync(database.path()).sort()).toEqual(["database", "ltx", ...strange].sort())
  })

  test("recoverDatabase() removes a journal that is not hot", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    writeFileSync(database.path("journal"), new Uint8Array(2000)) // PERSIST
    expectAt(database, imageOf(database), 4, recover(directory))
  })

  test.each([
    ["from the snapshot on", 0],
    ["from what was synced on", 4],
    ["from what was synced on, as far as it is known", 2],
  ])("recoverDatabase() replays transactions that are not in the file, %s", (_, synced) => {
    using directory = new DataDirectory()
    const database = directory.database()
    for (let i = 0; i < 3; i++) database.commit(INSERT)
    database.commit("DELETE FROM t WHERE id > 2")
    database.sqlite.run("VACUUM")
    database.capture()
    const dataDir = new DataDir(directory.root)
    if (synced > 0) writeSynced(dataDir.syncedPath("app.db"), BigInt(synced))
    if (synced === 4) rmSync(database.ltxPath(1)) // as retention may
    const found = recover(directory)
    expectAt(database, imageOf(database), 9, found)
    expect(found.log.lines).toEqual(["info: replayed transactions"])
    expect(found.log.fields[0]).toMatchObject({ files: 9 - synced })
    expect(readSynced(dataDir.syncedPath("app.db"))).toBe(9n)
  })

  test("recoverDatabase() makes a database whose file is gone, or torn, from its log", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const image = imageOf(database)
    rmSync(database.path("database"))
    expectAt(database, image, 4, recover(directory))
    database.flip(700, "database")
    database.flip(image.length - 1, "database")
    rmSync(database.path("synced"))
    expectAt(database, image, 4, recover(directory))
    truncateSync(database.path("database"), 100)
    rmSync(database.path("synced"))
    expectAt(database, image, 4, recover(directory))
  })

  test("recoverDatabase() replays a change of the page size", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const other = new SqliteFiles("page_size=1024")
    using _ = other
    other.run("CREATE TABLE t(a); INSERT INTO t VALUES(1)")
    const image = other.read()
    // The database that is replaced has pages of another size, and more of them.
    writePageSizeChange(database, image, 1024)
    const found = recover(directory)
    expect(Buffer.compare(database.read("database"), image)).toBe(0)
    expect(found.state).toMatchObject({ pageSize: 1024, commit: 2 })
  })

  // The checksum of a database is the same when pages have changed places.
  test("recoverDatabase() replays a transaction that has pages change places", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 6)
    const image = imageOf(database).slice()
    const [first, second] = [2 * PAGE_SIZE, 3 * PAGE_SIZE]
    image.copyWithin(first, second, second + PAGE_SIZE)
    image.set(imageOf(database).subarray(first, first + PAGE_SIZE), second)
    expect(Buffer.compare(image, imageOf(database))).not.toBe(0)
    expect(imageChecksum(image, PAGE_SIZE)).toBe(imageChecksum(imageOf(database), PAGE_SIZE))
    database.capture(image)
    expectAt(database, image, 7, recover(directory))
  })

  test.each([
    [
      "replays the log also when the WAL has what the file lacks",
      ["info: replayed transactions"],
      (_path: string) => {},
    ],
    ["replays the log without a WAL", ["info: replayed transactions"], rmSync],
    [
      "replays the log when the WAL is torn",
      ["info: replayed transactions", WAL_SET_ASIDE],
      (path: string) => truncateSync(path, statSync(path).size - 100),
    ],
  ])("recoverDatabase() %s", (_, lines, spoil) => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 5, "wal")
    const image = imageOf(database)
    expect(existsSync(database.path("wal"))).toBe(true)
    spoil(database.path("wal"))
    const found = recover(directory)
    expectAt(database, image, 5, found)
    expect(found.log.lines).toEqual(lines)
  })

  test.each(["adds", "changes"])(
    "recoverDatabase() replays a transaction that %s two equal pages, which the checksum of all cannot tell",
    (what) => {
      using directory = new DataDirectory()
      const database = directory.database()
      const image = imageOf(database)
      const pages = (byte: number) => new Uint8Array(2 * PAGE_SIZE).fill(byte)
      if (what === "changes") {
        database.capture(Buffer.concat([image, pages(1)]))
        writeFileSync(database.path("database"), Buffer.concat([image, pages(1)]))
      }
      const wanted = Buffer.concat([image, pages(2)])
      database.capture(wanted)
      const before = Buffer.concat([image, pages(what === "changes" ? 1 : 0)])
      expect(imageChecksum(before, PAGE_SIZE)).toBe(imageChecksum(wanted, PAGE_SIZE))
      expectAt(database, wanted, Number(database.txid), recover(directory))
    },
  )

  // Its pages are not in the log that is replayed, and page 1 changes only at the end of a transaction.
  test.each(["changes equally", "has change places"])(
    "recoverDatabase() rolls back a transaction that %s two pages, which the checksum of all cannot tell",
    (what) => {
      using directory = new DataDirectory()
      const database = directory.database()
      const first = imageOf(database).length / PAGE_SIZE + 1
      const pages = (...bytes: number[]) =>
        bytes.map((byte) => new Uint8Array(PAGE_SIZE).fill(byte))
      const isEqual = what === "changes equally"
      const before = pages(...(isEqual ? [1, 1] : [1, 2]))
      const after = pages(...(isEqual ? [3, 3] : [2, 1]))
      database.capture(Buffer.concat([imageOf(database), ...before]))
      const image = Buffer.concat([imageOf(database), ...before])
      image[99] = (image[99] as number) + 1
      database.capture(image)
      const spilled = Buffer.concat([image.subarray(0, -2 * PAGE_SIZE), ...after])
      expect(imageChecksum(spilled, PAGE_SIZE)).toBe(imageChecksum(image, PAGE_SIZE))
      writeFileSync(database.path("database"), spilled)
      writeFileSync(
        database.path("journal"),
        hotJournal(first + 1, new Map(before.map((page, index) => [first + index, page]))),
      )
      writeSynced(database.path("synced"), database.txid)
      const found = recover(directory)
      expectAt(database, image, Number(database.txid), found)
      expect(found.log.lines).toEqual(["info: rolled back"])
    },
  )

  test("recoverDatabase() replays what a power cut has left out, after it has rolled back what the checksum cannot tell", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const first = imageOf(database).length / PAGE_SIZE + 1
    const pages = (byte: number) => new Uint8Array(2 * PAGE_SIZE).fill(byte)
    database.capture(Buffer.concat([imageOf(database), pages(1)]))
    const image = Buffer.concat([imageOf(database), pages(1)])
    image[99] = (image[99] as number) + 1
    database.capture(image)
    writeFileSync(database.path("database"), Buffer.concat([imageOf(database), pages(3)]))
    const before = pages(1).subarray(PAGE_SIZE)
    const journal = hotJournal(
      first + 1,
      new Map([
        [first, before],
        [first + 1, before],
      ]),
    )
    writeFileSync(database.path("journal"), journal)
    writeSynced(database.path("synced"), database.txid - 1n)
    expectAt(database, image, Number(database.txid), recover(directory))
  })

  test("recoverDatabase() leaves out a journal that would take back what is committed", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const image = imageOf(database)
    const torn = new Uint8Array(PAGE_SIZE).fill(7)
    writeFileSync(
      database.path("journal"),
      hotJournal(
        4,
        new Map([
          [3, torn],
          [4, torn],
        ]),
      ),
    )
    writeSynced(database.path("synced"), 4n)
    const found = recover(directory)
    expectAt(database, image, 4, found)
    expect(found.log.lines).toEqual([])
  })

  test("recoverDatabase() copies from the WAL up to the right one of two commits that have the same checksum", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 3, "wal")
    const content = (digit: number) => `replace(hex(zeroblob(200)), '0', '${digit}')`
    database.commit(`CREATE TABLE e(a); INSERT INTO e VALUES(${content(1)}), (${content(1)})`)
    const before = imageOf(database)
    database.commit(`UPDATE e SET a = ${content(2)}`)
    expect(imageChecksum(before, PAGE_SIZE)).toBe(imageChecksum(imageOf(database), PAGE_SIZE))
    database.save()
    for (const txid of [1, 2, 3]) rmSync(database.ltxPath(txid))
    expectAt(database, imageOf(database), 5, recover(directory))
  })

  test("recoverDatabase() takes a file that has its checksum, though a file of the log is damaged", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    database.flip(150, "ltx", "0000000000000002-0000000000000002.ltx")
    expectAt(database, imageOf(database), 4, recover(directory))
  })

  test("recoverDatabase() cuts a file that is longer than its last transaction", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    appendFileSync(database.path("database"), new Uint8Array(3 * PAGE_SIZE))
    expectAt(database, imageOf(database), 4, recover(directory))
  })

  test("recoverDatabase() sets aside a torn last LTX file, whose transaction was never acknowledged", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const image = imageOf(database)
    database.commit(INSERT)
    truncateSync(database.ltxPath(5), 150)
    const found = recover(directory)
    expectAt(database, image, 4, found)
    expect(found.log.lines).toEqual([
      "warn: set aside the last LTX file, which was torn by a crash",
    ])
    const names = readdirSync(database.path("ltx")).sort()
    expect(names.length).toBe(5)
    expect(names[4]).toMatch(/^0{15}5-0{15}5\.ltx\.torn-\d+$/)
  })

  test("recoverDatabase() sets aside a torn first LTX file", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 1)
    truncateSync(database.ltxPath(1), 50)
    const found = recover(directory)
    // What the file has is all there is, and becomes the first transaction.
    const image = imageOf(database)
    expect(found.state.pos).toEqual({ txid: 1n, checksum: imageChecksum(image, PAGE_SIZE) })
    expect(readdirSync(database.path("ltx")).sort()).toEqual([
      expect.stringMatching(/1\.ltx$/),
      expect.stringMatching(/\.ltx\.torn-\d+$/),
    ])
  })

  test("recoverDatabase() undoes in the file what a torn transaction had written to it", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const image = imageOf(database)
    database.commit(INSERT)
    database.save() // the file has it
    truncateSync(database.ltxPath(5), 150)
    expectAt(database, image, 4, recover(directory))
  })

  test("recoverDatabase() knows a database that was dropped, and removes what is left of its file", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    database.capture(new Uint8Array(0))
    const found = recover(directory)
    expect(existsSync(database.path("database"))).toBe(false)
    expect(found.state).toMatchObject({ commit: 0, pos: { txid: 5n } })
  })

  test("recoverDatabase() takes a database that somebody put there without a log", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    rmSync(database.path("ltx"), { recursive: true })
    const found = recover(directory)
    expectAt(database, imageOf(database), 1, found) // all of it is its first transaction
    expect(existsSync(database.path("ltx"))).toBe(true)
  })

  test("recoverDatabase() takes what the WAL holds of a database without a log", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 3, "wal")
    rmSync(database.path("ltx"), { recursive: true })
    recover(directory)
    expect(Buffer.compare(database.read("database"), imageOf(database))).toBe(0)
    expect(existsSync(database.path("wal"))).toBe(false)
  })

  test("recoverDatabase() makes an empty directory a database without content", () => {
    using directory = new DataDirectory()
    mkdirSync(`${directory.root}/dbs/new.db`)
    expect(recover(directory, "new.db").state.pos.txid).toBe(0n)
  })

  test("recoverDatabase() copies from the WAL what retention of the original left there alone", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 5, "wal")
    for (const txid of [1, 2, 3]) rmSync(database.ltxPath(txid))
    const found = recover(directory)
    expectAt(database, imageOf(database), 5, found)
    expect(found.log.lines).toEqual(["info: copied pages from the WAL that are in no LTX file"])
  })

  test("recoverDatabase() replays a log that does not begin at a known place, whatever an older WAL holds", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 3, "wal")
    const wal = database.read("wal") // up to the third transaction
    database.commit("UPDATE t SET a = 'changed' WHERE id = 1")
    database.sqlite.run("PRAGMA wal_checkpoint(TRUNCATE)")
    database.save()
    const atFour = database.read("database")
    database.commit("INSERT INTO t(a) VALUES('in the log alone')")
    for (const txid of [1, 2, 3, 4]) rmSync(database.ltxPath(txid))
    writeFileSync(database.path("database"), atFour)
    writeFileSync(database.path("wal"), wal)
    expectAt(database, imageOf(database), 5, recover(directory))
  })

  test("recoverDatabase() sets aside a WAL with commits that are in no LTX file", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 3, "wal")
    const image = imageOf(database)
    database.sqlite.run(INSERT) // not captured
    database.save()
    const found = recover(directory)
    expectAt(database, image, 3, found)
    expect(found.log.lines.at(-1)).toBe(WAL_SET_ASIDE)
    expect(readdirSync(database.path()).some((name) => /^wal\.removed-\d+$/.test(name))).toBe(true)
  })
})

/** Adds the LTX file of a database of another page size, which holds every page. */
function writePageSizeChange(database: DatabaseFixture, image: Uint8Array, pageSize: number): void {
  const pages = Array.from({ length: image.length / pageSize }, (_, index) => ({
    pgno: index + 1,
    data: image.subarray(index * pageSize, (index + 1) * pageSize),
  }))
  database.txid += 1n
  const header = {
    minTxid: database.txid,
    maxTxid: database.txid,
    preApplyChecksum: imageChecksum(imageOf(database), PAGE_SIZE),
  }
  const bytes = ltxFile({ header, pages, postApplyChecksum: imageChecksum(image, pageSize) })
  writeFileSync(database.ltxPath(Number(database.txid)), bytes)
}

describe("recoverDatabase() of damage", () => {
  /** What is in the directory is the same after a recovery that failed, however often. */
  function expectRefused(directory: DataDirectory, problem: RegExp): void {
    const before = directory.content
    for (let attempt = 0; attempt < 2; attempt++) {
      expect(() => recover(directory)).toThrow(problem)
      expect(directory.content).toEqual(before)
    }
  }

  test("recoverDatabase() refuses a file that is not a database and has no log", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    rmSync(database.path("ltx"), { recursive: true })
    mkdirSync(database.path("ltx"))
    writeFileSync(database.path("database"), "not a database, and not empty either")
    expectRefused(directory, /its file is not a SQLite database and it has no LTX files/)
  })

  test("recoverDatabase() refuses a log with a gap that the file does not bridge", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    database.commit(INSERT)
    database.commit(INSERT)
    rmSync(database.ltxPath(5))
    expectRefused(directory, /its pages sum to [0-9a-f]{16}, [0-9a-f]{16} expected at TXID 0{15}6/)
  })

  test("recoverDatabase() refuses two damaged files at the end, also at the next start", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 6)
    truncateSync(database.ltxPath(6), 150)
    database.flip(200, "ltx", "0000000000000005-0000000000000005.ltx")
    expectRefused(directory, /Cannot/)
  })

  test("recoverDatabase() refuses a damaged file that has to be replayed", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    for (let i = 0; i < 3; i++) database.commit(INSERT)
    database.flip(200, "ltx", "0000000000000006-0000000000000006.ltx")
    writeSynced(database.path("synced"), 4n)
    expectRefused(directory, /Cannot/)
  })

  test("recoverDatabase() refuses a file that was changed below what is synced", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    writeSynced(database.path("synced"), 4n)
    database.flip(3 * PAGE_SIZE, "database")
    expectRefused(directory, /its pages sum to/)
  })

  test("recoverDatabases() goes on with the others, and publishes their positions", () => {
    using directory = new DataDirectory()
    directory.database("a.db", 2)
    const broken = directory.database("b.db", 4)
    directory.database("c.db", 3)
    writeSynced(broken.path("synced"), 4n)
    broken.flip(3 * PAGE_SIZE, "database")
    const log = new RecordedLog()
    const positions = Positions.create()
    const found = recoverDatabases(new DataDir(directory.root), positions, log.logger)
    expect([...found].map(([name, state]) => [name, state?.pos.txid])).toEqual([
      ["a.db", 2n],
      ["b.db", undefined],
      ["c.db", 3n],
    ])
    expect(log.lines).toEqual(["error: database is unavailable, its files are left as they are"])
    expect(positions.find("b.db")).toBeUndefined()
    const slot = positions.find("c.db") ?? -1
    expect(positions.read(slot)).toMatchObject({ pos: { txid: 3n }, stored: { txid: 3n } })
  })
})

describe("recoverDatabase() after a clean stop", () => {
  /** Recovers and stops cleanly. */
  function stopCleanly(directory: DataDirectory, database: DatabaseFixture): void {
    const { state } = recover(directory)
    const file = new BackedFile("database", database.path("database"))
    file.open()
    saveCleanState(new DataDir(directory.root), "app.db", file, state)
    file.close()
  }

  test("recoverDatabase() believes the saved sums, and does not look at the pages", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    stopCleanly(directory, database)
    expect(readSynced(database.path("synced"))).toBe(4n)
    // A page that is changed without a trace shows that nobody looks.
    const path = database.path("database")
    const file = new BackedFile("database", path)
    file.open()
    const { mtime, atime } = statSync(path)
    const image = database.read("database")
    database.flip(3 * PAGE_SIZE, "database")
    utimesSync(path, atime, mtime)
    saveAgain(database)
    file.close()
    const { state, log } = recover(directory)
    expect(state.pos).toEqual({ txid: 4n, checksum: imageChecksum(image, PAGE_SIZE) })
    expect(state.sums.total).toBe(state.pos.checksum)
    expect(log.lines).toEqual([])
    expect(existsSync(database.path("checksums"))).toBe(false) // they are good for one start
  })

  /** The mtime that is in the saved sums is that of the file now. */
  function saveAgain(database: DatabaseFixture): void {
    const bytes = database.read("checksums")
    const status = emptyStatus()
    const fd = openFile("test", database.path("database"), 0)
    statusOf("test", fd, status)
    closeFile(fd)
    const view = new DataView(bytes.buffer)
    view.setFloat64(40, status.modifiedMs)
    view.setBigUint64(48, new Crc64().update(bytes, 0, 48).update(bytes, 56).digest())
    writeFileSync(database.path("checksums"), bytes)
  }

  test.each<[string, (database: DatabaseFixture) => void]>([
    ["was written since", (database) => database.flip(3 * PAGE_SIZE, "database")],
    ["is longer", (database) => database.append("x", "database")],
    ["has another time", (database) => utimesSync(database.path("database"), 5, 5)],
    ["is gone", (database) => rmSync(database.path("database"))],
  ])("recoverDatabase() does not believe saved sums of a file that %s", (_, change) => {
    using directory = new DataDirectory()
    const database = directory.database()
    stopCleanly(directory, database)
    change(database)
    rmSync(database.path("synced")) // so that the log can mend it
    expectAt(database, imageOf(database), 4, recover(directory))
  })

  test("recoverDatabase() does not believe saved sums with any byte that is another", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 1)
    stopCleanly(directory, database)
    const saved = database.read("checksums")
    for (let at = 0; at < saved.length; at++) {
      writeFileSync(database.path("checksums"), withByte(saved, at, (saved[at] as number) ^ 0x40))
      expectAt(database, imageOf(database), 1, recover(directory))
    }
    for (const size of [0, 10, 56, saved.length - 1]) {
      writeFileSync(database.path("checksums"), saved.subarray(0, size))
      expectAt(database, imageOf(database), 1, recover(directory))
    }
  })

  test("recoverDatabase() does not believe sums of another position", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    stopCleanly(directory, database)
    database.commit(INSERT)
    expectAt(database, imageOf(database), 5, recover(directory))
  })

  test("saveCleanState() saves nothing of a database without a transaction", () => {
    using directory = new DataDirectory()
    mkdirSync(`${directory.root}/dbs/app.db`)
    const { state } = recover(directory)
    const file = new BackedFile("database", `${directory.root}/dbs/app.db/database`)
    saveCleanState(new DataDir(directory.root), "app.db", file, state)
    expect(readdirSync(`${directory.root}/dbs/app.db`)).toEqual(["ltx"])
  })

  test("recoverDatabase() throws a LitefsError, which tells damage from a bug", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    rmSync(database.path("ltx"), { recursive: true })
    writeFileSync(database.path("database"), "no database")
    expect(() => recover(directory)).toThrow(LitefsError)
  })
  test("recoverDatabases() leaves a database out whose name no replica takes", () => {
    using directory = new DataDirectory()
    directory.database("a.db", 2)
    directory.database(".primary2", 2)
    directory.database("b.db-lock", 2)
    const log = new RecordedLog()
    const positions = Positions.create()
    const dataDir = new DataDir(directory.root)
    expect([...recoverDatabases(dataDir, positions, log.logger).keys()]).toEqual(["a.db"])
    expect(log.lines).toEqual([
      "error: a database is left out for its name, its files are left as they are",
    ])
    expect(dataDir.databaseNames()).toEqual(["a.db"])
  })
})
