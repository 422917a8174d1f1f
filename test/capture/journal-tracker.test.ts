import { describe, expect, test } from "bun:test"
import { JournalTracker } from "../../src/capture/journal-tracker.ts"
import { JOURNAL_MAGIC } from "../../src/sqlite/journal.ts"
import { concat } from "../support/bytes.ts"

function header(hasMagic: boolean): Uint8Array {
  const bytes = new Uint8Array(512)
  if (hasMagic) bytes.set(JOURNAL_MAGIC)
  new DataView(bytes.buffer).setUint32(24, 4096)
  return bytes
}

const MAGIC_AND_COUNT = concat(JOURNAL_MAGIC, new Uint8Array(4))

describe("JournalTracker", () => {
  test("JournalTracker is active from the magic number on, which SQLite writes after the sync", () => {
    const journal = new JournalTracker()
    journal.journalWritten(0, 512, header(false))
    expect([journal.isActive, journal.pageSize]).toEqual([false, 4096])
    journal.journalWritten(512, 4104, new Uint8Array(4104))
    expect(journal.isActive).toBe(false)
    journal.journalWritten(0, 12, MAGIC_AND_COUNT)
    expect([journal.isActive, journal.pageSize]).toEqual([true, 4096])
    journal.ended()
    expect(journal.isActive).toBe(false)
  })

  test("JournalTracker is active at once when the header is written with the magic number", () => {
    const journal = new JournalTracker()
    journal.journalWritten(0, 512, header(true))
    expect(journal.isActive).toBe(true)
  })

  test.each([0, 1, 3, 513, 98_304, 2 ** 31])(
    "JournalTracker knows no page size when the journal says %d",
    (pageSize) => {
      const bytes = header(true)
      new DataView(bytes.buffer).setUint32(24, pageSize)
      const journal = new JournalTracker()
      journal.journalWritten(0, 512, bytes)
      expect([journal.isActive, journal.pageSize]).toEqual([true, 0])
    },
  )

  test("JournalTracker counts what was written, in pages", () => {
    const journal = new JournalTracker()
    journal.databaseWritten(0, 100, 4096)
    journal.databaseWritten(8192, 8192, 4096)
    journal.databaseWritten(8192, 4096, 4096)
    expect([0, 4096, 12_288, 99_999].map((from) => journal.writtenSize(from))).toEqual([
      12_288, 8192, 4096, 0,
    ])
  })

  test.each([
    ["28 zeros at the start", 0, new Uint8Array(28), true],
    ["a sector of zeros", 0, new Uint8Array(512), false],
    ["12 zeros", 0, new Uint8Array(12), false],
    ["28 zeros elsewhere", 512, new Uint8Array(28), false],
    ["28 bytes that are not zero", 0, new Uint8Array(28).fill(1, 27), false],
  ])("JournalTracker.isEnd() of %s", (_, offset, bytes, isEnd) => {
    // The memory a write comes from is larger than the write.
    const memory = concat(bytes, new Uint8Array(64).fill(9))
    expect(new JournalTracker().isEnd(offset, bytes.length, memory)).toBe(isEnd)
  })

  test("JournalTracker lists the pages that were written, ascending", () => {
    const journal = new JournalTracker()
    expect(journal.isDirty).toBe(false)
    for (const [offset, size] of [
      [8192, 4096],
      [0, 100],
      [4095, 2],
      [8192, 4096],
      [12288, 8192],
    ] as const) {
      journal.databaseWritten(offset, size, 4096)
    }
    expect(journal.isDirty).toBe(true)
    expect([...journal.dirtyPages(9)]).toEqual([1, 2, 3, 4, 5])
    journal.ended()
    expect([...journal.dirtyPages(9)]).toEqual([])
  })

  test("JournalTracker takes what was cut off for written, whatever its size is in the end", () => {
    const journal = new JournalTracker()
    const database = { pageSize: 4096, commit: 9 }
    journal.databaseCut(9 * 4096, database)
    expect(journal.isDirty).toBe(false)
    journal.databaseWritten(0, 4096, 4096)
    journal.databaseWritten(7 * 4096, 4096, 4096)
    journal.databaseCut(5 * 4096 + 1, database)
    journal.databaseCut(8 * 4096, database)
    expect([...journal.dirtyPages(9)]).toEqual([1, 6, 7, 8, 9])
    journal.ended()
    expect(journal.isDirty).toBe(false)
  })

  test("JournalTracker counts in the smallest pages while a database has none", () => {
    const journal = new JournalTracker()
    journal.databaseWritten(0, 1024, 0)
    expect([...journal.dirtyPages(0)]).toEqual([1, 2])
  })
})
