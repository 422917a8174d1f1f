/** Starts after a kill on the page checksums of the running node: what they read, and when they read everything. */
import { describe, expect, test } from "bun:test"
import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { sumsOfFile } from "../../src/capture/file-sums.ts"
import { sharedState } from "../../src/capture/handover.ts"
import type { HistoryState } from "../../src/capture/history.ts"
import { systemClock } from "../../src/lib/clock.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { Turns } from "../../src/lib/turns.ts"
import { saveCleanState } from "../../src/recovery/clean-stop.ts"
import { copySums, KEPT_PAGES_MIN } from "../../src/recovery/kept-sums.ts"
import { type LastRun, recoverDatabase } from "../../src/recovery/recover.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { writeSynced } from "../../src/store/synced.ts"
import { imageChecksum } from "../support/captured-database.ts"
import {
  type DatabaseFixture,
  DataDirectory,
  FIXTURE_PAGE_SIZE as PAGE_SIZE,
} from "../support/data-directory.ts"
import { hotJournal } from "../support/hot-journal.ts"
import { testRandom } from "../support/random.ts"
import { RecordedLog } from "../support/recorded-log.ts"

const INSERT = "INSERT INTO t(a) VALUES(hex(randomblob(200)))"
const TRANSACTIONS = KEPT_PAGES_MIN + 6
const KILLED: LastRun = { isSameBoot: true }

function recover(directory: DataDirectory, lastRun: LastRun = KILLED): HistoryState {
  const { logger } = new RecordedLog()
  return recoverDatabase("app.db", new DataDir(directory.root), logger, lastRun)
}

/** A node runs on it, has its sums, and has written nothing yet. */
function running(mode: "delete" | "wal" = "delete"): DataDirectory & { app: DatabaseFixture } {
  const directory = new DataDirectory()
  const database = directory.database("app.db", TRANSACTIONS, mode)
  const state = recover(directory, { isSameBoot: false })
  expect(state.isBelieved).toBeUndefined()
  expect(existsSync(database.path("sums"))).toBe(true)
  return Object.assign(directory, { app: database })
}

const imageOf = (database: DatabaseFixture) => database.sqlite.database.serialize()

/** A transaction that is in the log, and of which the file gets these pages, as the node writes them. */
function commit(
  directory: DataDirectory & { app: DatabaseFixture },
  sql = INSERT,
  isWritten: (pgno: number) => boolean = () => true,
): void {
  const { app } = directory
  app.sqlite.database.run(sql)
  app.capture()
  const image = imageOf(app)
  const file = new DataDir(directory.root).databaseFile("app.db")
  for (let pgno = 1; pgno * PAGE_SIZE <= image.length; pgno++) {
    const page = image.slice((pgno - 1) * PAGE_SIZE, pgno * PAGE_SIZE)
    if (isWritten(pgno)) file.writeBytes(page, (pgno - 1) * PAGE_SIZE)
  }
  file.close()
}

/** A change that nothing tells, which shows whether a start looks. The first transaction has written the page. */
function changeUnseen(database: DatabaseFixture): void {
  const path = database.path("database")
  const { atime, mtime } = statSync(path)
  database.flip(9 * PAGE_SIZE + 300, "database")
  utimesSync(path, atime, mtime)
  sayUnchanged(database)
}

/** A time that was set again is rounded. */
function sayUnchanged(database: DatabaseFixture): void {
  const sums = database.read("sums")
  new DataView(sums.buffer).setFloat64(40, statSync(database.path("database")).mtimeMs)
  writeFileSync(database.path("sums"), sums)
}

function expectKept(directory: DataDirectory & { app: DatabaseFixture }, image: Uint8Array): void {
  const state = recover(directory)
  const checksum = imageChecksum(image, PAGE_SIZE)
  expect(state.pos).toEqual({ txid: directory.app.txid, checksum })
  expect(state.isBelieved).toBe(true)
  expectSums(state, image)
}

function expectSums({ sums }: HistoryState, image: Uint8Array): void {
  const source = {
    readAt: (offset: number, into: Uint8Array) => {
      into.set(image.subarray(offset, offset + into.length))
      return Math.min(into.length, image.length - offset)
    },
  }
  const expected = sumsOfFile(source, PAGE_SIZE, image.length / PAGE_SIZE)
  expect(sums.pageCount).toBe(expected.pageCount)
  for (let pgno = 1; pgno <= sums.pageCount; pgno++) {
    expect([pgno, ...sums.sumOf(pgno)]).toEqual([pgno, ...expected.sumOf(pgno)])
  }
}

/** It reads the file, and finds it as it should be. */
function expectRead(directory: DataDirectory & { app: DatabaseFixture }, lastRun = KILLED): void {
  const image = imageOf(directory.app)
  const state = recover(directory, lastRun)
  expect(state.isBelieved).toBeUndefined()
  expectSums(state, image)
  expect(Buffer.compare(directory.app.read("database"), image)).toBe(0)
}

describe("a start on kept sums", () => {
  test("reads no page that no LTX file has had since", () => {
    using directory = running()
    writeSynced(directory.app.path("synced"), directory.app.txid)
    changeUnseen(directory.app)
    expectKept(directory, imageOf(directory.app))
    expect(existsSync(directory.app.path("written"))).toBe(false)
  })

  test("adds the pages of the LTX files since, and writes those that the file lacks", () => {
    using directory = running()
    writeSynced(directory.app.path("synced"), directory.app.txid)
    commit(directory)
    commit(directory, "DELETE FROM t WHERE id > 60; VACUUM", (pgno) => pgno % 3 === 0)
    commit(directory, INSERT, () => false)
    const image = imageOf(directory.app)
    expectKept(directory, image)
    expect(Buffer.compare(directory.app.read("database"), image)).toBe(0)
    // The next one goes on with the same sums.
    commit(directory, INSERT)
    expectKept(directory, imageOf(directory.app))
  })

  test("goes on with the sums of a clean stop", () => {
    using directory = running()
    const { app } = directory
    const dataDir = new DataDir(directory.root)
    const file = dataDir.databaseFile("app.db")
    saveCleanState(dataDir, "app.db", file, recover(directory))
    expect(existsSync(app.path("sums"))).toBe(false)
    expect(recover(directory, { isSameBoot: false }).isBelieved).toBe(true)
    file.close()
    commit(directory)
    expectKept(directory, imageOf(app))
  })

  test("leads to the file that the log leads to, whatever part of it is written", () => {
    const random = testRandom()
    using directory = running()
    const { app } = directory
    for (let round = 0; round < 8; round++) {
      if (random.below(2) === 0) writeSynced(app.path("synced"), app.txid)
      for (let count = random.below(5); count > 0; count--) {
        const sql = random.pick([INSERT, INSERT, "DELETE FROM t WHERE id % 25 = 0", "VACUUM"])
        const [share, isWhole] = [random.below(4), random.below(2) === 0]
        commit(directory, sql, (pgno) => isWhole || (pgno + share) % 3 > 0)
      }
      const image = imageOf(app)
      expectKept(directory, image)
      expect(Buffer.compare(app.read("database"), image)).toBe(0)
    }
  }, 60_000)

  test("captures what a WAL has beyond the log", () => {
    using directory = running("wal")
    const { app } = directory
    const first = app.txid
    for (let count = 0; count < 3; count++) app.sqlite.database.run(INSERT)
    const [database, sums, wal] = [app.read("database"), app.read("sums"), app.sqlite.read("-wal")]
    const past = { nodeId: 0xf7c7212a4d420478n, isSameBoot: true }
    const files = [true, false].map((isSameBoot) => {
      writeFileSync(app.path("database"), database)
      writeFileSync(app.path("sums"), sums)
      if (isSameBoot) changeUnseen(app)
      writeSynced(app.path("synced"), first)
      writeFileSync(app.path("wal"), wal)
      const state = recover(directory, { isSameBoot, past })
      expect(state.pos.txid).toBe(first + 1n)
      expect(state.isBelieved).toBe(isSameBoot || undefined)
      expectSums(state, imageOf(app))
      const made = app.ltxPath(Number(first) + 1)
      const bytes = new Uint8Array(readFileSync(made)).subarray(100, -16) // without the time
      rmSync(made)
      return bytes
    })
    expect(files[0]).toEqual(files[1] as Uint8Array<ArrayBuffer>)
  })
})

describe("a start reads the whole file when", () => {
  test.each<[string, (directory: DataDirectory & { app: DatabaseFixture }) => void]>([
    ["somebody else has written to it", ({ app }) => utimesSync(app.path("database"), 5, 5)],
    [
      "somebody else has written to it after the node",
      (directory) => {
        commit(directory)
        const { mtimeMs } = statSync(directory.app.path("database"))
        utimesSync(directory.app.path("database"), mtimeMs / 1000 + 1, mtimeMs / 1000 + 1)
      },
    ],
    [
      "it may have pages of an unfinished transaction",
      (directory) => {
        commit(directory)
        const file = new DataDir(directory.root).databaseFile("app.db")
        file.halfWritten()
        file.writeBytes(imageOf(directory.app).slice(0, PAGE_SIZE), 0)
        file.close()
      },
    ],
    [
      "the word of the last write is not readable",
      ({ app }) => writeFileSync(app.path("written"), "x"),
    ],
    ["there are no sums", ({ app }) => rmSync(app.path("sums"))],
    [
      "the sums cannot be read",
      ({ app }) => {
        rmSync(app.path("sums"))
        mkdirSync(app.path("sums"))
      },
    ],
    [
      "the sums are cut off",
      ({ app }) => writeFileSync(app.path("sums"), app.read("sums").slice(0, -8)),
    ],
    ["a sum is another", ({ app }) => app.flip(56 + 80, "sums")],
    [
      "an LTX file since is gone",
      (directory) => {
        const { app } = directory
        commit(directory)
        commit(directory)
        writeSynced(app.path("synced"), app.txid)
        rmSync(app.ltxPath(Number(app.txid) - 1))
      },
    ],
    [
      "the log ends before them",
      ({ app }) => {
        const sums = app.read("sums")
        new DataView(sums.buffer).setBigUint64(8, app.txid + 5n)
        writeFileSync(app.path("sums"), sums)
      },
    ],
    [
      "they are of another history",
      ({ app }) => {
        const sums = app.read("sums")
        new DataView(sums.buffer).setBigUint64(8, app.txid - 1n)
        writeFileSync(app.path("sums"), sums)
      },
    ],
    [
      "a journal would put back what is not there now",
      ({ app }) => {
        writeSynced(app.path("synced"), app.txid)
        const image = imageOf(app)
        const page = image.slice(12 * PAGE_SIZE, 13 * PAGE_SIZE)
        const journal = hotJournal(image.length / PAGE_SIZE, new Map([[13, page]]))
        writeFileSync(app.path("journal"), journal)
        changeOne(app, 13)
      },
    ],
  ])("%s", (_, change) => {
    using directory = running()
    change(directory)
    expectRead(directory)
  })

  test("the machine was started anew", () => {
    using directory = running()
    commit(directory)
    expectRead(directory, { isSameBoot: false })
  })

  test("nothing of that is kept: it finds the damage", () => {
    using directory = running()
    writeSynced(directory.app.path("synced"), directory.app.txid)
    changeUnseen(directory.app)
    expect(() => recover(directory, { isSameBoot: false })).toThrow(LitefsError)
  })

  /** As a transaction leaves it that was written through, without another time. */
  function changeOne(database: DatabaseFixture, pgno: number): void {
    const path = database.path("database")
    const { atime, mtime } = statSync(path)
    database.flip((pgno - 1) * PAGE_SIZE + 200, "database")
    utimesSync(path, atime, mtime)
    sayUnchanged(database)
  }
})

describe("copySums()", () => {
  test("may copy sums that change meanwhile", async () => {
    using directory = running()
    const { app } = directory
    const state = recover(directory)
    const shared = sharedState(state)
    commit(directory)
    const image = imageOf(app)
    // The owner has taken this transaction along, but for one page of it.
    state.sums.resize(image.length / PAGE_SIZE)
    for (let pgno = 1; pgno < image.length / PAGE_SIZE; pgno++) {
      state.sums.setPage(pgno, image.subarray((pgno - 1) * PAGE_SIZE, pgno * PAGE_SIZE))
    }
    const words = state.sums.shared.words
    const turns = new Turns(systemClock)
    const changed = { ...shared, sums: { ...shared.sums, words } }
    const dataDir = new DataDir(directory.root)
    expect(await copySums(dataDir, "app.db", changed, turns, () => true)).toBe(true)
    expectKept(directory, image)
  })

  test("leaves the present ones when they are of another history by now", async () => {
    using directory = running()
    const shared = sharedState(recover(directory))
    const before = directory.app.read("sums")
    const dataDir = new DataDir(directory.root)
    expect(await copySums(dataDir, "app.db", shared, new Turns(systemClock), () => false)).toBe(
      false,
    )
    expect(directory.app.read("sums")).toEqual(before)
    expect(existsSync(directory.app.path("sums.tmp"))).toBe(false)
  })
})
