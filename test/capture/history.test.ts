import { describe, expect, test } from "bun:test"
import type { Change } from "../../src/capture/history.ts"
import { EMPTY_CHECKSUM, lockPgno } from "../../src/ltx/checksum.ts"
import { ZERO_POS } from "../../src/ltx/pos.ts"
import { CapturedDatabase, imageChecksum } from "../support/captured-database.ts"
import { page, pageOf } from "../support/ltx-file.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()
const PAGE_SIZE = 512

/** A change to what `pages` says the pages are: the byte that each is filled with. */
function change(
  pages: Readonly<Record<number, number>>,
  commit: number,
  given: Partial<Change> = {},
): Change & { readonly read: number[] } {
  const read: number[] = []
  return {
    pageSize: PAGE_SIZE,
    commit,
    pgnos: Object.keys(pages).map(Number),
    readPage(pgno, into) {
      read.push(pgno)
      const size = given.pageSize ?? PAGE_SIZE
      into.bytes.set(page(pgno, pages[pgno] ?? 0, size).data)
    },
    read,
    ...given,
  }
}

describe("History", () => {
  test("History makes no first transaction of what is no database", () => {
    using db = new CapturedDatabase()
    const zeros = change({}, 3, { readPage: (_, into) => void into.bytes.fill(0, 0, PAGE_SIZE) })
    expect(() => db.history.append(zeros)).toThrow("first page is not that of a SQLite database")
    expect(db.history.pos).toEqual(ZERO_POS)
    expect(db.ltxNames).toEqual([])
  })

  test("History makes the first transaction of a database a snapshot of every page", () => {
    using db = new CapturedDatabase()
    expect(db.history.pos).toEqual(ZERO_POS)
    expect(db.history.append(change({ 1: 1, 2: 2, 3: 3 }, 3, { pgnos: [] }))).toBe(true)
    expect(db.pgnos(1)).toEqual([1, 2, 3])
    expect(db.header(1)).toMatchObject({ minTxid: 1n, maxTxid: 1n, commit: 3, nodeId: 7n })
    db.replay()
  })

  test("History stamps a transaction with the clock's time and what the state says after it", () => {
    using db = new CapturedDatabase()
    db.clock.advance(1234)
    db.history.append(change({ 1: 1 }, 1))
    expect(db.header(1).timestampMs).toBe(1234)
    expect(db.history).toMatchObject({ timestampMs: 1234, pageSize: PAGE_SIZE, commit: 1 })
  })

  test("History leaves pages out whose content did not change", () => {
    using db = new CapturedDatabase()
    db.history.append(change({ 1: 1, 2: 2, 3: 3 }, 3))
    expect(db.history.append(change({ 1: 1, 2: 9, 3: 3 }, 3))).toBe(true)
    expect(db.pgnos(2)).toEqual([2])
    db.replay()
  })

  test("History adds nothing when no page changed, and writes no file", () => {
    using db = new CapturedDatabase()
    db.history.append(change({ 1: 1, 2: 2 }, 2))
    const { pos } = db.history
    expect(db.history.append(change({ 1: 1, 2: 2 }, 2))).toBe(false)
    expect(db.history.append(change({}, 2))).toBe(false)
    expect(db.history.pos).toBe(pos)
    expect(db.ltxNames.length).toBe(1)
    expect(db.transactions.discards).toBe(2)
  })

  test("History always takes the pages that the database grew by, written or not", () => {
    using db = new CapturedDatabase()
    db.history.append(change({ 1: 1 }, 1))
    const grown = change({ 1: 1, 4: 4 }, 4)
    expect(db.history.append(grown)).toBe(true)
    expect(db.pgnos(2)).toEqual([2, 3, 4])
    db.replay()
  })

  test("History adds a transaction for a database that only became smaller", () => {
    using db = new CapturedDatabase()
    db.history.append(change({ 1: 1, 2: 2, 3: 3 }, 3))
    expect(db.history.append(change({ 3: 9 }, 2))).toBe(true) // page 3 was written before it was cut off
    expect(db.pgnos(2)).toEqual([])
    expect(db.history.commit).toBe(2)
    expect(db.replay().length).toBe(2 * PAGE_SIZE)
  })

  test("History never takes the lock page", () => {
    using db = new CapturedDatabase()
    const pageSize = 65536
    const lock = lockPgno(pageSize)
    // A database of that size would take a while: it begins where the lock page is about to come.
    const state = { ...db.history, pageSize, commit: lock - 1 }
    const sums = db.history.sums
    sums.resize(lock - 1)
    using large = new CapturedDatabase(new Uint8Array(0), {
      ...state,
      pos: { txid: 4n, checksum: EMPTY_CHECKSUM },
      pageSize,
      commit: lock - 1,
      sums,
      timestampMs: 0,
    })
    const appended = change({ [lock]: 5, [lock + 1]: 6 }, lock + 1, { pageSize })
    expect(large.history.append(appended)).toBe(true)
    expect(appended.read).toEqual([lock + 1])
    expect(large.pgnos(5)).toEqual([lock + 1])
    const again = change({ [lock]: 7, [lock + 1]: 6 }, lock + 1, { pageSize })
    expect(large.history.append(again)).toBe(false)
    expect(large.history.sums.hi(lock)).toBe(0)
  })

  test("History takes every page when the page size changes", () => {
    using db = new CapturedDatabase()
    db.history.append(change({ 1: 1, 2: 2 }, 2))
    expect(db.history.append(change({ 1: 1 }, 1, { pageSize: 1024, pgnos: [] }))).toBe(true)
    expect(db.header(2)).toMatchObject({ pageSize: 1024, commit: 1 })
    expect(db.pgnos(2)).toEqual([1])
    expect(db.replay()).toEqual(page(1, 1, 1024).data)
  })

  test("History.appendDrop() leaves no database, once, and the history goes on when it is made again", () => {
    using db = new CapturedDatabase()
    expect(db.history.appendDrop()).toBe(false)
    db.history.append(change({ 1: 1, 2: 2 }, 2))
    expect(db.history.appendDrop()).toBe(true)
    expect(db.history.appendDrop()).toBe(false)
    expect(db.history.commit).toBe(0)
    expect(db.history.pos).toEqual({ txid: 2n, checksum: EMPTY_CHECKSUM })
    db.replay()
    expect(db.history.append(change({ 1: 5 }, 1))).toBe(true)
    expect(db.pgnos(3)).toEqual([1])
    expect(db.replay()).toEqual(page(1, 5).data)
  })

  test("History changes nothing when the log refuses the transaction", () => {
    using db = new CapturedDatabase()
    db.history.append(change({ 1: 1, 2: 2 }, 2))
    const { pos } = db.history
    db.transactions.failures = 1
    expect(() => db.history.append(change({ 2: 9, 3: 3 }, 3))).toThrow(/no space left/)
    expect(db.history.pos).toBe(pos)
    expect([db.history.commit, db.history.sums.pageCount]).toEqual([2, 2])
    expect(db.transactions.discards).toBe(1)
    db.replay()
    expect(db.history.append(change({ 2: 9, 3: 3 }, 3))).toBe(true)
    expect(db.ltxNames.length).toBe(2)
    db.replay()
  })

  test("History changes nothing when a page cannot be read", () => {
    using db = new CapturedDatabase()
    db.history.append(change({ 1: 1 }, 1))
    const broken = change({ 1: 2 }, 1, {
      readPage() {
        throw new Error("no such page")
      },
    })
    expect(() => db.history.append(broken)).toThrow("no such page")
    expect(db.txid).toBe(1)
    expect(db.ltxNames.length).toBe(1)
    expect(db.history.append(change({ 1: 2 }, 1))).toBe(true)
    db.replay()
  })

  test("History keeps the checksum that a sum of all pages would give, whatever transactions do", () => {
    for (let round = 0; round < 15; round++) {
      using db = new CapturedDatabase()
      let pageSize = random.pick([512, 1024, 4096])
      let image = new Uint8Array(0)
      for (let step = 0; step < 15; step++) {
        const before = db.history.pos.txid
        const old = image
        const oldPageSize = pageSize
        if (random.below(8) === 0) {
          db.history.appendDrop()
          image = new Uint8Array(0)
        } else {
          if (random.below(8) === 0) pageSize = random.pick([512, 1024, 4096])
          const commit = random.between(1, 12)
          image = new Uint8Array(commit * pageSize)
          image.set(old.subarray(0, image.length))
          const pgnos = new Set<number>()
          for (let i = random.below(5); i > 0; i--) {
            const pgno = random.between(1, commit)
            image.fill(random.below(3), (pgno - 1) * pageSize, pgno * pageSize)
            pgnos.add(pgno)
          }
          if (commit > 0) pageOf(1, image.subarray(0, pageSize))
          if (pgnos.size > 0) pgnos.add(1)
          if (random.below(2) === 0) pgnos.add(commit + 1) // written, then cut off
          if (random.below(4) === 0) db.transactions.failures = 1
          const append = () =>
            db.history.append({
              pageSize,
              commit,
              pgnos: [...pgnos].sort((a, b) => a - b),
              readPage: (pgno, into) =>
                into.bytes.set(image.subarray((pgno - 1) * pageSize, pgno * pageSize)),
            })
          try {
            append()
          } catch {
            expect(db.history.pos.txid).toBe(before)
            append()
          }
          db.transactions.failures = 0
        }
        const isSame = oldPageSize === pageSize && Buffer.compare(old, image) === 0
        if (step > 0 && isSame) expect(db.history.pos.txid).toBe(before)
        expect(Buffer.compare(db.replay(), image)).toBe(0)
        if (db.txid > 0) expect(db.history.pos.checksum).toBe(imageChecksum(image, pageSize))
      }
    }
  })
})
