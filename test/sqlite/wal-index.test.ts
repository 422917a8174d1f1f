import { describe, expect, test } from "bun:test"
import { must } from "../../src/lib/assert.ts"
import {
  decodeWalIndexHeader,
  encodeWalIndexHeader,
  readBackfillCount,
  readReadMark,
  readWalIndexHeader,
  WAL_INDEX_READ_MARK_UNUSED,
  type WalIndexHeader,
  writeBackfillAttempted,
  writeBackfillCount,
  writeReadMark,
  writeWalIndexHeader,
} from "../../src/sqlite/wal-index.ts"
import { WalReader } from "../../src/sqlite/wal-reader.ts"
import { hex, unhex, withByte } from "../support/bytes.ts"
import { bytesSource } from "../support/bytes-source.ts"
import { SqliteFiles } from "../support/sqlite-files.ts"

/** As LiteFS has left it: nothing in the WAL. */
const GOLDEN =
  "18e22d0000000000010000000100000800000000050000003009f8ccac181c0c" +
  "4455091adceb8616a4872d066b218c21"

describe("decodeWalIndexHeader", () => {
  test("decodeWalIndexHeader reads what LiteFS writes, and encodeWalIndexHeader writes it again", () => {
    const header: WalIndexHeader = {
      change: 1,
      bigEndianChecksum: false,
      pageSize: 2048,
      frameCount: 0,
      pageCount: 5,
      frameChecksum1: 0xccf80930,
      frameChecksum2: 0x0c1c18ac,
      salt1: 0x4455091a,
      salt2: 0xdceb8616,
    }
    expect(decodeWalIndexHeader(unhex(GOLDEN))).toEqual(header)
    expect(hex(encodeWalIndexHeader(header))).toBe(GOLDEN)
  })

  test.each([512, 65536])(
    "decodeWalIndexHeader agrees with the WAL of SQLite, pages of %i bytes",
    (pageSize) => {
      using files = new SqliteFiles(
        `page_size=${pageSize}`,
        "journal_mode=WAL",
        "wal_autocheckpoint=0",
      )
      files.run("CREATE TABLE t(x)")
      files.run("INSERT INTO t VALUES(1)")
      const reader = new WalReader(bytesSource(files.read("-wal")))
      while (reader.next());
      const commit = must(reader.lastCommit, "commit")
      const index = files.read("-shm")
      const header = must(readWalIndexHeader(index), "wal-index header")
      expect(header).toMatchObject({
        bigEndianChecksum: false,
        pageSize,
        frameCount: commit.frameCount,
        pageCount: commit.commit,
        frameChecksum1: commit.checksum1,
        frameChecksum2: commit.checksum2,
        salt1: commit.header.salt1,
        salt2: commit.header.salt2,
      })
      expect(hex(encodeWalIndexHeader(header))).toBe(hex(index.subarray(0, 48)))
    },
  )

  test.each([
    ["another format", 0, 0x19],
    ["a header that is not initialised", 12, 0],
    ["a change", 16, 1],
    ["a changed checksum", 47, 0],
  ])("decodeWalIndexHeader refuses %s", (_, offset, value) => {
    expect(decodeWalIndexHeader(withByte(unhex(GOLDEN), offset, value))).toBeUndefined()
  })

  test("decodeWalIndexHeader refuses fewer than 48 bytes", () => {
    expect(decodeWalIndexHeader(unhex(GOLDEN).subarray(0, 47))).toBeUndefined()
  })
})

describe("readWalIndexHeader", () => {
  test("readWalIndexHeader reads what writeWalIndexHeader writes, in both copies", () => {
    const header = must(decodeWalIndexHeader(unhex(GOLDEN)), "header")
    const index = new Uint8Array(32768)
    expect(readWalIndexHeader(index)).toBeUndefined()
    writeWalIndexHeader(index, { ...header, change: 0xffffffff, pageSize: 65536 })
    expect(readWalIndexHeader(index)).toEqual({ ...header, change: 0xffffffff, pageSize: 65536 })
    expect(hex(index.subarray(0, 48))).toBe(hex(index.subarray(48, 96)))
  })

  test("readWalIndexHeader refuses copies that are not equal", () => {
    const index = unhex(GOLDEN + GOLDEN)
    expect(readWalIndexHeader(index)).toBeDefined()
    for (const offset of [4, 52])
      expect(readWalIndexHeader(withByte(index, offset, 1))).toBeUndefined()
  })
})

describe("readReadMark", () => {
  test("readReadMark and readBackfillCount read what SQLite has written", () => {
    using files = new SqliteFiles("page_size=512", "journal_mode=WAL", "wal_autocheckpoint=0")
    files.run("CREATE TABLE t(x)")
    files.run("INSERT INTO t VALUES(1)")
    files.value("SELECT count(*) FROM t")
    const before = files.read("-shm")
    expect(readBackfillCount(before)).toBe(0)
    expect([0, 1, 2, 3, 4].map((mark) => readReadMark(before, mark))).toContain(3)
    expect(readReadMark(before, 4)).toBe(WAL_INDEX_READ_MARK_UNUSED)
    files.run("PRAGMA wal_checkpoint(PASSIVE)")
    expect(readBackfillCount(files.read("-shm"))).toBe(3)
    expect(hex(files.read("-shm").subarray(128, 132))).toBe("03000000") // attempted
  })

  test("writeReadMark, writeBackfillCount and writeBackfillAttempted write one word each", () => {
    const index = new Uint8Array(136)
    writeBackfillCount(index, 0x01020304)
    writeReadMark(index, 0, 0x11)
    writeReadMark(index, 4, WAL_INDEX_READ_MARK_UNUSED)
    writeBackfillAttempted(index, 0x22)
    expect(hex(index.subarray(96))).toBe(
      "04030201" +
        "11000000" +
        "00000000".repeat(3) +
        "ffffffff" +
        "00".repeat(8) +
        "22000000" +
        "00000000",
    )
    expect([readBackfillCount(index), readReadMark(index, 4)]).toEqual([0x01020304, 0xffffffff])
    expect(() => readReadMark(index, 5)).toThrow("There is no read mark 5")
  })
})
