import { describe, expect, test } from "bun:test"
import { rmSync, statSync, utimesSync, writeFileSync } from "node:fs"
import { type MaintenanceRequest, maintain } from "../../src/peer/serve/maintenance.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { LtxDirectory } from "../../src/store/ltx/ltx-directory.ts"
import { readSynced, writeSynced } from "../../src/store/synced.ts"
import { DataDirectory } from "../support/data-directory.ts"
import { RecordedLog } from "../support/recorded-log.ts"

const NOW_MS = 1_000_000_000
const AGE_MS = 60_000

/** A database with the transactions 1 to 6, of which 1 to `old` are older than the retention. */
function fixture(old = 6) {
  const directory = new DataDirectory()
  const database = directory.database("app.db", 6)
  for (let txid = 1; txid <= 6; txid++) {
    const ageMs = txid <= old ? AGE_MS + 1000 : AGE_MS - 1000
    const seconds = (NOW_MS - ageMs) / 1000
    utimesSync(database.ltxPath(txid), seconds, seconds)
  }
  const dataDir = new DataDir(directory.root)
  const run = (given: Partial<MaintenanceRequest> = {}) => {
    const retention = { ageMs: AGE_MS, intervalMs: 1, sizeMax: 1 << 30 }
    const request = {
      database: "app.db",
      writtenTxid: 6n,
      neededTxid: undefined,
      retention,
      ...given,
    }
    return maintain(request, dataDir, NOW_MS, new RecordedLog().logger)
  }
  const kept = () =>
    new LtxDirectory(dataDir.ltxDir("app.db")).list().map(({ maxTxid }) => Number(maxTxid))
  const synced = () => readSynced(dataDir.syncedPath("app.db"))
  return {
    directory,
    database,
    dataDir,
    run,
    kept,
    synced,
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  }
}

describe("maintain()", () => {
  test("maintain() removes what is old, in the file, not the last, and needed by nobody", () => {
    using each = fixture()
    expect(each.run()).toBe(5)
    expect(each.kept()).toEqual([6])
    expect(each.synced()).toBe(6n)
    expect(each.run()).toBe(0)
  })

  test("maintain() keeps what is younger than the retention, and what follows on it (rule 1)", () => {
    using each = fixture(3)
    utimesSync(each.database.ltxPath(5), 1, 1)
    expect(each.run()).toBe(3)
    expect(each.kept()).toEqual([4, 5, 6])
  })

  test("maintain() keeps what is not in the database file (rule 2)", () => {
    using each = fixture()
    expect(each.run({ writtenTxid: 2n })).toBe(2)
    expect(each.synced()).toBe(2n)
    expect(each.kept()).toEqual([3, 4, 5, 6])
  })

  test("maintain() takes nothing back of what is synced already", () => {
    using each = fixture()
    writeSynced(each.database.path("synced"), 4n)
    expect(each.run({ writtenTxid: 0n })).toBe(4)
    expect(each.synced()).toBe(4n)
  })

  test("maintain() does not call a database synced whose file is gone", () => {
    using each = fixture()
    rmSync(each.database.path("database"))
    expect(each.run()).toBe(0)
    expect(each.synced()).toBe(0n)
    expect(each.kept().length).toBe(6)
  })

  test("maintain() keeps the last file (rule 3)", () => {
    using each = fixture()
    for (let txid = 1; txid <= 5; txid++) rmSync(each.database.ltxPath(txid))
    expect(each.run()).toBe(0)
    expect(each.kept()).toEqual([6])
  })

  test("maintain() keeps what a replica still has to get (rule 4)", () => {
    using each = fixture()
    expect(each.run({ neededTxid: 4n })).toBe(3)
    expect(each.kept()).toEqual([4, 5, 6])
  })

  test("maintain() keeps no more for a replica than the limit allows (rule 4)", () => {
    using each = fixture()
    const size = (txid: number) => statSync(each.database.ltxPath(txid)).size
    const sizeMax = size(4) + size(5) + size(6)
    const retention = { ageMs: AGE_MS, intervalMs: 1, sizeMax }
    expect(each.run({ neededTxid: 1n, retention })).toBe(3)
    expect(each.kept()).toEqual([4, 5, 6])
  })

  test("maintain() leaves files alone that are not LTX files", () => {
    using each = fixture()
    const path = `${each.database.ltxPath(1)}.torn-5`
    writeFileSync(path, "torn")
    utimesSync(path, 1, 1)
    each.run()
    expect(statSync(path).size).toBe(4)
  })
})
