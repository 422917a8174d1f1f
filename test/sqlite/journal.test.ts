import { describe, expect, test } from "bun:test"
import { must } from "../../src/lib/assert.ts"
import {
  decodeJournalHeader,
  isJournalActive,
  journalChecksum,
  readJournal,
  readJournalHeader,
  readSuperJournalName,
} from "../../src/sqlite/journal.ts"
import { concat, hex, unhex, withByte } from "../support/bytes.ts"
import { bytesSource } from "../support/bytes-source.ts"
import { testRandom } from "../support/random.ts"
import { SqliteFiles } from "../support/sqlite-files.ts"

const random = testRandom()

const PAGE_SIZE = 512
const SECTOR_SIZE = 512
const MAGIC = "d9d505f920a163d7"

interface SegmentSpec {
  readonly count?: number
  readonly records?: readonly Uint8Array[]
}

function u32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value)
}

function header({
  count = 0,
  nonce = 77,
  pageCount = 9,
  sectorSize = SECTOR_SIZE,
  pageSize = PAGE_SIZE,
} = {}) {
  const bytes = new Uint8Array(sectorSize)
  bytes.set(
    concat(unhex(MAGIC), u32(count), u32(nonce), u32(pageCount), u32(sectorSize), u32(pageSize)),
  )
  return bytes
}

function record(pgno: number, fill = pgno): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE).fill(fill)
  return concat(u32(pgno), page, u32(journalChecksum(77, page)))
}

/** A journal of segments that each start at a sector. */
function journal(...segments: readonly SegmentSpec[]): Uint8Array {
  let bytes: Uint8Array = new Uint8Array(0)
  for (const { records = [], count = records.length } of segments) {
    bytes = concat(
      bytes,
      new Uint8Array(-bytes.length & (SECTOR_SIZE - 1)),
      header({ count }),
      ...records,
    )
  }
  return bytes
}

function pgnosOf(bytes: Uint8Array): number[] {
  return Array.from(readJournal(bytesSource(bytes)), ({ pgno }) => pgno)
}

/** What SQLite does with a hot journal. */
function playBack(database: Uint8Array, journalBytes: Uint8Array): Uint8Array {
  const source = bytesSource(journalBytes)
  const first = must(readJournalHeader(source), "journal header")
  const result = database.slice(0, first.initialPageCount * first.pageSize)
  for (const { pgno, page } of readJournal(source)) result.set(page, (pgno - 1) * first.pageSize)
  return result
}

describe("readJournal", () => {
  test.each([512, 4096])(
    "readJournal undoes a transaction that SQLite has half written, pages of %i bytes",
    (pageSize) => {
      using files = new SqliteFiles(`page_size=${pageSize}`, "journal_mode=DELETE", "cache_size=5")
      files.run("CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
      files.run(
        "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<500) INSERT INTO t SELECT i, randomblob(300) FROM c",
      )
      const before = files.read()
      files.run("BEGIN")
      for (let i = 0; i < 10; i++) {
        files.run(`UPDATE t SET x=randomblob(310) WHERE id%10=${i}`)
        files.run("INSERT INTO t(x) VALUES(randomblob(5000))")
        const [database, journalBytes] = [files.read(), files.read("-journal")]
        expect(isJournalActive(bytesSource(journalBytes))).toBe(true)
        expect(Buffer.compare(playBack(database, journalBytes), before)).toBe(0)
      }
      expect(Buffer.compare(files.read(), before)).not.toBe(0)
      files.run("ROLLBACK")
      expect(Buffer.compare(files.read(), before)).toBe(0)
    },
  )

  test("readJournal reads the segments in order", () => {
    const bytes = journal(
      { records: [record(3), record(1)] },
      { records: [record(5)] },
      { records: [record(2)] },
    )
    expect(pgnosOf(bytes)).toEqual([3, 1, 5, 2])
  })

  test("readJournal takes all records there are if the count is ffffffff", () => {
    expect(pgnosOf(journal({ count: 0xffffffff, records: [record(3), record(1)] }))).toEqual([3, 1])
  })

  test("readJournal takes none if the count is 0, since the segment was not synced", () => {
    expect(pgnosOf(journal({ count: 0, records: [record(3)] }))).toEqual([])
    expect(pgnosOf(journal({ records: [record(3)] }, { count: 0, records: [record(4)] }))).toEqual([
      3,
    ])
  })

  test("readJournal passes over pages that the transaction has added", () => {
    expect(pgnosOf(journal({ records: [record(3), record(10), record(4)] }))).toEqual([3, 4])
  })

  test.each([
    ["a checksum that is wrong", withByte(record(4), 4 + 312, 0)],
    ["page 0", record(0)],
    ["the lock page", record(2097153)],
    ["the end of the file", record(4).subarray(0, -1)],
  ])("readJournal ends at %s", (_, last) => {
    const records = [record(3), last, record(5)].slice(0, last.length < PAGE_SIZE + 8 ? 2 : 3)
    expect(pgnosOf(journal({ count: 3, records }, { records: [record(6)] })).slice(0, 2)).toEqual([
      3,
    ])
  })

  test("readJournal ends at a segment that does not start with the magic", () => {
    const bytes = journal({ records: [record(3)] }, { records: [record(4)] })
    expect(pgnosOf(withByte(bytes, 1536, 0))).toEqual([3])
  })

  test("readJournal of a journal without header is empty", () => {
    expect(pgnosOf(new Uint8Array(2000))).toEqual([])
  })
})

describe("readJournalHeader", () => {
  test("readJournalHeader reads the first header", () => {
    expect(readJournalHeader(bytesSource(header({ count: 5 })))).toEqual({
      recordCount: 5,
      nonce: 77,
      initialPageCount: 9,
      sectorSize: 512,
      pageSize: 512,
    })
  })

  test.each([
    ["less than a sector", header().subarray(0, 511)],
    ["another magic", withByte(header(), 0, 0)],
    ["a page size SQLite does not have", header({ pageSize: 513 })],
    ["a sector size that is no power of two", withByte(header({ sectorSize: 1024 }), 23, 1)],
    ["a sector size over 65536", withByte(header(), 21, 2)],
  ])("readJournalHeader refuses %s", (_, bytes) => {
    expect(readJournalHeader(bytesSource(bytes))).toBeUndefined()
  })

  test("decodeJournalHeader refuses fewer than 28 bytes", () => {
    expect(decodeJournalHeader(header().subarray(0, 28))).toBeDefined()
    expect(decodeJournalHeader(header().subarray(0, 27))).toBeUndefined()
  })
})

describe("isJournalActive", () => {
  test("isJournalActive is false for a journal that is empty or zeroed", () => {
    expect(isJournalActive(bytesSource(new Uint8Array(0)))).toBe(false)
    expect(isJournalActive(bytesSource(header().fill(0, 0, 28)))).toBe(false)
    expect(isJournalActive(bytesSource(header()))).toBe(true)
  })

  test("isJournalActive is false after a commit in journal mode PERSIST", () => {
    using files = new SqliteFiles("journal_mode=PERSIST")
    files.run("CREATE TABLE t(x)")
    expect(files.read("-journal").length).toBeGreaterThan(0)
    expect(isJournalActive(bytesSource(files.read("-journal")))).toBe(false)
  })
})

describe("journalChecksum", () => {
  test("journalChecksum adds every 200th byte from the end to the nonce, modulo 2^32", () => {
    const page = new Uint8Array(512)
    page[312] = 1
    page[112] = 2
    page[511] = 99
    expect(journalChecksum(5, page)).toBe(8)
    expect(journalChecksum(0xffffffff, page)).toBe(2)
  })
})

describe("readSuperJournalName", () => {
  function tail(name: Uint8Array, sum: number, size = name.length): Uint8Array {
    return concat(random.bytes(600), u32(2097153), name, u32(size), u32(sum), unhex(MAGIC))
  }

  const ascii = new TextEncoder().encode("/x/db-mj0123ABCD9")
  const asciiSum = ascii.reduce((sum, byte) => sum + byte, 0)

  test("readSuperJournalName reads the name at the end", () => {
    expect(readSuperJournalName(bytesSource(tail(ascii, asciiSum)))).toBe("/x/db-mj0123ABCD9")
  })

  test("readSuperJournalName takes sums of signed and of unsigned characters", () => {
    const name = new TextEncoder().encode("/é")
    expect(hex(name)).toBe("2fc3a9")
    const unsigned = 0x2f + 0xc3 + 0xa9
    for (const sum of [unsigned, (unsigned - 512) >>> 0]) {
      expect(readSuperJournalName(bytesSource(tail(name, sum)))).toBe("/é")
    }
  })

  test.each([
    ["no magic", tail(ascii, asciiSum).fill(0, -1)],
    ["another sum", tail(ascii, asciiSum + 1)],
    ["no name", tail(new Uint8Array(0), 0)],
    ["a size that is larger than the file", tail(ascii, asciiSum, 100_000)],
    ["nothing", new Uint8Array(15)],
  ])("readSuperJournalName is undefined for %s", (_, bytes) => {
    expect(readSuperJournalName(bytesSource(bytes))).toBeUndefined()
  })

  test("readSuperJournalName is undefined for a transaction in one database", () => {
    using files = new SqliteFiles("page_size=512", "journal_mode=DELETE", "cache_size=5")
    files.run("CREATE TABLE t(x)")
    files.run("BEGIN")
    for (let i = 0; i < 100; i++) files.run("INSERT INTO t VALUES(randomblob(400))")
    expect(files.read("-journal").length).toBeGreaterThan(0)
    expect(readSuperJournalName(bytesSource(files.read("-journal")))).toBeUndefined()
    files.run("ROLLBACK")
  })
})
