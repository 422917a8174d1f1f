import { describe, expect, test } from "bun:test"
import { PageOrder } from "../../src/ltx/page-order.ts"
import { ltxHeader } from "../support/ltx-file.ts"

const LOCK_PGNO = 16385 // of pages of 65536 bytes

function orderOf(minTxid: bigint, commit: number): PageOrder {
  return new PageOrder(ltxHeader({ minTxid, commit, pageSize: 65536 }))
}

describe("PageOrder", () => {
  test("PageOrder lets a transaction leave out pages", () => {
    const order = orderOf(2n, 20000)
    expect([1, 5, LOCK_PGNO - 1, LOCK_PGNO + 1, 20000].map((pgno) => order.next(pgno))).toEqual(
      Array(5).fill(undefined),
    )
    expect(order.end()).toBeUndefined()
  })

  test("PageOrder takes all pages but the lock page in a snapshot", () => {
    const order = orderOf(1n, LOCK_PGNO + 1)
    for (let pgno = 1; pgno <= LOCK_PGNO + 1; pgno++) {
      if (pgno !== LOCK_PGNO) expect(order.next(pgno)).toBeUndefined()
    }
    expect(order.end()).toBeUndefined()
  })

  test("PageOrder takes a snapshot that would end with the lock page", () => {
    const order = orderOf(1n, LOCK_PGNO)
    for (let pgno = 1; pgno < LOCK_PGNO; pgno++) order.next(pgno)
    expect(order.end()).toBeUndefined()
  })

  test("PageOrder refuses a page that does not rise", () => {
    const order = orderOf(2n, 9)
    order.next(5)
    expect(order.next(5)).toBe("page 5 comes after page 5")
    expect(order.next(4)).toBe("page 4 comes after page 5")
    expect(orderOf(2n, 9).next(0)).toBe("page 0 comes after page 0")
  })

  test("PageOrder refuses a page beyond commit", () => {
    expect(orderOf(2n, 9).next(10)).toBe("page 10 is beyond the database of 9 pages")
  })

  test("PageOrder refuses the lock page", () => {
    expect(orderOf(2n, 20000).next(LOCK_PGNO)).toBe("page 16385 is the lock page")
  })

  test("PageOrder refuses a snapshot with a gap", () => {
    const order = orderOf(1n, 9)
    expect(order.next(2)).toBe("page 1 of a snapshot is missing")
    order.next(1)
    expect(order.next(3)).toBe("page 2 of a snapshot is missing")
    expect(order.end()).toBe("page 2 of a snapshot is missing")
  })
})
