import { describe, expect, test } from "bun:test"
import { UnwrittenPages } from "../../src/capture/unwritten-pages.ts"

describe("UnwrittenPages", () => {
  test("UnwrittenPages.writtenTxid() is the current one when nothing is missing", () => {
    expect(new UnwrittenPages().writtenTxid(9n)).toBe(9n)
  })

  test("UnwrittenPages.writtenTxid() ends before the first transaction that has a page missing", () => {
    const pages = new UnwrittenPages()
    pages.add(1, 5n)
    pages.add(2, 7n)
    pages.add(1, 8n) // since 5 all the same
    expect(pages.writtenTxid(8n)).toBe(4n)
    pages.delete(1)
    expect(pages.writtenTxid(8n)).toBe(6n)
    pages.delete(2)
    expect(pages.writtenTxid(8n)).toBe(8n)
  })

  test("UnwrittenPages.truncate() forgets pages beyond the end", () => {
    const pages = new UnwrittenPages()
    for (const pgno of [1, 4, 5]) pages.add(pgno, 2n)
    pages.truncate(4)
    expect([...pages.pgnos()]).toEqual([1, 4])
    expect([pages.count, pages.has(4), pages.has(5)]).toEqual([2, true, false])
    pages.clear()
    expect(pages.count).toBe(0)
  })
})
