import { describe, expect, test } from "bun:test"
import { existsSync } from "node:fs"
import { join } from "node:path"
import type { FrozenView } from "../../src/capture/frozen-view.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { FileSource } from "../../src/store/ltx/file-source.ts"
import { readUndo } from "../../src/store/undo-file.ts"
import { Errno } from "../../src/sys/errno.ts"
import { allocate } from "../../src/sys/memory.ts"
import { CapturedDatabase, regionOf } from "../support/captured-database.ts"
import {
  beginAsSqlite,
  changedPages,
  freeLeaves,
  freePageImages,
  pageOf,
} from "../support/free-pages.ts"
import { fillOverlays } from "../support/full-overlays.ts"
import { testRandom } from "../support/random.ts"
import {
  imagesAfter,
  type JournalEnd,
  makeCapture,
  RollbackClient,
} from "../support/rollback-client.ts"
import { SqliteFiles } from "../support/sqlite-files.ts"
import { WalRecorder } from "../support/wal-writes.ts"

const random = testRandom()
const PAGE_SIZE = 512
const EMPTY = new Uint8Array(0)

const [CREATED, GROWN, CHANGED, SHRUNK] = imagesAfter(
  ["page_size=512"],
  "CREATE TABLE t(id INTEGER PRIMARY KEY, a)",
  "INSERT INTO t(a) VALUES(zeroblob(3000)), (zeroblob(100))",
  "UPDATE t SET a = randomblob(100) WHERE id = 2",
  "DELETE FROM t; VACUUM",
) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array]

/** What is done to the files, but to the one of old pages. */
function callsOf(client: RollbackClient): string[] {
  return client.db.calls.filter((call) => !call.startsWith("undo"))
}

function changesOf(client: RollbackClient): string[] {
  return client.db.calls.filter((call) => /^database (write|truncate)/.test(call))
}

describe("Capture of rollback transactions", () => {
  test.each<JournalEnd>(["DELETE", "TRUNCATE", "PERSIST"])(
    "Capture makes a transaction of what journal_mode=%s commits",
    (how) => {
      using client = new RollbackClient()
      let before: Uint8Array = EMPTY
      for (const after of [CREATED, GROWN, CHANGED, SHRUNK, GROWN]) {
        client.commit(before, after, PAGE_SIZE, how)
        expect(Buffer.compare(client.db.replay(), after)).toBe(0)
        expect(Buffer.compare(client.db.content("database"), after)).toBe(0)
        before = after
      }
      expect(client.events).toEqual([1, 2, 3, 4, 5].map((txid) => `commit ${txid}`))
      expect(client.capture.writtenTxid).toBe(5n)
    },
  )

  test("Capture holds pages back until the commit, and clients see them all the same", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, CREATED, PAGE_SIZE)
    client.db.calls.length = 0
    client.begin(PAGE_SIZE, CREATED.length / PAGE_SIZE)
    client.writeChanges(CREATED, GROWN, PAGE_SIZE)
    expect(changesOf(client)).toEqual([])
    expect(Buffer.compare(client.db.content("database"), CREATED)).toBe(0)
    expect(client.capture.databaseSize()).toBe(GROWN.length)
    expect(Buffer.compare(client.read(), GROWN)).toBe(0)
    client.end("DELETE")
    expect(Buffer.compare(client.db.content("database"), GROWN)).toBe(0)
  })

  test("Capture makes room for new pages while it can still refuse them", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, CREATED, PAGE_SIZE)
    client.db.calls.length = 0
    client.begin(PAGE_SIZE)
    client.write(CREATED.length, GROWN.subarray(0, PAGE_SIZE))
    expect(client.db.calls).toContain(`database reserve ${CREATED.length}+${PAGE_SIZE}`)
    client.db.database.failing.set("reserve", Errno.ENOSPC)
    expect(() => client.write(CREATED.length + PAGE_SIZE, GROWN.subarray(0, PAGE_SIZE))).toThrow(
      /no space left/,
    )
  })

  test("Capture reads any part of a page that is held", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, GROWN, PAGE_SIZE)
    client.begin(PAGE_SIZE)
    client.writeChanges(GROWN, CHANGED, PAGE_SIZE)
    for (let i = 0; i < 50; i++) {
      const offset = random.below(CHANGED.length + 600)
      const size = random.between(1, 2000)
      const into = allocateOnce()
      const n = client.capture.readDatabase(offset, size, into)
      expect(Buffer.from(into.bytes.subarray(0, n))).toEqual(
        Buffer.from(CHANGED.subarray(offset, offset + size)),
      )
    }
  })

  test.each<JournalEnd>(["DELETE", "TRUNCATE", "PERSIST"])(
    "Capture of a rollback leaves no trace and writes nothing to the file (%s)",
    (how) => {
      using client = new RollbackClient()
      client.commit(EMPTY, CREATED, PAGE_SIZE)
      client.db.calls.length = 0
      client.begin(PAGE_SIZE)
      client.writeChanges(CREATED, GROWN, PAGE_SIZE)
      client.write(0, CREATED.subarray(0, PAGE_SIZE)) // the pages of the journal, put back
      client.write(PAGE_SIZE, CREATED.subarray(PAGE_SIZE, 2 * PAGE_SIZE))
      client.capture.truncateDatabase(CREATED.length)
      client.end(how)
      expect(client.db.txid).toBe(1)
      expect(changesOf(client)).toEqual([])
      expect(client.capture.databaseSize()).toBe(CREATED.length)
      expect(Buffer.compare(client.db.content("database"), CREATED)).toBe(0)
    },
  )

  test("Capture of a transaction without a change leaves no trace", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, CREATED, PAGE_SIZE)
    client.begin(PAGE_SIZE)
    client.end("DELETE")
    client.commit(CREATED, CREATED, PAGE_SIZE)
    expect(client.events).toEqual(["commit 1"])
  })

  test("Capture makes the first transaction of a new database from the journal's page size", () => {
    using client = new RollbackClient()
    client.begin(PAGE_SIZE)
    client.write(0, CREATED)
    expect(changesOf(client)).toEqual([])
    client.end("DELETE")
    expect(client.db.pgnos(1)).toEqual([1, 2])
    expect(Buffer.compare(client.db.content("database"), CREATED)).toBe(0)
  })

  test("Capture of a database whose creation is rolled back leaves no trace", () => {
    using client = new RollbackClient()
    client.begin(PAGE_SIZE)
    client.write(0, CREATED.subarray(0, PAGE_SIZE))
    client.capture.truncateDatabase(0)
    client.end("DELETE")
    expect(client.db.txid).toBe(0)
    expect(client.db.content("database").length).toBe(0)
  })

  test("Capture puts every page into the first transaction of a database that has content", () => {
    using client = new RollbackClient(GROWN)
    expect(client.capture.databaseSize()).toBe(GROWN.length)
    client.commit(GROWN, CHANGED, PAGE_SIZE)
    expect(client.db.pgnos(1).length).toBe(GROWN.length / PAGE_SIZE)
    expect(Buffer.compare(client.db.replay(), CHANGED)).toBe(0)
  })

  test.each([
    [512, 1024],
    [1024, 512],
    [4096, 65536],
  ])("Capture takes a change of the page size from %d to %d", (from, to) => {
    const [before, after] = imagesAfter(
      [`page_size=${from}`],
      "CREATE TABLE t(a); INSERT INTO t VALUES(randomblob(9000))",
      `PRAGMA page_size=${to}; VACUUM`,
    ) as [Uint8Array, Uint8Array]
    using client = new RollbackClient()
    client.commit(EMPTY, before, from)
    client.begin(from)
    for (let at = 0; at < after.length; at += to) client.write(at, after.subarray(at, at + to))
    if (client.capture.databaseSize() > after.length) client.capture.truncateDatabase(after.length)
    client.end("DELETE")
    expect(client.db.header(2)).toMatchObject({ pageSize: to, commit: after.length / to })
    expect(Buffer.compare(client.db.replay(), after)).toBe(0)
    expect(Buffer.compare(client.db.content("database"), after)).toBe(0)
  })

  test("Capture takes the size of the file for that of a database whose header does not tell", () => {
    const image = GROWN.slice()
    image[92 + 3] = (image[92 + 3] as number) ^ 1 // the page count is from another version
    using client = new RollbackClient()
    client.commit(EMPTY, image, PAGE_SIZE)
    expect(client.db.history.commit).toBe(GROWN.length / PAGE_SIZE)
    client.db.replay()
  })

  test("Capture agrees with SQLite after random transactions, rollbacks among them", () => {
    using files = new SqliteFiles("page_size=512")
    using client = new RollbackClient()
    let before: Uint8Array = EMPTY
    const statements = [
      "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, a)",
      "INSERT INTO t(a) VALUES(randomblob(1500))",
      "UPDATE t SET a = randomblob(300) WHERE id % 2 = 0",
      "DELETE FROM t WHERE id % 3 = 0",
      "VACUUM",
    ]
    files.run(statements[0] as string)
    for (let step = 0; step < 60; step++) {
      const after = files.read()
      const how = random.pick<JournalEnd>(["DELETE", "TRUNCATE", "PERSIST"])
      if (random.below(4) === 0) {
        client.begin(PAGE_SIZE)
        client.writeChanges(before, after, PAGE_SIZE)
        client.writeChanges(after, before, PAGE_SIZE)
        if (client.capture.databaseSize() !== before.length) {
          client.capture.truncateDatabase(before.length)
        }
        client.end(how)
        expect(Buffer.compare(client.read(), before)).toBe(0)
      }
      client.commit(before, after, PAGE_SIZE, how)
      expect(Buffer.compare(client.read(), after)).toBe(0)
      expect(Buffer.compare(client.db.content("database"), after)).toBe(0)
      before = after
      files.run(random.pick(statements))
    }
    expect(Buffer.compare(client.db.replay(), before)).toBe(0)
  })
})

let region: ReturnType<typeof allocate> | undefined
function allocateOnce() {
  region ??= allocate(65536)
  return region
}

describe("Capture of a rollback transaction that is too large to hold", () => {
  test("Capture syncs the journal, then writes what it held, then writes what does not fit", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, GROWN, PAGE_SIZE)
    client.begin(PAGE_SIZE)
    client.write(0, CHANGED.subarray(0, PAGE_SIZE))
    client.db.calls.length = 0
    client.write(PAGE_SIZE, CHANGED.subarray(PAGE_SIZE, PAGE_SIZE + 100)) // not a whole page
    client.write(PAGE_SIZE + 100, CHANGED.subarray(PAGE_SIZE + 100, 2 * PAGE_SIZE))
    expect(callsOf(client)).toEqual([
      "journal sync",
      `database write 0+${PAGE_SIZE}`,
      `database write ${PAGE_SIZE}+100`,
      `database write ${PAGE_SIZE + 100}+${PAGE_SIZE - 100}`,
    ])
  })

  test("Capture writes through what there is no memory for, and captures it", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, CREATED, PAGE_SIZE)
    using _full = fillOverlays()
    client.db.calls.length = 0
    client.commit(CREATED, GROWN, PAGE_SIZE)
    const order = callsOf(client).filter((call) => !/reserve|journal (write|truncate)/.test(call))
    expect(order[0]).toBe("journal sync")
    expect(order[1]).toStartWith("database write")
    expect(Buffer.compare(client.db.replay(), GROWN)).toBe(0)
    expect(client.capture.databaseSize()).toBe(GROWN.length)
  })

  test("Capture syncs the journal again when it has grown before the next page is written", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, GROWN, PAGE_SIZE)
    using _full = fillOverlays()
    client.begin(PAGE_SIZE)
    client.write(0, CHANGED.subarray(0, PAGE_SIZE))
    client.db.calls.length = 0
    client.writeJournal(2000, new Uint8Array(100))
    client.syncJournal()
    client.write(PAGE_SIZE, CHANGED.subarray(PAGE_SIZE, 2 * PAGE_SIZE))
    client.write(PAGE_SIZE, CHANGED.subarray(PAGE_SIZE, 2 * PAGE_SIZE))
    expect(callsOf(client).slice(2)).toEqual([
      "journal sync",
      `database write ${PAGE_SIZE}+${PAGE_SIZE}`,
      `database write ${PAGE_SIZE}+${PAGE_SIZE}`,
    ])
  })

  test("Capture does not write a page when the journal cannot be synced", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, GROWN, PAGE_SIZE)
    using _full = fillOverlays()
    client.begin(PAGE_SIZE)
    client.db.calls.length = 0
    client.db.journal.failing.set("sync", Errno.EIO)
    expect(() => client.write(0, CHANGED.subarray(0, PAGE_SIZE))).toThrow(/input\/output/)
    expect(changesOf(client)).toEqual([])
  })

  test("Capture of a rollback that was written through leaves no trace in the history", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, CREATED, PAGE_SIZE)
    using _full = fillOverlays()
    client.begin(PAGE_SIZE)
    client.writeChanges(CREATED, GROWN, PAGE_SIZE)
    client.writeChanges(GROWN, CREATED, PAGE_SIZE)
    client.end("DELETE")
    expect(client.db.txid).toBe(1)
    expect(Buffer.compare(client.db.content("database"), CREATED)).toBe(0)
  })

  // After a power cut without the journal nothing else would bring these pages back.
  test.each(["DELETE", "TRUNCATE", "PERSIST"] as const)(
    "Capture has what was written through on the disk before its journal ends by %s",
    (how) => {
      using client = new RollbackClient()
      client.commit(EMPTY, CREATED, PAGE_SIZE)
      using _full = fillOverlays()
      client.begin(PAGE_SIZE)
      client.writeChanges(CREATED, GROWN, PAGE_SIZE)
      client.writeChanges(GROWN, CREATED, PAGE_SIZE)
      client.db.calls.length = 0
      client.db.database.failing.set("sync", Errno.EIO)
      expect(() => client.end(how)).toThrow(/input\/output/)
      expect(client.db.calls).toEqual([`database truncate ${CREATED.length}`])
      client.db.database.failing.clear()
      client.end(how)
      expect(client.db.calls[1]).toBe("database sync")
      client.commit(CREATED, GROWN, PAGE_SIZE, how)
      expect(client.db.calls.filter((call) => call === "database sync").length).toBe(2)
      expect(Buffer.compare(client.db.replay(), GROWN)).toBe(0)
    },
  )

  test("Capture.freeze() waits for the end of a transaction that is in the file", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, CREATED, PAGE_SIZE)
    using _full = fillOverlays()
    client.begin(PAGE_SIZE)
    client.writeChanges(CREATED, GROWN, PAGE_SIZE)
    const views: FrozenView[] = []
    client.capture.freeze(join(client.db.root, "view"), (view) => views.push(view))
    expect(views.length).toBe(0)
    client.end("DELETE")
    expect(views.map(({ state }) => state.pos.txid)).toEqual([2n])
    for (const view of views) client.capture.thaw(view)
    expect(existsSync(join(client.db.root, "view"))).toBe(false)
  })
})

/** Pages whose old content is in the file that LiteFS keeps for that. */
function undoPages(client: RollbackClient): Map<number, Buffer> {
  using source = FileSource.open(join(client.db.root, "undo"))
  const pages = new Map<number, Buffer>()
  if (source === undefined) return pages
  for (const { pgno, page } of readUndo(source, client.db.history.pos)) {
    pages.set(pgno, Buffer.from(page))
  }
  return pages
}

describe("Capture of a large transaction that takes free pages", () => {
  test("Capture has what SQLite does not save on the disk before it is overwritten, and nothing else", () => {
    using client = new RollbackClient()
    const [before, after] = freePageImages()
    client.commit(EMPTY, before, PAGE_SIZE)
    using _full = fillOverlays()
    const journal = beginAsSqlite(client, before, after)
    const free = freeLeaves(before)
    expect([...changedPages(before, after)].some((pgno) => free.has(pgno))).toBe(true)
    for (const pgno of changedPages(before, after)) {
      client.db.calls.length = 0
      client.write((pgno - 1) * PAGE_SIZE, pageOf(after, pgno))
      const { calls } = client.db
      const write = calls.findIndex((call) => call.startsWith("database write"))
      expect(write).toBeGreaterThanOrEqual(0)
      expect(calls.includes("undo sync")).toBe(!journal.has(pgno))
      expect(calls.indexOf("undo sync")).toBeLessThan(write)
      const saved = undoPages(client)
      expect(saved.has(pgno)).toBe(!journal.has(pgno))
      for (const [number, page] of saved) {
        expect(Buffer.compare(page, pageOf(before, number))).toBe(0)
      }
    }
    client.writeChanges(before, after, PAGE_SIZE)
    client.end("DELETE")
    expect(existsSync(join(client.db.root, "undo"))).toBe(false)
    expect(Buffer.compare(client.db.replay(), after)).toBe(0)
    expect(Buffer.compare(client.db.content("database"), after)).toBe(0)
  })

  test("Capture syncs once for as many pages as it holds", () => {
    using client = new RollbackClient()
    const before = new Uint8Array(2300 * PAGE_SIZE).fill(7)
    before.set(CREATED.subarray(0, 100))
    new DataView(before.buffer).setUint32(28, before.length / PAGE_SIZE)
    client.commit(EMPTY, before, PAGE_SIZE)
    using _full = fillOverlays(1)
    client.begin(PAGE_SIZE, before.length / PAGE_SIZE)
    client.db.calls.length = 0
    const after = before.slice().fill(8, PAGE_SIZE)
    client.writeChanges(before, after, PAGE_SIZE)
    expect(client.db.calls.filter((call) => call === "undo sync").length).toBe(1)
    expect(Buffer.compare(client.read(), after)).toBe(0)
    after[99] = 1
    client.write(0, after.subarray(0, PAGE_SIZE))
    client.end("DELETE")
    expect(Buffer.compare(client.db.replay(), after)).toBe(0)
    expect(Buffer.compare(client.db.content("database"), after)).toBe(0)
  })

  test("Capture saves what is cut off before it writes over it", () => {
    using client = new RollbackClient()
    const [before] = freePageImages()
    client.commit(EMPTY, before, PAGE_SIZE)
    using _full = fillOverlays()
    client.begin(PAGE_SIZE, before.length / PAGE_SIZE)
    const kept = before.length - 5 * PAGE_SIZE
    client.capture.truncateDatabase(kept)
    client.write(kept + PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(1))
    const first = kept / PAGE_SIZE + 1
    expect([...undoPages(client).keys()].sort()).toEqual([0, 1, 2, 3, 4].map((i) => first + i))
    const seen = Buffer.concat([
      before.subarray(0, kept),
      new Uint8Array(PAGE_SIZE),
      new Uint8Array(PAGE_SIZE).fill(1),
    ])
    expect(Buffer.compare(client.read(), seen)).toBe(0)
  })

  test.each(["write", "sync", "truncate"])(
    "Capture refuses a page whose old content cannot be saved (%s), and goes on when it can",
    (call) => {
      using client = new RollbackClient()
      const [before, after] = freePageImages()
      client.commit(EMPTY, before, PAGE_SIZE)
      using _full = fillOverlays()
      const journal = beginAsSqlite(client, before, after)
      client.db.undo.failing.set(call, Errno.ENOSPC)
      expect(() => client.writeChanges(before, after, PAGE_SIZE)).toThrow(/no space left/)
      const free = freeLeaves(before)
      const image = client.db.content("database")
      for (const pgno of free) {
        expect(Buffer.compare(pageOf(image, pgno), pageOf(before, pgno))).toBe(0)
      }
      // SQLite rolls back, while the disk is still full.
      for (const [pgno, page] of journal) client.write((pgno - 1) * PAGE_SIZE, page)
      client.capture.truncateDatabase(before.length)
      client.end("DELETE")
      expect(Buffer.compare(client.db.content("database"), before)).toBe(0)
      expect(client.db.txid).toBe(1)
      client.db.undo.failing.clear()
      beginAsSqlite(client, before, after)
      client.writeChanges(before, after, PAGE_SIZE)
      client.end("DELETE")
      expect(Buffer.compare(client.db.replay(), after)).toBe(0)
    },
  )

  test("Capture of a rollback makes a transaction of free pages that stay changed, at any room", () => {
    const [before, after] = freePageImages()
    for (const left of [0, 1, 64]) {
      using client = new RollbackClient()
      client.commit(EMPTY, before, PAGE_SIZE)
      using _full = fillOverlays(left)
      const journal = beginAsSqlite(client, before, after)
      client.writeChanges(before, after, PAGE_SIZE)
      for (const [pgno, page] of journal) client.write((pgno - 1) * PAGE_SIZE, page)
      client.capture.truncateDatabase(before.length)
      client.end("DELETE")
      expect(Buffer.compare(client.db.replay(), client.db.content("database"))).toBe(0)
      expect(existsSync(join(client.db.root, "undo"))).toBe(false)
      expect(client.db.txid).toBe(2)
    }
  })

  test("Capture saves for the next position after a commit whose journal could not be taken away", () => {
    using client = new RollbackClient()
    const [before, after] = freePageImages()
    client.commit(EMPTY, before, PAGE_SIZE)
    using _full = fillOverlays()
    const journal = beginAsSqlite(client, before, after)
    client.writeChanges(before, after, PAGE_SIZE)
    const failing = () => {
      throw new Error("no")
    }
    expect(() => client.capture.journalEnding(failing)).toThrow("no")
    expect(client.db.txid).toBe(2)
    for (const [pgno, page] of journal) client.write((pgno - 1) * PAGE_SIZE, page)
    const saved = undoPages(client)
    expect([...saved.keys()].sort()).toEqual([...journal.keys()].sort())
    for (const [pgno, page] of saved) expect(Buffer.compare(page, pageOf(after, pgno))).toBe(0)
  })
})

describe("Capture, refusals and failures", () => {
  test("Capture says of what is no database that it does not belong there", () => {
    using client = new RollbackClient()
    for (const text of ["a text that is no database", "no"]) {
      expect(() => client.write(0, new TextEncoder().encode(text))).toThrow(
        /it is not a SQLite database, and nothing else can be in the mount, choose another directory$/,
      )
    }
    expect(() => client.write(0, GROWN.subarray(0, PAGE_SIZE))).toThrow(
      /without a rollback journal/,
    )
  })

  test("Capture refuses a write without a journal, and says so", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, GROWN, PAGE_SIZE)
    for (let i = 0; i < 2; i++) {
      expect(() => client.write(0, CHANGED.subarray(0, PAGE_SIZE))).toThrow(
        /without a rollback journal cannot be captured, use journal_mode DELETE/,
      )
    }
    expect(client.db.log.lines.length).toBe(2) // bounded by who has them said
    expect(Buffer.compare(client.db.content("database"), GROWN)).toBe(0)
  })

  test("Capture refuses a change of size without a journal, but for the size that is committed", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, GROWN, PAGE_SIZE)
    expect(() => client.capture.truncateDatabase(0)).toThrow(/change of size to 0 bytes/)
    expect(() => client.capture.truncateDatabase(PAGE_SIZE)).toThrow(LitefsError)
    client.capture.truncateDatabase(GROWN.length)
    expect(client.db.content("database").length).toBe(GROWN.length)
  })

  test("Capture refuses a size that no file can have, and has done nothing for it", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, GROWN, PAGE_SIZE)
    const refused = (act: () => unknown) => expect(act).toThrow(/file too large \(EFBIG\)/)
    const askForMuch = () => {
      for (const size of [2 ** 45, 2 ** 44, 2 ** 62]) {
        refused(() => client.capture.truncateDatabase(size))
        refused(() => client.capture.reserveDatabase(0, size, true))
        refused(() => client.capture.reserveDatabase(size, 1, false))
        refused(() => client.write(size, new Uint8Array(PAGE_SIZE)))
      }
      expect(client.capture.databaseSize()).toBe(GROWN.length)
    }
    askForMuch()
    client.begin(PAGE_SIZE)
    askForMuch()
    client.writeChanges(GROWN, CHANGED, PAGE_SIZE)
    client.end("DELETE")
    expect(Buffer.compare(client.db.replay(), CHANGED)).toBe(0)
  })

  test("Capture lets the file be longer than the database, whatever is beyond its end", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, GROWN, PAGE_SIZE)
    client.capture.truncateDatabase(GROWN.length + 100)
    client.write(GROWN.length + 5000, new Uint8Array(1))
    expect(client.capture.databaseSize()).toBe(GROWN.length + 5001)
    expect(client.capture.reserveDatabase(0, GROWN.length + 9000, false)).toBe(true)
    expect(client.capture.databaseSize()).toBe(GROWN.length + 5001)
    expect(client.capture.reserveDatabase(0, GROWN.length + 9000, true)).toBe(true)
    expect(client.capture.databaseSize()).toBe(GROWN.length + 9000)
    expect(client.db.txid).toBe(1)
    client.begin(PAGE_SIZE)
    client.write(GROWN.length + 9999, new Uint8Array(1)) // SQLITE_FCNTL_SIZE_HINT
    expect(changesOf(client).at(-1)).toBe(`database truncate ${GROWN.length + 9000}`)
    expect(client.capture.databaseSize()).toBe(GROWN.length + 10000)
    client.writeChanges(GROWN, CHANGED, PAGE_SIZE)
    client.end("DELETE")
    expect(client.db.header(2).commit).toBe(GROWN.length / PAGE_SIZE)
    expect(Buffer.compare(client.db.replay(), CHANGED)).toBe(0)
  })

  test.each([
    ["held back", () => {}],
    [
      "written through",
      (client: RollbackClient) => client.write(5 * PAGE_SIZE, CHANGED.subarray(0, 7)),
    ],
  ])(
    "Capture finds zeros where a transaction that is %s has cut the file and made it longer",
    (_, after) => {
      using client = new RollbackClient()
      client.commit(EMPTY, GROWN, PAGE_SIZE)
      const pageCount = GROWN.length / PAGE_SIZE
      client.begin(PAGE_SIZE, pageCount)
      client.write(3 * PAGE_SIZE, GROWN.subarray(0, PAGE_SIZE))
      client.capture.truncateDatabase(2 * PAGE_SIZE + 100)
      client.write(5 * PAGE_SIZE, GROWN.subarray(5 * PAGE_SIZE, 6 * PAGE_SIZE))
      after(client)
      client.capture.truncateDatabase(GROWN.length)
      const wanted = client.read().slice()
      expect(wanted.length).toBe(GROWN.length)
      for (const [from, to] of [
        [2 * PAGE_SIZE + 100, 5 * PAGE_SIZE],
        [6 * PAGE_SIZE, GROWN.length],
      ] as const) {
        expect(wanted.subarray(from, to).every((byte) => byte === 0)).toBe(true)
      }
      expect(
        Buffer.compare(
          wanted.subarray(0, 2 * PAGE_SIZE + 100),
          GROWN.subarray(0, 2 * PAGE_SIZE + 100),
        ),
      ).toBe(0)
      client.end("DELETE")
      expect(Buffer.compare(client.db.replay(), wanted)).toBe(0)
      expect(Buffer.compare(client.db.content("database"), wanted)).toBe(0)
    },
  )

  test("Capture of a transaction that has cut the file and is rolled back leaves no trace", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, GROWN, PAGE_SIZE)
    client.begin(PAGE_SIZE, GROWN.length / PAGE_SIZE)
    client.capture.truncateDatabase(2 * PAGE_SIZE)
    client.write(2 * PAGE_SIZE, GROWN.subarray(2 * PAGE_SIZE))
    client.end("DELETE")
    expect(client.db.txid).toBe(1)
    expect(Buffer.compare(client.db.content("database"), GROWN)).toBe(0)
  })

  test("Capture refuses a commit of what is no database", () => {
    using client = new RollbackClient()
    client.begin(PAGE_SIZE)
    client.write(0, new Uint8Array(PAGE_SIZE).fill(1))
    expect(() => client.end("DELETE")).toThrow(/its file has no SQLite header/)
    expect(client.db.txid).toBe(0)
  })

  test("Capture of a commit that the log refuses can be rolled back or tried again", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, CREATED, PAGE_SIZE)
    client.db.calls.length = 0
    client.begin(PAGE_SIZE)
    client.writeChanges(CREATED, GROWN, PAGE_SIZE)
    client.db.transactions.failures = 1
    expect(() => client.capture.journalEnding()).toThrow(/no space left/)
    expect(changesOf(client)).toEqual([])
    expect(Buffer.compare(client.read(), GROWN)).toBe(0) // the transaction is still open
    client.writeChanges(GROWN, CREATED, PAGE_SIZE)
    client.end("DELETE")
    expect(client.db.txid).toBe(1)
    client.commit(CREATED, GROWN, PAGE_SIZE)
    expect(Buffer.compare(client.db.replay(), GROWN)).toBe(0)
  })

  test.each([
    ["held back", () => {}, 1],
    ["cut", (client: RollbackClient) => client.capture.truncateDatabase(PAGE_SIZE), 0],
  ] as const)(
    "Capture writes a transaction that was %s later when the file could not take it",
    (_, before, half) => {
      using client = new RollbackClient()
      client.commit(EMPTY, CREATED, PAGE_SIZE)
      client.begin(PAGE_SIZE, CREATED.length / PAGE_SIZE)
      before(client)
      client.write(0, GROWN.subarray(0, GROWN.length - half * PAGE_SIZE))
      client.write(GROWN.length - PAGE_SIZE, GROWN.subarray(GROWN.length - PAGE_SIZE))
      const { database } = client.db
      database.failing.set("write", Errno.EIO)
      client.end("DELETE")
      expect([client.db.txid, client.db.log.lines.length]).toEqual([2, 1])
      expect(client.events.at(-1)).toBe("commit 2")
      // Readers find it, and nothing of the log may go.
      expect(Buffer.compare(client.read(), GROWN)).toBe(0)
      expect([client.capture.isTorn, client.capture.writtenTxid]).toEqual([true, 0n])
      expect(client.capture.settle()).toBe(false)
      for (const change of [
        () => client.capture.truncateDatabase(0),
        () => client.capture.walWriting(0, 32, new Uint8Array(32)),
        () => client.capture.handOver(() => {}),
        () => client.capture.replacing(),
      ]) {
        expect(change).toThrow(/its last transaction, which is in the log, could not be written/)
      }
      // Another transaction is refused, and comes to nothing.
      client.begin(PAGE_SIZE, GROWN.length / PAGE_SIZE)
      expect(() => client.write(0, CHANGED.subarray(0, PAGE_SIZE))).toThrow(/in the log/)
      client.end("DELETE")
      expect(Buffer.compare(client.read(), GROWN)).toBe(0)
      database.failing.clear()
      client.commit(GROWN, CHANGED, PAGE_SIZE)
      expect(client.db.txid).toBe(3)
      expect(client.capture.isTorn).toBe(false)
      expect(Buffer.compare(client.db.replay(), CHANGED)).toBe(0)
      expect(Buffer.compare(client.db.content("database"), CHANGED)).toBe(0)
    },
  )

  test("Capture.handOver() that fails has changed nothing, and is tried again", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, CREATED, PAGE_SIZE)
    using _full = fillOverlays()
    client.begin(PAGE_SIZE, CREATED.length / PAGE_SIZE)
    client.writeChanges(CREATED, GROWN, PAGE_SIZE)
    const fails = () => {
      throw new Error("no")
    }
    expect(() => client.capture.handOver(fails)).toThrow("no")
    expect(Buffer.compare(client.read(), GROWN)).toBe(0) // its transaction is still open
    let undone = 0
    const handover = client.capture.handOver(() => undone++)
    expect([handover.isUndone, undone, handover.state?.pos.txid]).toEqual([true, 1, 1n])
  })

  test("Capture.databaseRemoving() drops the database, and its name begins anew", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, GROWN, PAGE_SIZE)
    client.capture.databaseRemoving()
    client.db.database.remove().close()
    client.db.database.create()
    expect(client.events).toEqual(["commit 1", "commit 2"])
    expect(client.db.history.commit).toBe(0)
    client.commit(EMPTY, CREATED, PAGE_SIZE)
    expect(Buffer.compare(client.db.replay(), CREATED)).toBe(0)
    expect(client.db.pgnos(3)).toEqual([1, 2])
  })

  test("Capture.settle() does nothing while a transaction is unfinished", () => {
    using client = new RollbackClient()
    client.commit(EMPTY, CREATED, PAGE_SIZE)
    expect(client.capture.settle()).toBe(true)
    client.begin(PAGE_SIZE)
    client.writeChanges(CREATED, GROWN, PAGE_SIZE)
    expect(client.capture.settle()).toBe(false)
  })
})

describe("Capture of a WAL", () => {
  /** A database in WAL mode whose clients are real. */
  function walDatabase() {
    const files = new SqliteFiles("page_size=512", "journal_mode=WAL", "wal_autocheckpoint=0")
    const db = new CapturedDatabase(files.read())
    db.captureAll(PAGE_SIZE)
    db.wal.create()
    const events: string[] = []
    const capture = makeCapture(db, events)
    const recorder = new WalRecorder(files)
    const run = (sql: string, thread = 0) => {
      for (const { offset, bytes } of recorder.run(sql)) {
        capture.walWriting(offset, bytes.length, regionOf(bytes).bytes)
        db.wal.write(regionOf(bytes).address, bytes.length, offset)
        capture.walWritten(offset, bytes.length, thread)
      }
    }
    return {
      files,
      db,
      capture,
      events,
      run,
      [Symbol.dispose]() {
        db[Symbol.dispose]()
        files[Symbol.dispose]()
      },
    }
  }

  test("Capture announces a transaction when its commit frame is whole", () => {
    using wal = walDatabase()
    wal.run("CREATE TABLE t(a)")
    wal.run("INSERT INTO t VALUES(1)")
    expect(wal.events).toEqual(["commit 2", "commit 3"])
    expect(wal.capture.writtenTxid).toBe(1n)
    expect(wal.capture.databaseHeader()).toEqual(wal.files.database.serialize().slice(0, 100))
  })

  test("Capture lets checkpoints write the database file, and cut it", () => {
    using wal = walDatabase()
    wal.run("CREATE TABLE t(a)")
    wal.run("INSERT INTO t VALUES(zeroblob(5000))")
    wal.files.run("PRAGMA wal_checkpoint")
    const content = wal.files.read()
    for (let at = 0; at < content.length; at += PAGE_SIZE) {
      wal.capture.writeDatabase(at, PAGE_SIZE, regionOf(content.subarray(at, at + PAGE_SIZE)))
    }
    wal.capture.truncateDatabase(content.length)
    expect(wal.capture.writtenTxid).toBe(3n)
    wal.capture.truncateDatabase(content.length + 1) // in chunks (SQLITE_FCNTL_CHUNK_SIZE)
    expect(() => wal.capture.truncateDatabase(0)).toThrow(LitefsError)
    expect(wal.events).toEqual(["commit 2", "commit 3"])
  })

  test("Capture.settle() puts what is only in the WAL into the database file, and cuts it to size", () => {
    using wal = walDatabase()
    wal.run("CREATE TABLE t(a)")
    wal.run("INSERT INTO t VALUES(zeroblob(5000))")
    expect(wal.capture.settle()).toBe(true)
    expect(Buffer.compare(wal.db.content("database"), wal.files.database.serialize())).toBe(0)
    expect(wal.db.calls.at(-1)).toBe("database sync")
  })

  test("Capture.takeUnpublished() names the transaction of a writer that is gone, once", () => {
    using wal = walDatabase()
    const gone = 2 ** 22 + 5 // above every thread id there is
    wal.run("CREATE TABLE t(a)", gone)
    expect(wal.capture.takeUnpublished(0)).toBeUndefined()
    expect(wal.capture.takeUnpublished(process.pid)).toMatchObject({ firstFrame: 1, commit: 2 })
    expect(wal.capture.takeUnpublished(process.pid)).toBeUndefined()
  })

  test("Capture.takeUnpublished() leaves a writer of another process that lives alone", () => {
    using wal = walDatabase()
    wal.run("CREATE TABLE t(a)", process.pid)
    expect(wal.capture.takeUnpublished(1)).toBeUndefined()
    expect(wal.capture.takeUnpublished(process.pid)).toMatchObject({ firstFrame: 1 })
  })

  test("Capture of a change to journal_mode=DELETE refuses writes without a journal again", () => {
    const [wal, rollback] = [
      imagesAfter(["page_size=512", "journal_mode=WAL"], "PRAGMA user_version")[0],
      CREATED,
    ] as [Uint8Array, Uint8Array]
    using client = new RollbackClient()
    client.commit(EMPTY, wal, PAGE_SIZE)
    client.write(0, wal) // a checkpoint
    client.commit(wal, rollback, PAGE_SIZE)
    expect(() => client.write(0, rollback)).toThrow(/without a rollback journal/)
  })
})
