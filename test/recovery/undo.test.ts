/** Kills and power cuts in the middle of a transaction that was too large to hold and has taken free pages. */
import { afterEach, beforeEach, expect, test } from "bun:test"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { run } from "../../src/cli/main-command.ts"
import { recoverDatabase } from "../../src/recovery/recover.ts"
import { DataDir } from "../../src/store/data-dir.ts"
import { writeSynced } from "../../src/store/synced.ts"
import { setTrace, Trace, trace } from "../../src/sys/trace.ts"
import { DirectoryImage } from "../support/directory-image.ts"
import { FakeIo } from "../support/fake-io.ts"
import {
  beginAsSqlite,
  changedPages,
  copyAsKilled,
  freeLeaves,
  freePageImages,
  pageOf,
} from "../support/free-pages.ts"
import { fillOverlays } from "../support/full-overlays.ts"
import { MEMORY } from "../support/node.ts"
import { FATES, readTrace, TracedDirectory } from "../support/power-cut.ts"
import { testRandom } from "../support/random.ts"
import { RecordedLog } from "../support/recorded-log.ts"
import { RollbackClient } from "../support/rollback-client.ts"

const PAGE_SIZE = 512
const EMPTY = new Uint8Array(0)
const [BEFORE, AFTER] = freePageImages()
const random = testRandom()
let root = ""

beforeEach(() => {
  root = mkdtempSync(join(MEMORY, "litefs-undo-"))
})
afterEach(() => rmSync(root, { recursive: true }))

/** A client that has BEFORE, whose log has nothing of it that could be replayed: page 1 came with a later one. */
function opened(): RollbackClient {
  const client = new RollbackClient()
  const older = BEFORE.slice()
  older[99] = (older[99] as number) + 1
  client.commit(EMPTY, older, PAGE_SIZE)
  client.commit(older, BEFORE, PAGE_SIZE)
  return client
}

/** The directory of a node that is killed now, or that a power cut has left in `from`. */
function killed(client: RollbackClient, name: string, from = client.db.root): DataDir {
  const dataDir = new DataDir(join(root, name))
  dataDir.create()
  mkdirSync(dataDir.databaseDir("app.db"))
  copyAsKilled(from, dataDir.databaseDir("app.db"))
  const first = `${"1".padStart(16, "0")}-${"1".padStart(16, "0")}.ltx`
  rmSync(join(dataDir.ltxDir("app.db"), first)) // retention
  writeSynced(dataDir.syncedPath("app.db"), client.db.history.pos.txid)
  return dataDir
}

function expectRecovered(dataDir: DataDir, image: Uint8Array, txid: bigint): void {
  const log = new RecordedLog()
  const state = recoverDatabase("app.db", dataDir, log.logger)
  expect(state.pos.txid).toBe(txid)
  expect(Buffer.compare(readFileSync(dataDir.path("app.db", "database")), image)).toBe(0)
  for (const path of [dataDir.path("app.db", "journal"), dataDir.undoPath("app.db")]) {
    expect(existsSync(path)).toBe(false)
  }
}

test.each([0, 1])(
  "a kill after any page of it is undone, with room for %d MiB of it",
  (left) => {
    using client = opened()
    using _full = fillOverlays(left)
    beginAsSqlite(client, BEFORE, AFTER)
    let count = 0
    for (let at = 0; at < AFTER.length; at += PAGE_SIZE) {
      client.write(at, AFTER.subarray(at, at + PAGE_SIZE))
      if (at % (3 * PAGE_SIZE) !== 0) continue
      expectRecovered(killed(client, `${count++}`), BEFORE, 2n)
    }
    client.end("DELETE")
    expectRecovered(killed(client, "end"), AFTER, 3n)
  },
  30_000,
)

test.each([0, 1])(
  "a power cut after any call of it is undone, with room for %d MiB of it",
  (left) => {
    using client = opened()
    using _full = fillOverlays(left)
    const image = new DirectoryImage(client.db.root)
    const tracePath = join(root, "trace")
    setTrace(new Trace(tracePath))
    try {
      beginAsSqlite(client, BEFORE, AFTER)
      // More than there is room for, since the overlay begins anew with each part of a page.
      for (let at = 0; at < AFTER.length; at += PAGE_SIZE) {
        const page = AFTER.subarray(at, at + PAGE_SIZE)
        client.write(at, page)
        if (left > 0 && random.below(8) === 0) client.write(at, page.subarray(0, 100))
      }
    } finally {
      trace?.close()
      setTrace(undefined)
    }
    const events = readTrace(tracePath)
    expect(events.length).toBeGreaterThan(20)
    for (let cut = 0; cut < 60; cut++) {
      const traced = TracedDirectory.existing(client.db.root, events, image)
      traced.advance(random.pick(events).end)
      const [data, names] = [random.pick(FATES), random.pick(FATES)]
      const target = join(root, `cut-${cut}`)
      traced.cut(target, { random, data, names, inOrder: random.below(2) === 0 })
      expectRecovered(killed(client, `node-${cut}`, target), BEFORE, 2n)
    }
  },
  30_000,
)

test("a kill while a client rolls it back is undone, and afterwards the database is as the client has left it", () => {
  using client = opened()
  using _full = fillOverlays()
  const journal = beginAsSqlite(client, BEFORE, AFTER)
  client.writeChanges(BEFORE, AFTER, PAGE_SIZE)
  let count = 0
  for (const [pgno, page] of journal) {
    client.write((pgno - 1) * PAGE_SIZE, page)
    expectRecovered(killed(client, `${count++}`), BEFORE, 2n)
  }
  client.capture.truncateDatabase(BEFORE.length)
  expectRecovered(killed(client, "cut"), BEFORE, 2n)
  client.end("DELETE")
  expectRecovered(killed(client, "end"), client.db.content("database"), 3n)
})

test("a kill between the transaction and the end of its journal loses nothing", () => {
  using client = opened()
  using _full = fillOverlays()
  beginAsSqlite(client, BEFORE, AFTER)
  client.writeChanges(BEFORE, AFTER, PAGE_SIZE)
  const undo = readFileSync(join(client.db.root, "undo"))
  client.capture.journalEnding()
  const dataDir = killed(client, "end")
  writeFileSync(dataDir.undoPath("app.db"), undo) // its removal was not durable
  expectRecovered(dataDir, AFTER, 3n)
})

test("an undo file that has ended is put into nothing", () => {
  using client = opened()
  using _full = fillOverlays()
  beginAsSqlite(client, BEFORE, AFTER)
  client.writeChanges(BEFORE, AFTER, PAGE_SIZE)
  const undo = readFileSync(join(client.db.root, "undo"))
  client.end("DELETE")
  const next = AFTER.slice()
  next.fill(5, 2 * PAGE_SIZE)
  beginAsSqlite(client, AFTER, next)
  client.write(2 * PAGE_SIZE, next.subarray(2 * PAGE_SIZE, 3 * PAGE_SIZE))
  const dataDir = killed(client, "end")
  writeFileSync(dataDir.undoPath("app.db"), undo)
  expectRecovered(dataDir, AFTER, 3n)
})

test("a start looks at free pages of a killed transaction before it goes on with kept sums", () => {
  using client = opened()
  using _full = fillOverlays()
  beginAsSqlite(client, BEFORE, AFTER)
  const dataDir = killed(client, "before")
  recoverDatabase("app.db", dataDir, new RecordedLog().logger) // leaves sums
  const free = freeLeaves(BEFORE)
  const pgno = changedPages(BEFORE, AFTER).find((pgno) => free.has(pgno)) as number
  client.write((pgno - 1) * PAGE_SIZE, pageOf(AFTER, pgno)) // a page that no journal has
  copyAsKilled(client.db.root, dataDir.databaseDir("app.db"))
  const state = recoverDatabase("app.db", dataDir, new RecordedLog().logger, { isSameBoot: true })
  expect(state.isBelieved).not.toBe(true)
  expect(Buffer.compare(readFileSync(dataDir.path("app.db", "database")), BEFORE)).toBe(0)
})

test("litefs doctor rolls it back, with what the journal leaves out", async () => {
  using client = opened()
  using _full = fillOverlays()
  beginAsSqlite(client, BEFORE, AFTER)
  client.writeChanges(BEFORE, AFTER, PAGE_SIZE)
  const dataDir = killed(client, "node")
  const doctor = async (...args: string[]) => {
    const io = new FakeIo()
    const code = await run(["doctor", "--data-dir", dataDir.root, "--json", ...args], io)
    const { databases } = JSON.parse(io.out)
    return { code, found: databases[0].findings.map((finding: { code: string }) => finding.code) }
  }
  expect((await doctor()).found).toContain("journal-hot")
  await doctor("--repair")
  expect(await doctor()).toEqual({ code: 0, found: [] })
  expectRecovered(dataDir, BEFORE, 2n)
})
