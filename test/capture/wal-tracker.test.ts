import { describe, expect, test } from "bun:test"
import { WAL_FRAME_HEADER_SIZE } from "../../src/sqlite/wal.ts"
import { Errno, SysError } from "../../src/sys/errno.ts"
import { allocate } from "../../src/sys/memory.ts"
import { regionOf } from "../support/captured-database.ts"
import { pageOf } from "../support/ltx-file.ts"
import { testRandom } from "../support/random.ts"
import { SqliteFiles } from "../support/sqlite-files.ts"
import { TrackedWal } from "../support/tracked-wal.ts"
import { type WalPage, WalWriter } from "../support/wal-writer.ts"
import {
  anywhere,
  atPageBoundaries,
  committedFrames,
  type FileWrite,
  WalRecorder,
} from "../support/wal-writes.ts"

const PAGE_SIZE = 512
const random = testRandom()
const scratch = allocate(4096)

function walFiles(): SqliteFiles {
  return new SqliteFiles(
    `page_size=${PAGE_SIZE}`,
    "journal_mode=WAL",
    "wal_autocheckpoint=0",
    "cache_size=5",
    "auto_vacuum=NONE",
  )
}

function filled(byte: number, size = PAGE_SIZE): Uint8Array {
  return new Uint8Array(size).fill(byte)
}

function page(pgno: number, byte: number): WalPage {
  return pageOf(pgno, filled(byte))
}

/** A database of `count` pages, each filled with its number. */
function pagesUpTo(count: number): Uint8Array {
  const image = new Uint8Array(count * PAGE_SIZE).map((_, at) => Math.floor(at / PAGE_SIZE) + 1)
  pageOf(1, image.subarray(0, PAGE_SIZE))
  return image
}

/** Bytes that a test knows pages by: the last of each. */
function lastBytes(image: Uint8Array): number[] {
  const count = image.length / PAGE_SIZE
  return Array.from({ length: count }, (_, i) => image[(i + 1) * PAGE_SIZE - 1] as number)
}

const INSERT = "INSERT INTO t(a) VALUES(randomblob(400))"

/** Statements, and whether they add a transaction. */
const SCENARIOS: Record<string, readonly (readonly [sql: string, commits: boolean])[]> = {
  "small transactions": [
    ["CREATE TABLE t(id INTEGER PRIMARY KEY, a)", true],
    [INSERT, true],
    ["UPDATE t SET a = randomblob(3000)", true],
    ["DELETE FROM t", true],
  ],
  "a transaction that spills": [
    ["CREATE TABLE t(id INTEGER PRIMARY KEY, a)", true],
    ["BEGIN", false],
    ...Array.from({ length: 20 }, (): [string, boolean] => [INSERT, false]),
    ["COMMIT", true],
    [INSERT, true],
  ],
  "pages that are spilled and changed again": [
    ["CREATE TABLE t(id INTEGER PRIMARY KEY, a)", true],
    ["BEGIN", false],
    ...Array.from({ length: 12 }, (): [string, boolean] => [INSERT, false]),
    ["UPDATE t SET a = randomblob(400)", false],
    ["UPDATE t SET a = zeroblob(400) WHERE id > 4", false],
    ["UPDATE t SET a = zeroblob(300) WHERE id < 9", false],
    ["COMMIT", true],
    [INSERT, true],
  ],
  "pages that are spilled twice with the same content": [
    ["CREATE TABLE t(id INTEGER PRIMARY KEY, a)", true],
    ["BEGIN", false],
    ["INSERT INTO t(a) SELECT zeroblob(400) FROM sqlite_schema", false],
    ...Array.from({ length: 12 }, (): [string, boolean] => [
      "INSERT INTO t(a) VALUES(zeroblob(400))",
      false,
    ]),
    ["UPDATE t SET a = randomblob(400) WHERE id < 8", false],
    ["UPDATE t SET a = zeroblob(400) WHERE id < 8", false],
    ["COMMIT", true],
    [INSERT, true],
  ],
  "a rollback after spilling": [
    ["CREATE TABLE t(id INTEGER PRIMARY KEY, a)", true],
    [INSERT, true],
    ["BEGIN", false],
    ...Array.from({ length: 20 }, (): [string, boolean] => [INSERT, false]),
    ["ROLLBACK", false],
    [INSERT, true],
    ["BEGIN", false],
    ...Array.from({ length: 30 }, (): [string, boolean] => [INSERT, false]),
    ["COMMIT", true],
  ],
  "a savepoint that is rolled back after spilling": [
    ["CREATE TABLE t(id INTEGER PRIMARY KEY, a)", true],
    ["BEGIN", false],
    [INSERT, false],
    ["SAVEPOINT s", false],
    ...Array.from({ length: 20 }, (): [string, boolean] => [INSERT, false]),
    ["ROLLBACK TO s", false],
    [INSERT, false],
    ["COMMIT", true],
    [INSERT, true],
  ],
  "a database that shrinks and grows": [
    ["CREATE TABLE t(id INTEGER PRIMARY KEY, a)", true],
    ["INSERT INTO t(a) VALUES(randomblob(20000))", true],
    ["DELETE FROM t", true],
    ["VACUUM", true],
    ["INSERT INTO t(a) VALUES(randomblob(9000))", true],
  ],
}

const SPLITS = {
  "as SQLite makes them": (writes: ReturnType<typeof atPageBoundaries>) => writes,
  "cut at page boundaries": atPageBoundaries,
  "cut anywhere": (writes: ReturnType<typeof atPageBoundaries>) => anywhere(random, writes),
}

describe("WalTracker with a real writer", () => {
  for (const [scenario, steps] of Object.entries(SCENARIOS)) {
    test.each(Object.entries(SPLITS))(
      `WalTracker captures ${scenario}, once each, by writes %s`,
      (_, split) => {
        using files = walFiles()
        using wal = new TrackedWal(files.read(), PAGE_SIZE)
        const recorder = new WalRecorder(files)
        for (const [sql, commits] of steps) {
          const writes = split(recorder.run(sql))
          let completed = 0
          for (const write of writes) {
            if (wal.put(write)) completed += 1
            if (wal.tracker.captured !== committedFrames(wal.db.content("wal"))) wal.check()
          }
          expect(completed).toBe(commits ? 1 : 0)
          wal.check()
          if (commits) {
            expect(Buffer.compare(wal.db.replay(), files.database.serialize())).toBe(0)
          }
        }
        expect(Buffer.compare(wal.db.content("wal"), files.read("-wal"))).toBe(0)
        expect(wal.db.log.lines).toEqual([])
      },
    )
  }

  test("WalRecorder shows that SQLite writes headers again after the commit frame", () => {
    using files = walFiles()
    const recorder = new WalRecorder(files)
    const steps = SCENARIOS["pages that are spilled and changed again"] ?? []
    const offsets = steps.map(([sql]) => recorder.run(sql).map(({ offset }) => offset))
    const commit = offsets.at(-2) ?? []
    expect(commit.at(-1)).toBeLessThan(Math.max(...commit))
  })

  test("WalTracker goes on after a checkpoint and a restart, past frames of the round before", () => {
    using files = walFiles()
    using wal = new TrackedWal(files.read(), PAGE_SIZE)
    const recorder = new WalRecorder(files)
    wal.putAll(recorder.run("CREATE TABLE t(id INTEGER PRIMARY KEY, a)"))
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 6; i++) expect(wal.putAll(recorder.run(INSERT))).toBe(1)
      files.run("PRAGMA wal_checkpoint(PASSIVE)")
      checkpoint(wal, files.read())
      expect(wal.tracker.pages.writtenTxid).toBe(BigInt(wal.txid))
      const before = wal.txid
      const writes = recorder.run(INSERT)
      expect(writes[0]).toMatchObject({ offset: 0 })
      wal.putAll(writes)
      expect(wal.txid).toBe(before + 1)
      wal.check()
      const size = wal.db.content("wal").length
      expect(wal.tracker.captured * 536 + 32).toBeLessThan(size) // stale frames follow
    }
    expect(Buffer.compare(wal.db.replay(), files.database.serialize())).toBe(0)
    expect(wal.db.log.lines).toEqual([])
  })
})

/** What a checkpoint does to the database file, as WRITEs of its pages. */
function checkpoint(wal: TrackedWal, content: Uint8Array): void {
  for (let pgno = 1; pgno <= content.length / PAGE_SIZE; pgno++) {
    wal.putPage(pgno, content.subarray((pgno - 1) * PAGE_SIZE, pgno * PAGE_SIZE))
  }
}

/** A database of `count` pages, a WAL with a header, and a writer of it. */
function begin(count: number): { wal: TrackedWal; writer: WalWriter } & Disposable {
  const wal = new TrackedWal(pagesUpTo(count), PAGE_SIZE)
  const writer = new WalWriter(PAGE_SIZE)
  wal.put(writer.header)
  return { wal, writer, [Symbol.dispose]: () => wal[Symbol.dispose]() }
}

describe("WalTracker", () => {
  test("WalTracker captures at the last byte of the commit frame, and not before", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    const writes = writer.frames([page(2, 0xa2), page(3, 0xa3)], 3)
    for (const write of writes.slice(0, -1)) expect(wal.put(write)).toBe(false)
    const last = writes.at(-1) as { offset: number; bytes: Uint8Array }
    expect(wal.put({ offset: last.offset, bytes: last.bytes.subarray(0, -1) })).toBe(false)
    expect(wal.txid).toBe(1)
    const end = { offset: last.offset + PAGE_SIZE - 1, bytes: last.bytes.subarray(-1) }
    expect(wal.put(end)).toBe(true)
    expect(wal.txid).toBe(2)
    expect(lastBytes(wal.db.replay())).toEqual([1, 0xa2, 0xa3])
    wal.check()
  })

  test("WalTracker captures two transactions that become whole by one write", () => {
    using fixture = begin(2)
    const { wal, writer } = fixture
    const [first, second] = [writer.frames([page(1, 0xa1)], 2), writer.frames([page(2, 0xa2)], 2)]
    wal.putAll([...first.slice(1), ...second])
    expect(wal.txid).toBe(1)
    expect(wal.putAll(first.slice(0, 1))).toBe(1)
    expect(wal.txid).toBe(3)
    wal.check()
  })

  test("WalTracker takes the last version of a page that a transaction wrote twice", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    expect(wal.putAll(writer.frames([page(3, 0xb3), page(2, 0xa2), page(3, 0xa3)], 3))).toBe(1)
    expect(wal.db.pgnos(2)).toEqual([2, 3])
    expect(lastBytes(wal.db.replay())).toEqual([1, 0xa2, 0xa3])
  })

  test("WalTracker writes the frames that a transaction was made from into its LTX header", () => {
    using fixture = begin(2)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(1, 0xa1)], 2))
    wal.putAll(writer.frames([page(1, 0xb1), page(2, 0xb2)], 2))
    expect(wal.db.header(3)).toMatchObject({
      walOffset: writer.offset(1),
      walSize: 2 * 536,
      walSalt1: 1,
      walSalt2: 1000003,
    })
  })

  test("WalTracker leaves no trace of commit frames that pad a transaction", () => {
    using fixture = begin(2)
    const { wal, writer } = fixture
    const writes = [
      ...writer.frames([page(1, 0xa1)], 2),
      ...writer.frames([page(1, 0xa1)], 2),
      ...writer.frames([page(1, 0xa1)], 2),
    ]
    expect(wal.putAll(writes)).toBe(1)
    expect(wal.txid).toBe(2)
    expect(wal.tracker.captured).toBe(3)
    wal.check()
  })

  test("WalTracker leaves no trace of a transaction that sets what is there", () => {
    using fixture = begin(2)
    const { wal, writer } = fixture
    expect(wal.putAll(writer.frames([page(2, 2)], 2))).toBe(0)
    expect(wal.txid).toBe(1)
    expect(wal.tracker.pages.writtenTxid).toBe(1n)
    wal.check()
  })

  test("WalTracker gives the content of a page as of the last captured transaction", () => {
    using fixture = begin(2)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(2, 0xa2)], 3))
    wal.putAll(writer.frames([page(1, 0xb1)], 0)) // not committed
    const read = (pgno: number) => {
      const region = { address: scratch.address, bytes: scratch.bytes }
      wal.tracker.pages.readPage(pgno, region)
      return region.bytes[PAGE_SIZE - 1]
    }
    expect([1, 2, 3].map(read)).toEqual([1, 0xa2, 0])
  })
})

describe("WalTracker when a capture fails", () => {
  test("WalTracker makes the commit frame invalid, and captures the retry", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(1, 0xa1)], 3))
    const { pos } = wal.db.history
    const writes = writer.frames([page(2, 0xb2), page(3, 0xb3)], 3)
    wal.db.transactions.failures = 1
    wal.putAll(writes.slice(0, -1))
    expect(() => wal.put(writes.at(-1) as (typeof writes)[0])).toThrow(/no space left/)
    expect(wal.db.history.pos).toEqual(pos)
    expect(committedFrames(wal.db.content("wal"))).toBe(1)
    wal.check()

    expect(wal.putAll(writes)).toBe(1)
    expect(wal.txid).toBe(3)
    wal.check()
    expect(wal.db.ltxNames.length).toBe(3)
  })

  test("WalTracker captures another transaction in the place of a refused one", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    wal.db.transactions.failures = 1
    const writes = writer.frames([page(2, 0xa2), page(3, 0xa3)], 3)
    expect(() => wal.putAll(writes)).toThrow(/no space left/)
    writer.frameCount = 0
    expect(wal.putAll(writer.frames([page(1, 0xb1)], 3))).toBe(1)
    expect(lastBytes(wal.db.replay())).toEqual([0xb1, 2, 3])
    wal.check()
  })

  test("WalTracker refuses a spilled transaction at the header that completes its chain", () => {
    using files = walFiles()
    using wal = new TrackedWal(files.read(), PAGE_SIZE)
    const recorder = new WalRecorder(files)
    const steps = SCENARIOS["pages that are spilled and changed again"] ?? []
    for (const [sql] of steps.slice(0, -2)) wal.putAll(recorder.run(sql))
    const commit = recorder.run("COMMIT")
    wal.db.transactions.failures = 1
    wal.putAll(commit.slice(0, -1))
    expect(() => wal.put(commit.at(-1) as (typeof commit)[0])).toThrow(/no space left/)
    wal.check()
    expect(wal.putAll(commit)).toBe(1)
    wal.check()
    expect(Buffer.compare(wal.db.replay(), files.database.serialize())).toBe(0)
  })

  test("WalTracker refuses the writer also when the commit frame cannot be made invalid", () => {
    using fixture = begin(2)
    const { wal, writer } = fixture
    const writes = writer.frames([page(2, 0xa2)], 2)
    wal.putAll(writes.slice(0, 1))
    wal.db.transactions.failures = 1
    const last = writes.at(-1) as (typeof writes)[0]
    wal.tracker.writing(last.offset, last.bytes.length, last.bytes)
    wal.db.wal.write(regionOf(last.bytes).address, last.bytes.length, last.offset)
    wal.db.wal.failing.set("write", Errno.EIO)
    expect(() => wal.tracker.written(last.offset, last.bytes.length)).toThrow(SysError)
    expect(wal.db.log.lines).toEqual(["error: cannot invalidate a refused commit in the WAL"])
    expect(wal.txid).toBe(1)
    // Whoever has the WAL next would find a commit that nobody has captured.
    expect(() => wal.tracker.handOver()).toThrow(SysError)
    wal.db.wal.failing.clear()
    expect(lastBytes(wal.recovered())[1]).toBe(0xa2)
    wal.changeHands()
    expect(lastBytes(wal.recovered())[1]).not.toBe(0xa2)
    wal.check()
  })
})

describe("WalTracker when a write comes below what is captured", () => {
  test("WalTracker takes back a transaction that its writer did not publish", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(1, 0xa1)], 3))
    wal.putAll(writer.frames([page(2, 0xb2), page(3, 0xb3)], 3)) // its writer dies here
    writer.frameCount = 1
    expect(wal.putAll(writer.frames([page(2, 0xc2)], 3))).toBe(1)
    expect(wal.txid).toBe(5) // 4 takes 3 back
    expect(wal.db.pgnos(4)).toEqual([2, 3])
    expect(wal.events).toEqual(["page 2 going", "page 3 going"])
    expect(lastBytes(wal.db.replay())).toEqual([0xa1, 0xc2, 3])
    expect(wal.db.log.lines).toEqual([
      "warn: took back transactions that their writer did not publish",
    ])
    wal.check()
  })

  test("WalTracker refuses a writer that does not know of what came while another thread had the WAL", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(1, 0xa1)], 3))
    wal.putAll(writer.frames([page(2, 0xb2), page(3, 0xb3)], 3))
    wal.changeHands()
    writer.frameCount = 1
    expect(() => wal.putAll(writer.frames([page(2, 0xc2)], 3))).toThrow(/has to begin again/)
    expect(() => wal.truncate(32 + 536)).toThrow(/has to begin again/)
    expect(() => wal.put(new WalWriter(PAGE_SIZE, 2).header)).toThrow(/has to begin again/)
    expect(lastBytes(wal.db.replay())).toEqual([0xa1, 0xb2, 0xb3])
    expect(wal.txid).toBe(3)
    writer.frameCount = 3
    wal.changeHands()
    wal.check()
  })

  // Its frames were spilled before the WAL changed hands: so many, and so many came from the other thread.
  test.each([
    [1, 0],
    [5, 0],
    [5, 1],
    [5, 4],
    [5, 5], // the next frame of the writer is in the right place, by chance
    [5, 9],
  ])(
    "WalTracker refuses a writer with %p spilled frames that goes on after the WAL has changed hands, with %p others",
    (spilledCount, otherCount) => {
      using fixture = begin(3)
      const { wal, writer } = fixture
      const pages = (byte: number, count: number) =>
        Array.from({ length: count }, (_, index) => page(1 + (index % 3), byte + index))
      wal.putAll(writer.frames([page(1, 0xa1)], 3))
      const spilled = writer.frames(pages(0x20, spilledCount), 0)
      wal.putAll(spilled)
      const other = new WalWriter(PAGE_SIZE)
      wal.putAll(other.frames([page(1, 0xa1)], 3))
      const others = otherCount === 0 ? [] : other.frames(pages(0x60, otherCount), 3)
      wal.putAll(others)
      const txid = wal.txid
      wal.changeHands()
      const expected = wal.db.replay()
      const commit = writer.frames([page(2, 0x77), page(3, 0x77)], 3)
      expect(() => wal.putAll(commit)).toThrow(/has to begin again/)
      // Pages that are changed once more go to their frames, and all headers are made anew.
      for (const { offset, bytes } of spilled.slice(1)) {
        if (bytes.length === WAL_FRAME_HEADER_SIZE) continue
        expect(() => wal.put({ offset, bytes: filled(9) })).toThrow(/has to begin again/)
      }
      const headers = [...spilled, ...commit].filter(({ bytes }) => bytes.length < PAGE_SIZE)
      expect(() => wal.putAll(headers)).toThrow(/has to begin again/)
      expect(wal.txid).toBe(txid)
      expect(Buffer.compare(wal.db.replay(), expected)).toBe(0)
      // The next writer is one that knows.
      expect(wal.putAll(other.frames([page(3, 0xc3)], 3))).toBe(1)
      expect(wal.db.replay()[2 * PAGE_SIZE]).toBe(0xc3)
      wal.check()
    },
  )

  test("WalTracker tells who takes the WAL over whether a transaction that has not ended may have frames in it", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    const hasSpilled = () => wal.tracker.handOver()?.hasSpilled
    wal.putAll(writer.frames([page(1, 0xa1)], 3))
    expect(hasSpilled()).toBe(false)
    const spilled = writer.frames([page(2, 0xa2), page(3, 0xa3)], 0)
    for (const write of spilled) {
      wal.put(write)
      expect(hasSpilled()).toBe(true)
    }
    wal.changeHands()
    expect(hasSpilled()).toBe(true) // whoever had it meanwhile
    writer.frameCount = 1
    wal.putAll(writer.frames([page(3, 0xc3)], 3))
    expect(hasSpilled()).toBe(false)
    wal.db.transactions.failures = 1
    expect(() => wal.putAll(writer.frames([page(1, 0xd1)], 3))).toThrow(/no space left/)
    expect(hasSpilled()).toBe(true)
  })

  test("WalTracker refuses frames without a header, as a writer goes on with that has begun the log in other hands", () => {
    using wal = new TrackedWal(pagesUpTo(3), PAGE_SIZE)
    const writer = new WalWriter(PAGE_SIZE)
    wal.put(writer.header)
    wal.putAll(writer.frames([page(1, 0xa1), page(2, 0xa2)], 0))
    wal.changeHands()
    expect(() => wal.putAll(writer.frames([page(3, 0xa3)], 3))).toThrow(/has to begin again/)
    expect(lastBytes(wal.db.replay())).toEqual([1, 2, 3])
    wal.put(writer.restart(2))
    expect(wal.putAll(writer.frames([page(1, 0xb1)], 3))).toBe(1)
    wal.check()
  })

  test("WalTracker lets a log start over that came from another thread and is in the database file", () => {
    using fixture = begin(2)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(2, 0xb2)], 2))
    wal.changeHands()
    wal.putPage(2, filled(0xb2))
    wal.put(writer.restart(2))
    expect(wal.putAll(writer.frames([page(1, 0xa1)], 2))).toBe(1)
    expect(lastBytes(wal.db.replay())).toEqual([0xa1, 0xb2])
    wal.check()
  })

  test("WalTracker takes back a transaction that was not published when the WAL changed hands", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(1, 0xa1)], 3))
    wal.putAll(writer.frames([page(2, 0xb2)], 3)) // its writer dies here
    wal.changeHands(1)
    writer.frameCount = 1
    expect(wal.putAll(writer.frames([page(3, 0xc3)], 3))).toBe(1)
    expect(lastBytes(wal.db.replay())).toEqual([0xa1, 2, 0xc3])
    wal.check()
  })

  test("WalTracker takes back several transactions at once, and restores what lies in earlier frames", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(2, 0xa2)], 3))
    wal.putAll(writer.frames([page(2, 0xb2)], 3))
    wal.putAll(writer.frames([page(2, 0xc2), page(3, 0xc3)], 3))
    writer.frameCount = 1
    const [first, ...rest] = writer.frames([page(1, 0xd1)], 3)
    wal.put(first as NonNullable<typeof first>)
    expect(lastBytes(wal.db.replay())).toEqual([1, 0xa2, 3])
    wal.check()
    wal.putAll(rest)
    expect(lastBytes(wal.db.replay())).toEqual([0xd1, 0xa2, 3])
    wal.check()
  })

  test("WalTracker takes back a transaction that made the database larger", () => {
    using fixture = begin(2)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(1, 0xa1)], 2))
    wal.putAll(writer.frames([page(3, 0xb3), page(4, 0xb4)], 4))
    expect(wal.db.history.commit).toBe(4)
    writer.frameCount = 1
    wal.putAll(writer.frames([page(2, 0xc2)], 2))
    expect(lastBytes(wal.db.replay())).toEqual([0xa1, 0xc2])
    wal.check()
  })

  test("WalTracker takes back a transaction that made the database smaller", () => {
    using fixture = begin(5)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(5, 0xa5)], 5))
    wal.putAll(writer.frames([page(1, 0xb1)], 2))
    writer.frameCount = 1
    wal.putAll(writer.frames([page(2, 0xc2)], 5))
    expect(lastBytes(wal.db.replay())).toEqual([1, 0xc2, 3, 4, 0xa5])
    expect(wal.tracker.pages.writtenTxid).toBeLessThan(BigInt(wal.txid))
    wal.check()
    // What came back above the smaller size is in the WAL only, and has to be checkpointed.
    expect(wal.tracker.pages.checkpoint()).toBe(true)
    expect(lastBytes(wal.db.content("database"))).toEqual([1, 0xc2, 3, 4, 0xa5])
  })

  test("WalTracker takes back nothing when the bytes are those that are there", () => {
    using fixture = begin(4)
    const { wal, writer } = fixture
    // A spilled transaction writes page 3 twice with the same content. The chain holds at its commit frame, and
    // walRewriteChecksums() still writes every header again.
    const writes = writer.frames([page(2, 0xa2), page(3, 0xa3), page(1, 0xa1)], 4)
    const isHeader = ({ bytes }: { bytes: Uint8Array }) => bytes.length === WAL_FRAME_HEADER_SIZE
    wal.putAll(writes.slice(0, 4)) // spilled
    wal.put(writes[3] as (typeof writes)[0]) // page 3 again, in its place
    expect(wal.putAll(writes.slice(4))).toBe(1)
    expect(wal.putAll(writes.filter(isHeader))).toBe(0)
    expect(wal.txid).toBe(2)
    expect(wal.events).toEqual([])
    expect(wal.db.log.lines).toEqual([])
    wal.check()
    expect(wal.putAll(writer.frames([page(2, 0xb2)], 4))).toBe(1)
    wal.check()
  })

  test("WalTracker takes back nothing for a repeat that crosses the end of what is captured", () => {
    using fixture = begin(2)
    const { wal, writer } = fixture
    const first = writer.frames([page(1, 0xa1)], 2)
    const second = writer.frames([page(2, 0xb2)], 2)
    const bytes = Buffer.concat([...first, ...second].map((write) => write.bytes))
    expect(wal.putAll(first)).toBe(1)
    wal.put({ offset: writer.offset(0), bytes }) // one write of both frames
    wal.check()
    expect(lastBytes(wal.db.replay())).toEqual([0xa1, 0xb2])
  })

  test("WalTracker changes nothing when the taking back fails", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(1, 0xa1)], 3))
    wal.putAll(writer.frames([page(2, 0xb2)], 3))
    writer.frameCount = 1
    const writes = writer.frames([page(3, 0xc3)], 3)
    wal.db.transactions.failures = 1
    expect(() => wal.putAll(writes)).toThrow(/no space left/)
    expect(wal.txid).toBe(3)
    wal.check()
    wal.putAll(writes)
    expect(lastBytes(wal.db.replay())).toEqual([0xa1, 2, 0xc3])
    wal.check()
  })

  test("WalTracker takes back transactions that a truncation cuts off", () => {
    using fixture = begin(2)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(1, 0xa1)], 2))
    wal.putAll(writer.frames([page(2, 0xb2)], 2))
    wal.truncate(writer.offset(1) + 100)
    expect(lastBytes(wal.db.replay())).toEqual([0xa1, 2])
    wal.check()
  })
})

describe("WalTracker when the log is begun again", () => {
  test("WalTracker takes back what was not in the database file", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(1, 0xa1)], 3))
    wal.putPage(1, page(1, 0xa1).data)
    wal.putAll(writer.frames([page(2, 0xb2)], 3)) // not published: no checkpoint copies it
    wal.put(writer.restart(2))
    expect(wal.events).toContain("all going")
    expect(lastBytes(wal.db.replay())).toEqual([0xa1, 2, 3])
    expect(wal.tracker.pages.writtenTxid).toBe(BigInt(wal.txid))
    wal.check()
    expect(wal.putAll(writer.frames([page(3, 0xc3)], 3))).toBe(1)
    wal.check()
  })

  test("WalTracker takes back nothing when everything is in the database file", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(1, 0xa1), page(3, 0xa3)], 3))
    wal.putPage(1, page(1, 0xa1).data)
    wal.putPage(3, filled(0xa3))
    wal.put(writer.restart(2))
    expect(wal.txid).toBe(2)
    expect(wal.tracker.captured).toBe(0)
    wal.check()
  })

  test("WalTracker does not take frames of the round before for new ones", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    for (let i = 0; i < 4; i++) wal.putAll(writer.frames([page(2, i)], 3))
    wal.putPage(2, filled(3))
    wal.put(writer.restart(2))
    const before = wal.txid
    expect(wal.putAll(writer.frames([page(1, 0xa1)], 3))).toBe(1)
    expect(wal.txid).toBe(before + 1)
    expect(wal.tracker.captured).toBe(1)
    wal.check()
  })

  test("WalTracker saves the pages of a WAL that is removed before its checkpoint", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(1, 0xa1)], 3))
    wal.putAll(writer.frames([page(2, 0xb2)], 3))
    wal.putAll(writer.frames([page(1, 0xc1)], 3))
    wal.truncate(0)
    expect(wal.txid).toBe(4)
    expect(lastBytes(wal.db.content("database"))).toEqual([0xc1, 0xb2, 3])
    expect(wal.events).toEqual(["all going", "database rewritten"])
    expect(wal.tracker.pages.writtenTxid).toBe(4n)
    expect(wal.db.log.lines).toEqual([
      "warn: saved transactions from a WAL that was removed before its checkpoint",
    ])
    wal.check()
  })

  test("WalTracker saves the one transaction of a WAL that is removed by no client of SQLite", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(2, 0xb2)], 3))
    wal.truncate(0, false)
    expect(wal.txid).toBe(2)
    expect(lastBytes(wal.db.content("database"))).toEqual([1, 0xb2, 3])
    expect(wal.events).toEqual(["all going", "database rewritten"])
    wal.check()
  })

  test("WalTracker takes back the one transaction that a truncating checkpoint did not know", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(1, 0xa1)], 3))
    wal.putPage(1, page(1, 0xa1).data)
    wal.putAll(writer.frames([page(2, 0xb2)], 3))
    wal.truncate(0)
    expect(lastBytes(wal.db.replay())).toEqual([0xa1, 2, 3])
    expect(lastBytes(wal.db.content("database"))).toEqual([0xa1, 2, 3])
    wal.check()
  })

  test("WalTracker takes back a transaction that a truncating checkpoint did not know, of a page that it copied", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(1, 0xa1), page(2, 0xa2)], 3))
    wal.putAll(writer.frames([page(2, 0xb2)], 3)) // not published
    wal.putPage(1, page(1, 0xa1).data)
    wal.putPage(2, filled(0xa2))
    wal.truncate(0)
    expect(lastBytes(wal.db.replay())).toEqual([0xa1, 0xa2, 3])
    expect(lastBytes(wal.db.content("database"))).toEqual([0xa1, 0xa2, 3])
    expect(wal.tracker.pages.writtenTxid).toBe(BigInt(wal.txid))
    wal.check()
  })

  test("WalTracker forgets everything with discard(), and saves nothing", () => {
    using fixture = begin(2)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(2, 0xa2)], 2))
    wal.tracker.discard()
    expect(wal.tracker.captured).toBe(0)
    expect(lastBytes(wal.db.content("database"))).toEqual([1, 2])
    expect(wal.tracker.lastTransaction()).toBeUndefined()
  })
})

describe("WalTracker.writtenTxid", () => {
  test("WalTracker.writtenTxid follows the checkpoint, page by page", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    expect(wal.tracker.pages.writtenTxid).toBe(1n)
    wal.putAll(writer.frames([page(1, 0xa1)], 3)) // 2
    wal.putAll(writer.frames([page(2, 0xb2)], 3)) // 3
    wal.putAll(writer.frames([page(1, 0xc1)], 3)) // 4
    expect(wal.tracker.pages.writtenTxid).toBe(1n)
    wal.putPage(1, page(1, 0xa1).data) // an older version, for a reader's sake
    expect(wal.tracker.pages.writtenTxid).toBe(1n)
    wal.putPage(1, page(1, 0xc1).data)
    expect(wal.tracker.pages.writtenTxid).toBe(2n)
    wal.putPage(2, filled(0xb2))
    expect(wal.tracker.pages.writtenTxid).toBe(4n)
  })

  test("WalTracker.writtenTxid does not wait for pages that were cut off", () => {
    using fixture = begin(4)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(4, 0xa4)], 4))
    wal.putAll(writer.frames([page(1, 0xb1)], 2))
    wal.putPage(1, page(1, 0xb1).data)
    expect(wal.tracker.pages.writtenTxid).toBe(3n)
  })

  test("WalTracker.writtenTxid does not wait for what was taken back to a page that was checkpointed before", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(2, 0xa2)], 3))
    wal.putPage(2, filled(0xa2))
    wal.putAll(writer.frames([page(2, 0xb2)], 3))
    writer.frameCount = 1
    wal.putAll(writer.frames([page(1, 0xc1)], 3))
    wal.putPage(1, page(1, 0xc1).data)
    expect(wal.tracker.pages.writtenTxid).toBe(BigInt(wal.txid))
    wal.put(writer.restart(2))
    expect(wal.db.log.lines.length).toBe(1) // of the one that was taken back
    wal.check()
  })

  test("WalTracker.checkpoint() puts the newest content into the file, and reports whether it did", () => {
    using fixture = begin(3)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(1, 0xa1), page(3, 0xa3)], 3))
    expect(wal.tracker.pages.checkpoint()).toBe(true)
    expect(lastBytes(wal.db.content("database"))).toEqual([0xa1, 2, 0xa3])
    expect(wal.tracker.pages.writtenTxid).toBe(2n)
    expect(wal.tracker.pages.checkpoint()).toBe(false)
  })
})

describe("WalTracker.lastTransaction()", () => {
  test("WalTracker.lastTransaction() tells what the wal-index would have to say", () => {
    using fixture = begin(4)
    const { wal, writer } = fixture
    expect(wal.tracker.lastTransaction()).toBeUndefined()
    wal.putAll(writer.frames([page(1, 0xa1)], 4))
    wal.putAll(writer.frames([page(3, 0xb3), page(2, 0xb2), page(3, 0xc3)], 4))
    expect(wal.tracker.lastTransaction()).toMatchObject({
      firstFrame: 2,
      pgnos: [3, 2, 3],
      pageSize: PAGE_SIZE,
      commit: 4,
      salt1: 1,
      salt2: 1000003,
    })
    writer.frameCount = 1
    const [first] = writer.frames([page(1, 0xd1)], 4)
    wal.put(first as NonNullable<typeof first>)
    expect(wal.tracker.lastTransaction()).toMatchObject({ firstFrame: 1, pgnos: [1] })
  })

  test("WalTracker.lastTransaction() includes the frames that pad it", () => {
    using fixture = begin(2)
    const { wal, writer } = fixture
    wal.putAll(writer.frames([page(1, 0xa1)], 2))
    wal.putAll(writer.frames([page(2, 0xb2)], 2))
    for (let i = 0; i < 2; i++) wal.putAll(writer.frames([page(2, 0xb2)], 2))
    expect(wal.tracker.lastTransaction()).toMatchObject({ firstFrame: 2, pgnos: [2, 2, 2] })
  })
})

/** Of a database that has so many pages: it may grow and shrink, and write a page twice. */
function someTransaction(size: number): { commit: number; pages: WalPage[] } {
  const commit = random.between(1, 8)
  const pages = Array.from({ length: random.between(1, 4) }, () =>
    page(random.between(1, commit), random.below(256)),
  )
  for (let pgno = size + 1; pgno <= commit; pgno++) pages.unshift(page(pgno, 0xee))
  if (commit !== size) pages.unshift(page(1, random.below(256)))
  for (const { pgno, data } of pages) if (pgno === 1) data[28] = commit // as SQLite does it
  return { commit, pages }
}

describe("WalTracker, model", () => {
  test("WalTracker agrees with what SQLite would recover, whatever writers do", () => {
    for (let round = 0; round < 8; round++) {
      const size = random.between(1, 6)
      using wal = new TrackedWal(pagesUpTo(size), PAGE_SIZE)
      const writer = new WalWriter(PAGE_SIZE)
      let salt = 1
      wal.put(writer.header)
      let published = 0 // frames that clients know of
      let size1 = size // pages, as clients know it
      const trace: string[] = []
      try {
        for (let step = 0; step < 25; step++) {
          const act = random.below(10)
          writer.frameCount = published
          if (act < 5) {
            const { commit, pages } = someTransaction(size1)
            const outcome = random.pick(["publish", "publish", "die", "torn", "fail"])
            trace.push(`${outcome} ${pages.map(({ pgno }) => pgno)} =${commit} at ${published}`)
            const writes = anywhere(random, writer.frames(pages, commit))
            if (outcome === "torn") writes.length = random.below(writes.length)
            if (outcome === "fail") wal.db.transactions.failures = 1
            try {
              for (const write of writes) {
                wal.put(write)
                wal.check()
              }
              if (outcome === "publish") {
                published = writer.frameCount
                size1 = commit
              }
            } catch (error) {
              if (!(error instanceof SysError)) throw error
            }
            wal.db.transactions.failures = 0
            wal.check()
          } else if (act < 8) {
            // A checkpoint of what is published, and sometimes a restart.
            const image = imageOf(wal, published, size1)
            trace.push(`checkpoint at ${published}`)
            if (published > 0) {
              checkpoint(wal, image)
              wal.db.database.truncate(image.length)
            }
            if (act === 7) {
              trace.push("restart")
              salt += 1
              wal.putAll(anywhere(random, [writer.restart(salt)]))
              published = 0
            }
            // The file of a database that an unpublished commit made smaller may be larger than that.
            wal.check()
          } else if (published > 0) {
            trace.push("repeat")
            const { offset, bytes } = headerAt(wal, random.below(published))
            wal.put({ offset, bytes })
            wal.check()
          }
        }
      } catch (error) {
        console.log(trace.join("\n"))
        throw error
      }
    }
  }, 30_000)
})

describe("WalTracker.follow(), model", () => {
  test("WalTracker.follow() captures what is published or synced, whatever writers do past it", () => {
    for (let round = 0; round < 10; round++) {
      const size = random.between(1, 6)
      using wal = new TrackedWal(pagesUpTo(size), PAGE_SIZE)
      const writer = new WalWriter(PAGE_SIZE)
      let salt = 1
      let published = 0 // frames that clients know of
      let size1 = size // pages, as clients know it
      const trace: string[] = []
      const put = ({ offset, bytes }: FileWrite) =>
        wal.db.wal.write(regionOf(bytes).address, bytes.length, offset)
      let image = pagesUpTo(size)
      const index = () => ({ frameCount: published, salt1: salt, salt2: (salt * 1000003) >>> 0 })
      const follow = (how: "published" | "whole") => {
        const before = wal.txid
        wal.tracker.follow(how === "whole" ? undefined : index())
        const { captured } = wal.tracker
        if (captured < published) throw new Error(`${captured} of ${published} frames are captured`)
        // What a dead writer has synced stays, while others begin to write over it.
        if (wal.txid !== before) image = imageOf(wal, captured, wal.db.history.commit)
        if (Buffer.compare(wal.db.replay(), image) !== 0)
          throw new Error(`The LTX files and the WAL up to ${captured} do not agree`)
      }
      put(writer.header)
      try {
        for (let step = 0; step < 30; step++) {
          const act = random.below(10)
          writer.frameCount = published
          if (act < 6) {
            const { commit, pages } = someTransaction(size1)
            const outcome = random.pick(["publish", "publish", "sync", "die", "die synced", "torn"])
            trace.push(`${outcome} ${pages.map(({ pgno }) => pgno)} =${commit} at ${published}`)
            const writes = anywhere(random, spilled(writer, published, pages, commit))
            if (outcome === "torn") writes.length = random.below(writes.length)
            for (const write of writes) {
              put(write)
              // Others checkpoint, which syncs the WAL.
              if (random.below(4) === 0) follow(random.pick(["published", "whole"]))
            }
            if (/sync/.test(outcome)) {
              follow("whole")
              const { txid } = wal
              follow("published") // before its writer publishes it
              expect(wal.txid).toBe(txid)
            }
            if (/publish|^sync/.test(outcome)) [published, size1] = [writer.frameCount, commit]
            if (random.below(2) === 0) follow("published")
          } else if (published > 0 && wal.tracker.captured <= published) {
            // A checkpoint of what is published, and sometimes a restart. Each of its pages comes by us.
            follow("published")
            if (wal.tracker.captured > published) continue
            trace.push(`checkpoint at ${published}`)
            const known = imageOf(wal, published, size1)
            checkpoint(wal, known)
            wal.db.database.truncate(known.length)
            if (act < 8) continue
            trace.push("restart")
            salt += 1
            for (const write of anywhere(random, [writer.restart(salt)])) put(write)
            published = 0
          }
        }
        follow("published")
      } catch (error) {
        console.log(trace.join("\n"))
        throw error
      }
    }
  }, 30_000)
})

/**
 * The frames of a transaction. Now and then a page was spilled and is written again: over the old one, and at the end the
 * headers from there on (SQLite: walRewriteChecksums).
 */
function spilled(writer: WalWriter, first: number, pages: WalPage[], commit: number): FileWrite[] {
  const final = [...pages]
  const at = random.below(pages.length)
  const { pgno } = pages[at] as WalPage
  if (pages.length < 2 || at === pages.length - 1 || pgno === 1 || random.below(2) === 0) {
    return writer.frames(pages, commit)
  }
  final[at] = page(pgno, random.below(256))
  const old = writer.frames(pages, commit)
  writer.frameCount = first
  const rewritten = writer.frames(final, commit)
  const again = rewritten[2 * at + 1] as FileWrite
  const headers = rewritten.slice(2 * at).filter((_, index) => index % 2 === 0)
  const spilledCount = 2 * random.between(at + 1, pages.length - 1)
  return [...old.slice(0, spilledCount), again, ...old.slice(spilledCount), ...headers]
}

/** The database after the first `count` frames of the WAL. */
function imageOf(wal: TrackedWal, count: number, pageCount: number): Uint8Array {
  const image = new Uint8Array(pageCount * PAGE_SIZE)
  image.set(wal.db.content("database").subarray(0, image.length))
  const bytes = wal.db.content("wal")
  for (let frame = 0; frame < count; frame++) {
    const at = 32 + frame * 536
    const pgno = new DataView(bytes.buffer).getUint32(at)
    if (pgno <= pageCount) image.set(bytes.subarray(at + 24, at + 536), (pgno - 1) * PAGE_SIZE)
  }
  return image
}

function headerAt(wal: TrackedWal, frame: number) {
  const at = 32 + frame * 536
  return { offset: at, bytes: wal.db.content("wal").slice(at, at + WAL_FRAME_HEADER_SIZE) }
}

test("WalTracker.endAtCaptured() leaves no commit after the captured ones, however often it is called", () => {
  using wal = new TrackedWal(pagesUpTo(3), PAGE_SIZE)
  const writer = new WalWriter(PAGE_SIZE)
  const put = ({ offset, bytes }: FileWrite) =>
    wal.db.wal.write(regionOf(bytes).address, bytes.length, offset)
  for (const write of [writer.header, ...writer.frames([page(2, 0xb2)], 3)]) put(write)
  const { salt1, salt2 } = { salt1: 1, salt2: 1000003 }
  wal.tracker.follow({ frameCount: 1, salt1, salt2 })
  wal.tracker.endAtCaptured() // nothing follows
  expect(committedFrames(wal.db.content("wal"))).toBe(1)
  for (const write of writer.frames([page(3, 0xc3)], 3)) put(write) // its writer was refused
  wal.tracker.follow({ frameCount: 1, salt1, salt2 })
  for (let times = 0; times < 3; times++) {
    wal.tracker.endAtCaptured()
    expect(committedFrames(wal.db.content("wal"))).toBe(1)
    wal.check()
  }
  writer.frameCount = 1
  for (const write of writer.frames([page(3, 0xd3)], 3)) put(write)
  wal.tracker.follow({ frameCount: 2, salt1, salt2 })
  expect(lastBytes(wal.db.replay())).toEqual([1, 0xb2, 0xd3])
  wal.check()
})

describe("WalTracker.refuse()", () => {
  const SALTS = { salt1: 1, salt2: 1000003 }

  /** One captured commit, and one whose writer syncs it, and is refused. */
  function refused() {
    const wal = new TrackedWal(pagesUpTo(3), PAGE_SIZE)
    const writer = new WalWriter(PAGE_SIZE)
    const put = (writes: Iterable<FileWrite>) => {
      for (const { offset, bytes } of writes) {
        wal.db.wal.write(regionOf(bytes).address, bytes.length, offset)
      }
    }
    const publish = (frameCount: number) => wal.tracker.follow({ frameCount, ...SALTS })
    put([writer.header, ...writer.frames([page(2, 0xb2)], 3)])
    publish(1)
    put(writer.frames([page(3, 0xc3)], 3))
    expect(committedFrames(wal.db.content("wal"))).toBe(2)
    wal.tracker.refuse({ frameCount: 1, ...SALTS })
    return { wal, writer, put, publish }
  }

  test("a recovery of the WAL does not find what was refused, and the next commit takes its place", () => {
    const { wal, writer, put, publish } = refused()
    using _ = wal
    publish(1)
    wal.tracker.refuse({ frameCount: 1, ...SALTS }) // another sync that fails
    expect(committedFrames(wal.db.content("wal"))).toBe(1)
    wal.check()
    writer.frameCount = 1
    put(writer.frames([page(3, 0xd3)], 3))
    publish(2)
    expect(committedFrames(wal.db.content("wal"))).toBe(2)
    expect(lastBytes(wal.db.replay())).toEqual([1, 0xb2, 0xd3])
    wal.check()
  })

  test("what another connection of the client publishes all the same is made whole, and captured", () => {
    const { wal, publish } = refused()
    using _ = wal
    publish(2)
    expect(committedFrames(wal.db.content("wal"))).toBe(2)
    expect(lastBytes(wal.db.replay())).toEqual([1, 0xb2, 0xc3])
    wal.check()
  })

  test("of a new WAL nothing is published, not even its salts", () => {
    using wal = new TrackedWal(pagesUpTo(3), PAGE_SIZE)
    const writer = new WalWriter(PAGE_SIZE)
    for (const { offset, bytes } of [writer.header, ...writer.frames([page(3, 0xc3)], 3)]) {
      wal.db.wal.write(regionOf(bytes).address, bytes.length, offset)
    }
    wal.tracker.refuse({ frameCount: 0, salt1: 0, salt2: 0 })
    expect(committedFrames(wal.db.content("wal"))).toBe(0)
    wal.check()
  })

  test("nothing is touched where the wal-index tells of another WAL, or nothing follows", () => {
    const { wal } = refused()
    using _ = wal
    const before = wal.db.content("wal").slice()
    wal.tracker.refuse({ frameCount: 1, salt1: 2, salt2: 2 })
    wal.tracker.refuse({ frameCount: 2, ...SALTS })
    expect(wal.db.content("wal")).toEqual(before)
  })
})

describe("WalTracker of a database without a log", () => {
  const CONTENT = pagesUpTo(5)

  function untracked(content: Uint8Array, pageSize = PAGE_SIZE): TrackedWal {
    const wal = new TrackedWal(content, pageSize, false)
    wal.db.wal.create()
    return wal
  }

  test("WalTracker has every page in the first transaction", () => {
    using wal = untracked(CONTENT)
    const writer = new WalWriter(PAGE_SIZE)
    wal.put(writer.header)
    expect(wal.putAll(writer.frames([page(2, 0xa2)], 5))).toBe(1)
    expect(wal.db.pgnos(1)).toEqual([1, 2, 3, 4, 5])
    expect(lastBytes(wal.db.replay())).toEqual([1, 0xa2, 3, 4, 5])
    wal.check()
    writer.frameCount = 0
    expect(wal.putAll(writer.frames([page(3, 0xb3)], 5))).toBe(1) // the first one was not published
    wal.check()
  })

  test("WalTracker takes no transaction of a database that is not there", () => {
    using wal = untracked(new Uint8Array(0))
    const writer = new WalWriter(PAGE_SIZE)
    expect(() => wal.put(writer.header)).toThrow("its database was removed or replaced")
    expect(wal.db.content("wal").length).toBe(0)
    expect(wal.txid).toBe(0)
  })

  test.each(["logged", "without a log"])(
    "WalTracker takes no transaction of a database (%s) with pages of another size",
    (how) => {
      using wal = how === "logged" ? new TrackedWal(CONTENT, PAGE_SIZE) : untracked(CONTENT)
      const writer = new WalWriter(1024)
      wal.put(writer.header)
      const writes = writer.frames([{ pgno: 1, data: filled(1, 1024) }], 1)
      expect(() => wal.putAll(writes)).toThrow("its database was removed or replaced")
      expect(wal.txid).toBe(how === "logged" ? 1 : 0)
      expect(committedFrames(wal.db.content("wal"))).toBe(0)
    },
  )

  test("WalTracker counts the pages that page 1 has, when a commit counts those of a longer file", () => {
    using files = walFiles()
    files.run("CREATE TABLE t(a)")
    files.run(INSERT)
    files.run("PRAGMA wal_checkpoint(TRUNCATE)")
    const content = files.read()
    const count = content.length / PAGE_SIZE
    using wal = new TrackedWal(content, PAGE_SIZE)
    wal.db.database.truncate((count + 3) * PAGE_SIZE)
    const writer = new WalWriter(PAGE_SIZE)
    wal.put(writer.header)
    expect(wal.putAll(writer.frames([page(2, 0xa2)], count + 3))).toBe(1)
    expect(wal.db.header(2).commit).toBe(count)
    writer.frameCount = 0
    expect(wal.putAll(writer.frames([page(2, 0xb2)], count + 3))).toBe(1)
    expect(wal.txid).toBe(4)
    for (const txid of [3, 4]) expect(wal.db.header(txid).commit).toBe(count)
    wal.db.replay()
  })

  test("WalTracker.holdsFrom() tells whether what is cut off the file is in the WAL", () => {
    using fixture = begin(5)
    const { wal, writer } = fixture
    expect(wal.tracker.pages.holdsFrom(5 * PAGE_SIZE)).toBe(true)
    expect(wal.tracker.pages.holdsFrom(4 * PAGE_SIZE)).toBe(false)
    wal.putAll(writer.frames([page(5, 0xa5), page(7, 0xa7), page(6, 0xa6)], 7))
    expect(wal.tracker.pages.holdsFrom(4 * PAGE_SIZE)).toBe(true)
    expect(wal.tracker.pages.holdsFrom(4 * PAGE_SIZE - 1)).toBe(false)
  })
})
