import { describe, expect, test } from "bun:test"
import { rmSync, statSync, utimesSync, writeFileSync } from "node:fs"
import { sumsOfFile } from "../../src/capture/file-sums.ts"
import type { Clock } from "../../src/lib/clock.ts"
import { Maintenance, type MaintenanceRequest } from "../../src/peer/serve/maintenance.ts"
import { keptPos } from "../../src/recovery/kept-sums.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { LtxDirectory } from "../../src/store/ltx/ltx-directory.ts"
import { readSynced, writeSynced } from "../../src/store/synced.ts"
import { DataDirectory, FIXTURE_PAGE_SIZE } from "../support/data-directory.ts"
import { RecordedLog } from "../support/recorded-log.ts"

const NOW_MS = 1_000_000_000
const AGE_MS = 60_000

/** It is NOW_MS. Each look at the clock takes `tickMs`, and others have their turn at once. */
class StillClock implements Clock {
  turns = 0
  onTurn = () => {}
  readonly #tickMs: number
  #nowMs = 0

  constructor(tickMs = 0) {
    this.#tickMs = tickMs
  }

  wallMs = () => NOW_MS
  monotonicMs = () => (this.#nowMs += this.#tickMs)
  steadyMs = () => NOW_MS
  random = () => 0.5

  after(_: number, callback: () => void): () => void {
    this.turns += 1
    this.onTurn()
    queueMicrotask(callback)
    return () => {}
  }
}

/** A database with the transactions 1 to 6, of which 1 to `old` are older than the retention. */
function fixture(old = 6, clock: Clock = new StillClock()) {
  const directory = new DataDirectory()
  const database = directory.database("app.db", 6)
  for (let txid = 1; txid <= 6; txid++) {
    const ageMs = txid <= old ? AGE_MS + 1000 : AGE_MS - 1000
    const seconds = (NOW_MS - ageMs) / 1000
    utimesSync(database.ltxPath(txid), seconds, seconds)
  }
  const dataDir = new DataDir(directory.root)
  const usages: [count: number, size: number][] = []
  const maintenance = new Maintenance({
    ...{ dataDir, clock, log: new RecordedLog().logger },
    onUsage: (_, count, size) => void usages.push([count, size]),
  })
  const run = (given: Partial<MaintenanceRequest> = {}) => {
    const retention = { ageMs: AGE_MS, intervalMs: 1, sizeMax: 1 << 30 }
    const request = {
      database: "app.db",
      lastTxid: 6n,
      writtenTxid: 6n,
      neededTxid: undefined,
      retention,
      ...given,
    }
    return maintenance.maintain(request)
  }
  const kept = () =>
    new LtxDirectory(dataDir.ltxDir("app.db")).list().map(({ maxTxid }) => Number(maxTxid))
  const synced = () => readSynced(dataDir.syncedPath("app.db"))
  return {
    directory,
    database,
    dataDir,
    ...{ run, maintenance, usages },
    kept,
    synced,
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  }
}

describe("maintain()", () => {
  test("maintain() removes what is old, in the file, not the last, and needed by nobody", async () => {
    using each = fixture()
    expect(await each.run()).toBe(5)
    expect(each.kept()).toEqual([6])
    expect(each.synced()).toBe(6n)
    expect(await each.run()).toBe(0)
  })

  test("maintain() keeps what is younger than the retention, and what follows on it (rule 1)", async () => {
    using each = fixture(3)
    utimesSync(each.database.ltxPath(5), 1, 1)
    expect(await each.run()).toBe(3)
    expect(each.kept()).toEqual([4, 5, 6])
  })

  test("maintain() keeps what is not in the database file (rule 2)", async () => {
    using each = fixture()
    expect(await each.run({ writtenTxid: 2n })).toBe(2)
    expect(each.synced()).toBe(2n)
    expect(each.kept()).toEqual([3, 4, 5, 6])
  })

  test("maintain() takes nothing back of what is synced already", async () => {
    using each = fixture()
    writeSynced(each.database.path("synced"), 4n)
    expect(await each.run({ writtenTxid: 0n })).toBe(4)
    expect(each.synced()).toBe(4n)
  })

  test("maintain() does not call a database synced whose file is gone", async () => {
    using each = fixture()
    rmSync(each.database.path("database"))
    expect(await each.run()).toBe(0)
    expect(each.synced()).toBe(0n)
    expect(each.kept().length).toBe(6)
  })

  test("maintain() keeps the last file (rule 3)", async () => {
    using each = fixture()
    for (let txid = 1; txid <= 5; txid++) rmSync(each.database.ltxPath(txid))
    expect(await each.run()).toBe(0)
    expect(each.kept()).toEqual([6])
  })

  test("maintain() keeps what a replica still has to get (rule 4)", async () => {
    using each = fixture()
    expect(await each.run({ neededTxid: 4n })).toBe(3)
    expect(each.kept()).toEqual([4, 5, 6])
  })

  test("maintain() keeps no more for a replica than the limit allows (rule 4)", async () => {
    using each = fixture()
    const size = (txid: number) => statSync(each.database.ltxPath(txid)).size
    const sizeMax = size(4) + size(5) + size(6)
    const retention = { ageMs: AGE_MS, intervalMs: 1, sizeMax }
    expect(await each.run({ neededTxid: 1n, retention })).toBe(3)
    expect(each.kept()).toEqual([4, 5, 6])
  })

  test("maintain() leaves files alone that are not LTX files", async () => {
    using each = fixture()
    const path = `${each.database.ltxPath(1)}.torn-5`
    writeFileSync(path, "torn")
    utimesSync(path, 1, 1)
    await each.run()
    expect(statSync(path).size).toBe(4)
  })

  test("Maintenance does not look at the files of a database at rest", async () => {
    using each = fixture(4)
    expect(await each.run()).toBe(4)
    expect(each.kept()).toEqual([5, 6])
    const [usage] = each.usages
    expect(usage).toEqual([
      2,
      [5, 6].reduce((sum, txid) => sum + statSync(each.database.ltxPath(txid)).size, 0),
    ])
    rmSync(each.dataDir.ltxDir("app.db"), { recursive: true }) // a look would fail
    expect(await each.run()).toBe(0)
    expect(each.run({ lastTxid: 7n })).rejects.toThrow()
  })

  test("Maintenance looks again when a file has become old", async () => {
    using each = fixture(4)
    await each.run()
    const retention = { ageMs: AGE_MS - 2000, intervalMs: 1, sizeMax: 1 << 30 }
    expect(await each.run({ retention })).toBe(1)
    expect(each.kept()).toEqual([6])
    expect(each.usages.at(-1)?.[0]).toBe(1)
  })

  test("Maintenance measures a file once, and all when others came and went", async () => {
    using each = fixture(0)
    const size = (...txids: number[]) =>
      txids.reduce((sum, txid) => sum + statSync(each.database.ltxPath(txid)).size, 0)
    await each.run({ lastTxid: 5n })
    expect(each.usages.at(-1)).toEqual([6, size(1, 2, 3, 4, 5, 6)])
    writeFileSync(each.database.ltxPath(7), new Uint8Array(1000))
    await each.run({ lastTxid: 7n })
    expect(each.usages.at(-1)).toEqual([7, size(1, 2, 3, 4, 5, 6) + 1000])
    rmSync(each.database.ltxPath(2))
    await each.run({ lastTxid: 8n })
    expect(each.usages.at(-1)).toEqual([6, size(1, 3, 4, 5, 6) + 1000])
  })

  test("Maintenance lets others have their turn", async () => {
    const clock = new StillClock(3)
    using each = fixture(6, clock)
    expect(await each.run()).toBe(5)
    expect(clock.turns).toBeGreaterThan(5)
  })

  test("Maintenance removes nothing of another history that has taken the place meanwhile", async () => {
    const clock = new StillClock(6)
    using each = fixture(6, clock)
    clock.onTurn = () => {
      if (each.kept().length === 4) each.maintenance.replacing("app.db")
    }
    expect(await each.run()).toBe(2)
    expect(each.kept()).toEqual([3, 4, 5, 6])
    clock.onTurn = () => {}
    expect(await each.run()).toBe(3)
  })
})

describe("maintain() saves page checksums", () => {
  /** A database that is worth it, at TXID `last`, and a node that has been at `kept`. */
  function grown(last: number, clock: Clock = new StillClock()) {
    const directory = new DataDirectory()
    const database = directory.database("app.db", last)
    const dataDir = new DataDir(directory.root)
    const maintenance = new Maintenance({
      ...{ dataDir, clock, log: new RecordedLog().logger },
      onUsage: () => {},
    })
    const image = database.read("database")
    const source = {
      readAt: (offset: number, into: Uint8Array) => {
        into.set(image.subarray(offset, offset + into.length))
        return into.length
      },
    }
    const sums = sumsOfFile(source, FIXTURE_PAGE_SIZE, image.length / FIXTURE_PAGE_SIZE)
    const commit = sums.pageCount
    const run = (txid: number, given: Partial<MaintenanceRequest> = {}) => {
      const pos = { txid: BigInt(txid), checksum: sums.total }
      return maintenance.maintain({
        ...{ database: "app.db", lastTxid: BigInt(last), writtenTxid: BigInt(last) },
        neededTxid: undefined,
        state: {
          ...{ pos, pageSize: FIXTURE_PAGE_SIZE, commit, timestampMs: 0 },
          sums: sums.shared,
        },
        retention: { ageMs: AGE_MS, intervalMs: 1, sizeMax: 1 << 30 },
        ...given,
      })
    }
    const age = (txid: number, ms: number) => {
      const seconds = (NOW_MS - ms) / 1000
      utimesSync(database.ltxPath(txid), seconds, seconds)
    }
    for (let txid = 1; txid <= last; txid++) age(txid, 0)
    const kept = () => keptPos(dataDir, "app.db")?.txid
    return { run, age, kept, [Symbol.dispose]: () => directory[Symbol.dispose]() }
  }

  test("when the LTX files since are larger", async () => {
    using each = grown(150)
    await each.run(150)
    expect(each.kept()).toBe(150n)
    await each.run(151, { lastTxid: 151n })
    expect(each.kept()).toBe(150n)
  })

  test.each([
    ["when an LTX file since goes", 70_000, 150n],
    ["not again within a minute", 0, 140n],
  ])("%s", async (_, tickMs, expected) => {
    using each = grown(150, new StillClock(tickMs))
    for (let txid = 1; txid <= 150; txid++) each.age(txid, AGE_MS / 2)
    await each.run(140)
    expect(each.kept()).toBe(140n)
    const retention = { ageMs: AGE_MS / 10, intervalMs: 1, sizeMax: 1 << 30 }
    expect(await each.run(150, { lastTxid: 150n, retention })).toBe(149)
    expect(each.kept()).toBe(expected)
  })

  test("not of a database that is small, and fails without them", async () => {
    using each = grown(20)
    each.age(1, AGE_MS + 1000)
    expect(await each.run(20)).toBe(1)
    expect(each.kept()).toBeUndefined()
  })
})
