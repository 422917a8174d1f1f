import { describe, expect, test } from "bun:test"
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Capture } from "../../src/capture/capture.ts"
import { FrozenPages } from "../../src/capture/frozen-pages.ts"
import { FrozenView } from "../../src/capture/frozen-view.ts"
import { FrozenViews } from "../../src/capture/frozen-views.ts"
import { SideFile } from "../../src/capture/side-file.ts"
import { Errno } from "../../src/sys/errno.ts"
import { setFaults } from "../../src/sys/faults.ts"
import { CapturedDatabase, imageChecksum, regionOf } from "../support/captured-database.ts"
import { decodeLtxFile } from "../support/ltx-file.ts"
import { testRandom } from "../support/random.ts"
import { imagesAfter, makeCapture, RollbackClient } from "../support/rollback-client.ts"
import { LARGE_PAGE_SIZE as PAGE_SIZE, SlowSnapshot } from "../support/snapshots.ts"
import { type WalPage, WalWriter } from "../support/wal-writer.ts"
import type { FileWrite } from "../support/wal-writes.ts"

const random = testRandom()

const [WAL_HEAD] = imagesAfter(
  [`page_size=${PAGE_SIZE}`, "journal_mode=WAL"],
  "PRAGMA user_version",
) as [Uint8Array]
const [ROLLBACK_HEAD] = imagesAfter([`page_size=${PAGE_SIZE}`], "CREATE TABLE t(a)") as [Uint8Array]

// Of databases of all sizes: SQLite does not believe a count of zero, and counts the file.
new DataView(WAL_HEAD.buffer).setUint32(28, 0)

/** A page that is cheap to make: other bytes at its end, and SQLite's header in the first. */
function pageOf(pgno: number, head: Uint8Array): Uint8Array {
  const data = pgno === 1 ? head.slice(0, PAGE_SIZE) : new Uint8Array(PAGE_SIZE).fill(pgno)
  new DataView(data.buffer).setUint32(PAGE_SIZE - 4, random.u32())
  return data
}

function databaseOf(count: number, head: Uint8Array): Uint8Array {
  const image = new Uint8Array(count * PAGE_SIZE)
  for (let pgno = 1; pgno <= count; pgno++) image.set(pageOf(pgno, head), (pgno - 1) * PAGE_SIZE)
  return image
}

/** A database in WAL mode, its clients, and what it is after each of their transactions. */
class WalClients implements Disposable {
  readonly db: CapturedDatabase
  readonly capture: Capture
  readonly #writer = new WalWriter(PAGE_SIZE)
  #published: { frames: number; image: Uint8Array; newest: Map<number, Uint8Array> }
  #salt = 1
  /** What the history says: of the newest transaction, published or not. */
  image: Uint8Array

  constructor(count: number) {
    this.image = databaseOf(count, WAL_HEAD)
    this.db = new CapturedDatabase(this.image)
    this.db.captureAll(PAGE_SIZE)
    this.db.wal.create()
    this.capture = makeCapture(this.db)
    this.#published = { frames: 0, image: this.image, newest: new Map() }
    this.#put([this.#writer.header])
  }

  #put(writes: readonly FileWrite[]): void {
    for (const { offset, bytes } of writes) {
      this.capture.walWriting(offset, bytes.length, regionOf(bytes).bytes)
      this.db.wal.write(regionOf(bytes).address, bytes.length, offset)
      this.capture.walWritten(offset, bytes.length, 0)
    }
  }

  /** Pages that change, and perhaps the size. One that dies does not publish what it wrote. */
  commit(dies: boolean): void {
    const { image, frames, newest } = this.#published
    const before = image.length / PAGE_SIZE
    const commit = random.below(3) === 0 ? random.between(1, 7) : before
    const pages: WalPage[] = []
    for (let pgno = before + 1; pgno <= commit; pgno++) {
      pages.push({ pgno, data: pageOf(pgno, WAL_HEAD) })
    }
    for (let i = random.between(1, 2); i > 0; i--) {
      const pgno = random.between(1, commit)
      pages.push({ pgno, data: pageOf(pgno, WAL_HEAD) })
    }
    const next = new Uint8Array(commit * PAGE_SIZE)
    next.set(image.subarray(0, next.length))
    for (const { pgno, data } of pages) next.set(data, (pgno - 1) * PAGE_SIZE)
    this.#writer.frameCount = frames
    this.#put(this.#writer.frames(pages, commit))
    this.image = next
    if (dies) return
    const all = new Map(newest)
    for (const { pgno, data } of pages) all.set(pgno, data)
    this.#published = { frames: this.#writer.frameCount, image: next, newest: all }
  }

  /** Copies some, or all, of the published pages into the database file. */
  checkpoint(isWhole: boolean): void {
    const { image, newest } = this.#published
    for (const [pgno, data] of newest) {
      if (pgno * PAGE_SIZE > image.length || (!isWhole && random.below(2) === 0)) continue
      this.capture.writeDatabase((pgno - 1) * PAGE_SIZE, PAGE_SIZE, regionOf(data))
    }
    if (isWhole) this.capture.truncateDatabase(image.length)
  }

  /** A writer begins the log again, or a checkpoint empties it. */
  restart(isTruncation: boolean): void {
    this.checkpoint(true)
    if (isTruncation) {
      this.capture.walTruncating(0)
      this.db.wal.truncate(0)
    }
    this.#salt += 1
    this.#put([this.#writer.restart(this.#salt)])
    this.#published = { ...this.#published, frames: 0, newest: new Map() }
    this.image = this.#published.image
  }

  [Symbol.dispose](): void {
    this.db[Symbol.dispose]()
  }
}

describe("FrozenView and SnapshotReader", () => {
  test("SnapshotReader makes an LTX file of the database, with the position of the view", async () => {
    using clients = new WalClients(3)
    clients.commit(false)
    const { pos } = clients.db.history
    const snapshot = SlowSnapshot.of(clients.db.root, clients.capture, "ltx")
    const { header, pages, trailer } = decodeLtxFile(await snapshot.finish())
    expect(header).toMatchObject({ minTxid: 1n, maxTxid: pos.txid, preApplyChecksum: 0n })
    expect(trailer.postApplyChecksum).toBe(pos.checksum)
    expect(pages.length).toBe(clients.image.length / PAGE_SIZE)
  })

  test("SnapshotReader reads only what there is credit for", async () => {
    using clients = new WalClients(4)
    const snapshot = SlowSnapshot.of(clients.db.root, clients.capture)
    expect(snapshot.partCount).toBe(0)
    await snapshot.readPage()
    expect(snapshot.partCount).toBe(1)
    await snapshot.readPage()
    await snapshot.readPage()
    expect(snapshot.partCount).toBe(3)
    expect((await snapshot.finish()).length).toBe(4 * PAGE_SIZE)
  })

  test("SnapshotReader ends without an error when it is cancelled", async () => {
    using clients = new WalClients(4)
    const snapshot = SlowSnapshot.of(clients.db.root, clients.capture)
    await snapshot.readPage()
    snapshot.cancel()
    expect((await snapshot.finish()).length).toBe(PAGE_SIZE)
  })

  test("SnapshotReader refuses pages that were changed behind the view's back", async () => {
    using clients = new WalClients(3)
    const snapshot = SlowSnapshot.of(clients.db.root, clients.capture)
    const content = clients.db.content("database")
    content[2 * PAGE_SIZE] = (content[2 * PAGE_SIZE] as number) ^ 1
    writeFileSync(join(clients.db.root, "database"), content)
    await expect(snapshot.finish()).rejects.toThrow(/no longer sum to 0{15}1\//)
  })

  test("SnapshotReader does not take a database that has changed hands for a damaged one", async () => {
    using clients = new WalClients(3)
    const snapshot = SlowSnapshot.of(clients.db.root, clients.capture)
    await snapshot.readPage()
    clients.capture.handOver(() => {})
    const problem = await snapshot.finish().catch((error: unknown) => error)
    expect(problem).toMatchObject({ code: "unavailable" })
    expect(String(problem)).toContain("this node's role has changed")
  })

  test("FrozenView gives up a snapshot, not the client's write, when pages cannot be saved", async () => {
    using clients = new WalClients(3)
    const { history, database, wal, root } = clients.db
    const view = new FrozenView(
      history,
      { entries: () => [] },
      { database, wal, walDisguise: 0 },
      new SideFile(join(root, "side"), PAGE_SIZE),
    )
    setFaults({ check: (op) => (op === "snapshot:write" ? Errno.ENOSPC : 0) })
    try {
      view.saveRange(0, PAGE_SIZE)
    } finally {
      setFaults(undefined)
    }
    expect(new FrozenPages(view.state.pages).isBroken).toBe(true)
    view.saveRange(PAGE_SIZE, PAGE_SIZE) // and does not try again
    view.loseWal()
    expect(new FrozenPages(view.state.pages).isBroken).toBe(true)
  })

  test("FrozenView saves a page once, none that was read, and none beyond the last", async () => {
    using clients = new WalClients(4)
    const { history, database, wal, root } = clients.db
    const view = new FrozenView(
      history,
      { entries: () => [] },
      { database, wal, walDisguise: 0 },
      new SideFile(join(root, "side"), PAGE_SIZE),
    )
    const pages = new FrozenPages(view.state.pages)
    pages.nextToRead = 3
    for (let i = 0; i < 2; i++) view.saveRange(0, 100 * PAGE_SIZE)
    expect([1, 2, 3, 4].map((pgno) => pages.slot(pgno))).toEqual([undefined, undefined, 0, 1])
    expect(existsSync(view.state.sidePath)).toBe(true)
    view.close()
    expect(existsSync(view.state.sidePath)).toBe(false)
  })

  test("FrozenViews copies a page once for all, and uses again what nobody keeps", () => {
    using clients = new WalClients(6)
    const { history, database, wal, root } = clients.db
    const views = new FrozenViews()
    const files = { database, wal, walDisguise: 0 }
    const freeze = () => views.freeze(history, { entries: () => [] }, files, join(root, "side"))
    const change = (pgno: number) => {
      const offset = (pgno - 1) * PAGE_SIZE
      views.saveRange(offset, PAGE_SIZE)
      database.write(regionOf(pageOf(pgno, WAL_HEAD)).address, PAGE_SIZE, offset)
    }
    const kept = ({ state }: FrozenView, pgno: number) => {
      const slot = new FrozenPages(state.pages).slot(pgno) as number
      return readFileSync(state.sidePath).subarray(slot * PAGE_SIZE, (slot + 1) * PAGE_SIZE)
    }
    const pageNow = (pgno: number) =>
      Buffer.from(clients.db.content("database")).subarray((pgno - 1) * PAGE_SIZE, pgno * PAGE_SIZE)
    const before = [4, 5].map(pageNow)
    const early = Array.from({ length: 20 }, freeze)
    const { sidePath } = (early[0] as FrozenView).state
    const sizeOf = () => statSync(sidePath).size / PAGE_SIZE
    for (const pgno of [4, 5, 5]) change(pgno)
    expect(sizeOf()).toBe(2)
    const between = [4, 5].map(pageNow)
    const late = freeze()
    for (const pgno of [4, 5]) change(pgno) // another content, another copy
    expect(sizeOf()).toBe(4)
    for (const view of early) expect([4, 5].map((pgno) => kept(view, pgno))).toEqual(before)
    expect([4, 5].map((pgno) => kept(late, pgno))).toEqual(between)
    for (const view of early) views.thaw(view)
    for (const pgno of [2, 3]) change(pgno) // to where those were that are kept no longer
    expect(sizeOf()).toBe(4)
    expect([4, 5].map((pgno) => kept(late, pgno))).toEqual(between)
    expect(existsSync(join(root, "side"))).toBe(false)
    views.thaw(late)
    expect(existsSync(sidePath)).toBe(false)
  })

  test("SnapshotReader goes on when the database is removed meanwhile", async () => {
    using clients = new WalClients(3)
    clients.commit(false)
    const expected = clients.image
    const snapshot = SlowSnapshot.of(clients.db.root, clients.capture)
    await snapshot.readPage()
    clients.capture.walTruncating(0)
    clients.db.wal.remove().close()
    clients.capture.databaseRemoving()
    clients.db.database.remove().close()
    const bytes = await snapshot.finish()
    expect(imageChecksum(bytes, PAGE_SIZE)).toBe(imageChecksum(expected, PAGE_SIZE))
  })

  test("SnapshotReader sums to its position, whatever clients in WAL mode do meanwhile", async () => {
    for (let round = 0; round < 6; round++) {
      using clients = new WalClients(random.between(1, 6))
      const open: { snapshot: SlowSnapshot; image: Uint8Array }[] = []
      const trace: string[] = []
      const acts: Record<string, () => void | Promise<void>> = {
        commit: () => clients.commit(false),
        die: () => clients.commit(true),
        "checkpoint some": () => clients.checkpoint(false),
        "checkpoint all": () => clients.checkpoint(true),
        restart: () => clients.restart(false),
        truncate: () => clients.restart(true),
        read: async () => {
          for (const { snapshot } of open) if (random.below(2) === 0) await snapshot.readPage()
        },
        freeze: () => {
          if (open.length === 3) return
          const snapshot = SlowSnapshot.of(clients.db.root, clients.capture)
          open.push({ snapshot, image: clients.image })
        },
        finish: async () => {
          const [first] = open.splice(0, 1)
          if (first !== undefined) await check(first)
        },
      }
      const check = async ({ snapshot, image }: (typeof open)[0]) => {
        const bytes = await snapshot.finish()
        expect(imageChecksum(bytes, PAGE_SIZE)).toBe(snapshot.state.pos.checksum)
        expect(Buffer.compare(bytes, image)).toBe(0)
      }
      try {
        for (let step = 0; step < 40; step++) {
          const name = random.pick([...Object.keys(acts), "commit", "read", "read"])
          trace.push(name)
          await acts[name]?.()
          expect(clients.db.history.pos.checksum).toBe(imageChecksum(clients.image, PAGE_SIZE))
        }
        for (const each of open) await check(each)
      } catch (error) {
        console.log(trace.join("\n"))
        throw error
      }
    }
  })

  test("SnapshotReader sums to its position, whatever rollback transactions do meanwhile", async () => {
    for (let round = 0; round < 6; round++) {
      using client = new RollbackClient()
      let image = withCount(databaseOf(random.between(1, 6), ROLLBACK_HEAD))
      client.commit(new Uint8Array(0), image, PAGE_SIZE)
      const open: { snapshot: SlowSnapshot; image: Uint8Array }[] = []
      const check = async ({ snapshot, image: expected }: (typeof open)[0]) => {
        expect(Buffer.compare(await snapshot.finish(), expected)).toBe(0)
      }
      for (let step = 0; step < 20; step++) {
        if (open.length < 3) {
          open.push({ snapshot: SlowSnapshot.of(client.db.root, client.capture), image })
        }
        for (const { snapshot } of open) if (random.below(2) === 0) await snapshot.readPage()
        const next = withCount(changed(image))
        client.begin(PAGE_SIZE)
        if (random.below(3) === 0) {
          const half = PAGE_SIZE / 2 // a write that is not of a whole page goes to the file
          client.write(0, next.subarray(0, half))
          client.write(half, next.subarray(half, PAGE_SIZE))
        }
        client.writeChanges(image, next, PAGE_SIZE)
        client.end("TRUNCATE")
        image = next
        if (random.below(3) === 0) await check(open.shift() as (typeof open)[0])
      }
      for (const each of open) await check(each)
    }
  })

  test("a snapshot stays what it was when another file takes the place of the database", async () => {
    for (let round = 0; round < 30; round++) {
      using clients = new WalClients(4)
      for (let count = random.below(4); count > 0; count--) clients.commit(false)
      if (random.below(2) === 0) clients.checkpoint(random.below(2) === 0)
      const { root } = clients.db
      const before = clients.image
      const snapshot = SlowSnapshot.of(root, clients.capture)
      for (let count = random.below(4); count > 0; count--) await snapshot.readPage()
      const path = join(root, "other")
      writeFileSync(path, databaseOf(6, WAL_HEAD))
      clients.capture.replace({
        path,
        oldPath: join(root, "old"),
        ltxPath: "",
        pageSize: PAGE_SIZE,
        commit: 6,
        isWalMode: true,
        sums: clients.capture.history.sums,
      })
      expect(Buffer.compare(await snapshot.finish(), before)).toBe(0)
      expect(existsSync(join(root, "old"))).toBe(true)
    }
  })

  test("a snapshot is taken though the name of its side file cannot be removed", async () => {
    using clients = new WalClients(4)
    const before = clients.image
    setFaults({ check: (op) => (op === "snapshot:unlink" ? Errno.EIO : 0) })
    try {
      const snapshot = SlowSnapshot.of(clients.db.root, clients.capture)
      expect(Buffer.compare(await snapshot.finish(), before)).toBe(0)
    } finally {
      setFaults(undefined)
    }
  })
})

/** A copy with another size, and other pages. */
function changed(image: Uint8Array): Uint8Array {
  const count = random.between(1, 6)
  const next = databaseOf(count, ROLLBACK_HEAD)
  for (let pgno = 1; pgno <= Math.min(count, image.length / PAGE_SIZE); pgno++) {
    if (random.below(2) === 0) continue
    next.set(image.subarray((pgno - 1) * PAGE_SIZE, pgno * PAGE_SIZE), (pgno - 1) * PAGE_SIZE)
  }
  return next
}

/** The header says how many pages there are. */
function withCount(image: Uint8Array): Uint8Array {
  new DataView(image.buffer).setUint32(28, image.length / PAGE_SIZE)
  return image
}
