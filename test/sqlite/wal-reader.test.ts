import { describe, expect, test } from "bun:test"
import { must } from "../../src/lib/assert.ts"
import { walFrameOffset } from "../../src/sqlite/wal.ts"
import { WalReader } from "../../src/sqlite/wal-reader.ts"
import { withByte } from "../support/bytes.ts"
import { bytesSource } from "../support/bytes-source.ts"
import { SqliteFiles } from "../support/sqlite-files.ts"

const PAGE_SIZE = 512

function walFiles(): SqliteFiles {
  return new SqliteFiles(
    "page_size=512",
    "journal_mode=WAL",
    "wal_autocheckpoint=0",
    "cache_size=5",
  )
}

/** All frames, as page numbers; a frame that commits is followed by the size of the database. */
function framesOf(reader: WalReader): string[] {
  const frames: string[] = []
  while (reader.next())
    frames.push(reader.commit > 0 ? `${reader.pgno}=${reader.commit}` : `${reader.pgno}`)
  return frames
}

describe("WalReader", () => {
  test("WalReader reads the frames of transactions up to the last commit", () => {
    using files = walFiles()
    files.run("CREATE TABLE t(x)")
    files.run("INSERT INTO t VALUES(1)")
    const reader = new WalReader(bytesSource(files.read("-wal")))
    expect(framesOf(reader)).toEqual(["1", "2=2", "2=2"])
    expect(reader.frameCount).toBe(3)
    expect(reader.lastCommit).toMatchObject({ frameCount: 3, commit: 2 })
  })

  test("WalReader gives the pages that a checkpoint writes into the database", () => {
    using files = walFiles()
    files.run("CREATE TABLE t(x)")
    for (let i = 0; i < 50; i++) files.run(`INSERT INTO t VALUES(randomblob(${i * 10}))`)
    const reader = new WalReader(bytesSource(files.read("-wal")))
    const pages = new Map<number, Uint8Array<ArrayBuffer>>()
    while (reader.next()) pages.set(reader.pgno, new Uint8Array(reader.page))
    files.run("PRAGMA wal_checkpoint(TRUNCATE)")
    const database = files.read()
    expect(database.length).toBe(must(reader.lastCommit, "commit").commit * PAGE_SIZE)
    for (const [pgno, page] of pages) {
      expect(database.subarray((pgno - 1) * PAGE_SIZE, pgno * PAGE_SIZE)).toEqual(page)
    }
  })

  test("WalReader passes frames of an unfinished transaction but does not call them committed", () => {
    using files = walFiles()
    files.run("CREATE TABLE t(x)")
    files.run("BEGIN")
    for (let i = 0; i < 100; i++) files.run("INSERT INTO t VALUES(zeroblob(400))")
    const reader = new WalReader(bytesSource(files.read("-wal")))
    expect(framesOf(reader).length).toBeGreaterThan(10)
    expect(reader.lastCommit).toMatchObject({ frameCount: 2, commit: 2 })
    files.run("ROLLBACK")
  })

  test("WalReader stops at the first frame that is not valid", () => {
    using files = walFiles()
    files.run("CREATE TABLE t(x)")
    for (let i = 0; i < 5; i++) files.run("INSERT INTO t VALUES(1)")
    const wal = files.read("-wal")
    const damaged = withByte(wal, walFrameOffset(4, PAGE_SIZE) + 100, 0xff)
    const reader = new WalReader(bytesSource(damaged))
    expect(framesOf(reader).length).toBe(4)
    expect(reader.lastCommit).toMatchObject({ frameCount: 4 })
    expect(framesOf(new WalReader(bytesSource(wal.subarray(0, -1)))).length).toBe(6)
  })

  test("WalReader does not take frames from before the log was begun again", () => {
    using files = walFiles()
    files.run("CREATE TABLE t(x)")
    for (let i = 0; i < 5; i++) files.run("INSERT INTO t VALUES(1)")
    files.run("PRAGMA wal_checkpoint(RESTART)")
    files.run("INSERT INTO t VALUES(1)")
    expect(framesOf(new WalReader(bytesSource(files.read("-wal"))))).toEqual(["2=2"])
  })

  test("WalReader goes on where another one was, once a writer has added frames", () => {
    using files = walFiles()
    files.run("CREATE TABLE t(x)")
    const first = new WalReader(bytesSource(files.read("-wal")))
    framesOf(first)
    files.run("INSERT INTO t VALUES(1)")
    const second = new WalReader(bytesSource(files.read("-wal")), first.position)
    expect(framesOf(second)).toEqual(["2=2"])
    expect(second.frameCount).toBe(3)
  })

  test("WalReader has no frames without a valid header", () => {
    for (const bytes of [new Uint8Array(0), new Uint8Array(32), new Uint8Array(5000)]) {
      const reader = new WalReader(bytesSource(bytes))
      expect(reader.header).toBeUndefined()
      expect(reader.next()).toBe(false)
      expect(reader.lastCommit).toBeUndefined()
    }
  })
})
