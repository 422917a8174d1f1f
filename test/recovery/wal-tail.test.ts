/** Commits of a WAL that nobody has captured, after the daemon that its clients wrote past was killed. */
import { describe, expect, test } from "bun:test"
import { readdirSync, rmSync, writeFileSync } from "node:fs"
import { recoverDatabase } from "../../src/recovery/recover.ts"
import type { WrotePast } from "../../src/recovery/wal-tail.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { imageChecksum } from "../support/captured-database.ts"
import {
  type DatabaseFixture,
  DataDirectory,
  FIXTURE_PAGE_SIZE as PAGE_SIZE,
} from "../support/data-directory.ts"
import { RecordedLog } from "../support/recorded-log.ts"

const INSERT = "INSERT INTO t(a) VALUES(hex(randomblob(200)))"
/** All transactions of the fixture are of this node. */
const OWN: WrotePast = { nodeId: 0xf7c7212a4d420478n, isSameBoot: true }
const OTHERS: WrotePast = { nodeId: 99n, isSameBoot: true }

function recover(directory: DataDirectory, past: WrotePast = OWN): void {
  const { isSameBoot } = past
  const run = { isSameBoot, past }
  recoverDatabase("app.db", new DataDir(directory.root), new RecordedLog().logger, run)
}

/** Its file, and its TXID, with nothing left of the WAL; `kept`: but for what was set aside. */
function expectAt(
  directory: DataDirectory,
  database: DatabaseFixture,
  expected: { readonly image: Uint8Array; readonly txid: bigint; readonly kept?: boolean },
): void {
  const { image, txid, kept = false } = expected
  expect(Buffer.compare(database.read("database"), image)).toBe(0)
  const log = new RecordedLog()
  const run = { isSameBoot: true, past: OWN }
  const { pos } = recoverDatabase("app.db", new DataDir(directory.root), log.logger, run)
  expect(pos).toEqual({ txid, checksum: imageChecksum(image, PAGE_SIZE) })
  const names = readdirSync(database.directory)
  expect(names).not.toContain("wal")
  expect(names.some((name) => name.startsWith("wal.removed-"))).toBe(kept)
}

const imageOf = (database: DatabaseFixture) => database.sqlite.database.serialize()

/** A transaction of the log that is not in the WAL: of a page that nobody writes after it, and of one that is written. */
function captureAlone(database: DatabaseFixture): Uint8Array {
  const image = imageOf(database).slice()
  for (const pgno of [3, image.length / PAGE_SIZE]) image[pgno * PAGE_SIZE - 7] = 0x7f
  database.capture(image)
  return image
}

describe("a WAL with commits that follow on the log", () => {
  test("they become one transaction", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 4, "wal")
    for (let n = 0; n < 3; n++) database.sqlite.database.run(INSERT)
    database.save()
    recover(directory)
    expectAt(directory, database, { image: imageOf(database), txid: 5n })
  })

  test("also when the database has shrunk, and when the WAL was started over", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 9, "wal")
    database.sqlite.database.run("PRAGMA wal_checkpoint(RESTART)")
    database.sqlite.database.run("DELETE FROM t WHERE id < 8")
    database.sqlite.database.run("VACUUM")
    database.save()
    recover(directory)
    expectAt(directory, database, { image: imageOf(database), txid: 10n })
  })

  test("they become one transaction once, wherever the start is killed", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 4, "wal")
    database.sqlite.database.run(INSERT)
    database.save()
    recover(directory)
    database.save() // the WAL was not cut off
    rmSync(database.path("synced"))
    recover(directory)
    expectAt(directory, database, { image: imageOf(database), txid: 5n })
    // The WAL was cut off, and nothing was replayed.
    writeFileSync(database.path("database"), database.sqlite.read())
    rmSync(database.path("synced"))
    recover(directory)
    expectAt(directory, database, { image: imageOf(database), txid: 5n })
  })

  test("a transaction of the log that others have written over in the WAL is taken back", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 4, "wal")
    captureAlone(database)
    database.sqlite.database.run(INSERT)
    database.save()
    recover(directory)
    expectAt(directory, database, { image: imageOf(database), txid: 6n })
  })

  test("after a transaction of another node that is in the WAL", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 4, "wal")
    database.sqlite.database.run(INSERT)
    database.save()
    recover(directory, OTHERS)
    expectAt(directory, database, { image: imageOf(database), txid: 5n })
  })
})

describe("a WAL whose commits are set aside", () => {
  test("after a transaction of another node that is not in the WAL", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 4, "wal")
    const image = captureAlone(database)
    database.sqlite.database.run(INSERT)
    database.save()
    recover(directory, OTHERS)
    expectAt(directory, database, { image, txid: 5n, kept: true })
  })

  test("when the machine was started anew", () => {
    using directory = new DataDirectory()
    const database = directory.database("app.db", 4, "wal")
    const image = imageOf(database)
    database.sqlite.database.run(INSERT)
    database.save()
    recover(directory, { ...OWN, isSameBoot: false })
    expectAt(directory, database, { image, txid: 4n, kept: true })
  })
})
