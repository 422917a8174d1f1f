/** A last LTX file that is not whole, and whose transaction the database has, or has not. */
import { describe, expect, test } from "bun:test"
import { existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { saveCleanState } from "../../src/recovery/clean-stop.ts"
import { recoverDatabase } from "../../src/recovery/recover.ts"
import { BackedFile } from "../../src/store/backed-file.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { readLtxFile } from "../../src/store/ltx/ltx-file.ts"
import { writeSynced } from "../../src/store/synced.ts"
import { imageChecksum } from "../support/captured-database.ts"
import {
  type DatabaseFixture,
  DataDirectory,
  FIXTURE_PAGE_SIZE as PAGE_SIZE,
} from "../support/data-directory.ts"
import { RecordedLog } from "../support/recorded-log.ts"

const MENDED =
  "warn: set aside the last LTX file, which is damaged: the database has its transaction"
const LAST = "0000000000000004-0000000000000004.ltx"

function recover(directory: DataDirectory) {
  const log = new RecordedLog()
  const state = recoverDatabase("app.db", new DataDir(directory.root), log.logger)
  return { state, log }
}

/** The database is whole at the image and TXID, and its log leads there from the transaction before. */
function expectMended(
  database: DatabaseFixture,
  image: Uint8Array,
  directory: DataDirectory,
): void {
  const { state, log } = recover(directory)
  expect(log.lines).toEqual([MENDED])
  const pos = { txid: 4n, checksum: imageChecksum(image, PAGE_SIZE) }
  expect(state.pos).toEqual(pos)
  expect(Buffer.compare(database.read("database"), image)).toBe(0)
  const { header, trailer } = readLtxFile(database.ltxPath(4))
  const { trailer: before } = readLtxFile(database.ltxPath(3))
  expect(header).toMatchObject({ minTxid: 4n, maxTxid: 4n, commit: image.length / PAGE_SIZE })
  expect(header.preApplyChecksum).toBe(before.postApplyChecksum)
  expect(trailer.postApplyChecksum).toBe(pos.checksum)
  // From then on it is as if nothing had been.
  const again = recover(directory)
  expect(again.state.pos).toEqual(pos)
  expect(again.log.lines).toEqual([])
}

function setAsideFiles(database: DatabaseFixture): string[] {
  return readdirSync(database.path("ltx")).filter((name) => !name.endsWith(".ltx"))
}

/** As a node stops in order. */
function stopCleanly(directory: DataDirectory, database: DatabaseFixture): void {
  const { state } = recover(directory)
  const file = new BackedFile("database", database.path("database"))
  file.open()
  saveCleanState(new DataDir(directory.root), "app.db", file, state)
  file.close()
}

function withBit(bytes: Uint8Array, bit: number): Uint8Array {
  const changed = bytes.slice()
  changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
  return changed
}

function isWhole(path: string): boolean {
  try {
    readLtxFile(path)
    return true
  } catch {
    return false
  }
}

describe("recoverDatabase() of a last LTX file with another bit", () => {
  test("recoverDatabase() keeps the transaction that the database file has, whatever bit it is", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const image = database.read("database")
    const whole = database.read("ltx", LAST)
    const ignored: number[] = []
    const step = (bit: number) => (bit > (whole.length - 24) * 8 ? 1 : 29)
    for (let bit = 0; bit < whole.length * 8; bit += step(bit)) {
      const bytes = withBit(whole, bit)
      writeFileSync(database.ltxPath(4), bytes)
      if (isWhole(database.ltxPath(4))) {
        ignored.push(bit)
        continue
      }
      expectMended(database, image, directory)
      const [kept = ""] = setAsideFiles(database)
      expect(kept).toMatch(/^0{15}4-0{15}4\.ltx\.damaged-\d+$/)
      expect(Buffer.compare(database.read("ltx", kept), bytes)).toBe(0)
      rmSync(database.path("ltx", kept))
    }
    expect(ignored.length).toBeLessThan(10) // of the LZ4 frame, that mean nothing
  }, 120_000)

  test("recoverDatabase() keeps the transaction that is in the WAL", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 4, "wal")
    const image = database.sqlite.database.serialize()
    expect(Buffer.compare(database.read("database"), image)).not.toBe(0)
    const whole = database.read("ltx", LAST)
    const wal = database.read("wal")
    for (const bit of [10, 130, 8 * 60, 8 * 150, 8 * (whole.length - 12), 8 * (whole.length - 3)]) {
      writeFileSync(database.ltxPath(4), withBit(whole, bit))
      writeFileSync(database.path("wal"), wal)
      expectMended(database, image, directory)
    }
  })

  test("recoverDatabase() keeps it also when the journal of the transaction is still there", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 3)
    database.sqlite.run("PRAGMA cache_size=2; BEGIN; UPDATE t SET a = hex(randomblob(300))")
    database.save()
    const journal = database.read("journal")
    database.sqlite.run("COMMIT")
    database.capture()
    database.save()
    writeFileSync(database.path("journal"), journal)
    database.flip(200, "ltx", LAST)
    expectMended(database, database.sqlite.database.serialize(), directory)
    expect(existsSync(database.path("journal"))).toBe(false)
  })

  test("recoverDatabase() keeps it after a clean stop, and believes the saved sums", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const image = database.read("database")
    stopCleanly(directory, database)
    database.flip(200, "ltx", LAST)
    const { state, log } = recover(directory)
    expect(log.lines).toEqual([MENDED])
    expect(state).toMatchObject({ isBelieved: true, pos: { txid: 4n } })
    expect(state.pos.checksum).toBe(imageChecksum(image, PAGE_SIZE))
    expect(recover(directory).state.pos).toEqual(state.pos)
  })

  test("recoverDatabase() makes a snapshot when the file before it is gone", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const image = database.read("database")
    for (const txid of [1, 2, 3]) rmSync(database.ltxPath(txid))
    database.flip(200, "ltx", LAST)
    const { state } = recover(directory)
    expect(state.pos).toEqual({ txid: 4n, checksum: imageChecksum(image, PAGE_SIZE) })
    const { header } = readLtxFile(
      database.path("ltx", `${"0".repeat(15)}1-${"0".repeat(15)}4.ltx`),
    )
    expect(header).toMatchObject({ minTxid: 1n, maxTxid: 4n })
    expect(recover(directory)).toMatchObject({ state: { pos: state.pos }, log: { lines: [] } })
  })

  test("recoverDatabase() keeps that a database was dropped", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 3)
    database.capture(new Uint8Array(0))
    rmSync(database.path("database"))
    database.flip(90, "ltx", LAST)
    const { state, log } = recover(directory)
    expect(log.lines).toEqual([MENDED])
    expect(state).toMatchObject({ commit: 0, pos: { txid: 4n } })
    expect(existsSync(database.path("database"))).toBe(false)
    expect(recover(directory)).toMatchObject({ state: { pos: state.pos }, log: { lines: [] } })
  })

  test("recoverDatabase() keeps a transaction whose file was torn, if the database has it", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    const image = database.read("database")
    const bytes = database.read("ltx", LAST)
    bytes.fill(0, 100, 300)
    writeFileSync(database.ltxPath(4), bytes)
    expectMended(database, image, directory)
  })

  test.each([0, 4])(
    "recoverDatabase() refuses when the database has it not, synced %d",
    (synced) => {
      using directory = new DataDirectory()
      const database = directory.database("app.db", 3)
      database.commit("INSERT INTO t(a) VALUES(hex(randomblob(200)))") // in the log alone
      database.flip(200, "ltx", LAST)
      if (synced > 0) writeSynced(database.path("synced"), BigInt(synced))
      const before = directory.content
      for (let attempt = 0; attempt < 2; attempt++) {
        expect(() => recover(directory)).toThrow(
          /^Cannot open database "app\.db": its last LTX file ".*4\.ltx" is damaged, and the database file does not have its transaction: .*, see litefs doctor$/,
        )
        expect(directory.content).toEqual(before)
      }
    },
  )

  test("recoverDatabase() takes no equal checksum for a proof, when the transaction before has the same", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 2)
    const image = database.read("database")
    const withTwo = (fill: number) => Buffer.concat([image, Buffer.alloc(2 * PAGE_SIZE, fill)])
    database.capture(withTwo(5))
    database.capture(withTwo(7))
    expect(imageChecksum(withTwo(5), PAGE_SIZE)).toBe(imageChecksum(withTwo(7), PAGE_SIZE))
    writeFileSync(database.path("database"), withTwo(5))
    database.flip(150, "ltx", LAST)
    expect(() => recover(directory)).toThrow(/does not have its transaction/)
  })
})

describe("recoverDatabase() of a log whose last files are gone", () => {
  test("recoverDatabase() makes one of the database file, after a clean stop", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 6)
    const image = database.read("database")
    stopCleanly(directory, database)
    for (const txid of [5, 6]) rmSync(database.ltxPath(txid))
    const { state, log } = recover(directory)
    expect(log.lines).toEqual([
      "warn: the last LTX files are missing, made one from the database file, which has their transactions",
    ])
    expect(state.pos).toEqual({ txid: 6n, checksum: imageChecksum(image, PAGE_SIZE) })
    const path = database.path("ltx", `${"0".repeat(15)}5-${"0".repeat(15)}6.ltx`)
    expect(readLtxFile(path).header.preApplyChecksum).toBe(
      readLtxFile(database.ltxPath(4)).trailer.postApplyChecksum,
    )
    expect(Buffer.compare(database.read("database"), image)).toBe(0)
    expect(recover(directory)).toMatchObject({ state: { pos: state.pos }, log: { lines: [] } })
  })

  test("recoverDatabase() leaves nothing of a file that it could not make", () => {
    using directory = new DataDirectory()
    const database = directory.database()
    writeFileSync(database.path("ltx", `${LAST}.making`), "half of it")
    recover(directory)
    expect(readdirSync(database.path("ltx")).filter((name) => name.endsWith(".making"))).toEqual([])
    expect(readFileSync(database.ltxPath(4)).length).toBeGreaterThan(100)
    truncateSync(database.ltxPath(4), 150)
    expect(recover(directory).log.lines[0]).toBe(
      "warn: set aside the last LTX file, which was torn by a crash",
    )
  })
})
