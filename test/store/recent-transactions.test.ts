import { describe, expect, test } from "bun:test"
import { RecentTransactions } from "../../src/store/ltx/recent-transactions.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

describe("RecentTransactions", () => {
  test("RecentTransactions finds the last ones, by database and TXID, in every thread's view", () => {
    const writer = RecentTransactions.create()
    const reader = new RecentTransactions(writer.memory)
    const files = new Map<bigint, Uint8Array>()
    for (let txid = 1n; txid <= 100n; txid++) {
      const file = random.bytes(random.between(100, 5000))
      files.set(txid, file)
      expect(writer.add(Number(txid % 3n), txid, file)).toBe(true)
    }
    for (let txid = 1n; txid <= 101n; txid++) {
      const slot = Number(txid % 3n)
      const isRecent = 68n < txid && txid <= 100n
      expect(reader.find(slot, txid)).toEqual(isRecent ? files.get(txid) : undefined)
      expect(reader.find(slot + 1, txid)).toBeUndefined()
    }
  })

  test("RecentTransactions tells TXIDs beyond 32 bits apart", () => {
    const recent = RecentTransactions.create()
    recent.add(0, 0x1_8000_0001n, new Uint8Array([1]))
    recent.add(0, 0x2_8000_0001n, new Uint8Array([2]))
    expect(recent.find(0, 0x1_8000_0001n)).toEqual(new Uint8Array([1]))
    expect(recent.find(0, 0x2_8000_0001n)).toEqual(new Uint8Array([2]))
    expect(recent.find(0, 0x8000_0001n)).toBeUndefined()
  })

  test("RecentTransactions finds nothing of an earlier term, in every thread's view", () => {
    const writer = RecentTransactions.create()
    const reader = new RecentTransactions(writer.memory)
    for (let txid = 1n; txid <= 40n; txid++) writer.add(0, txid, random.bytes(100))
    writer.clear()
    for (let txid = 1n; txid <= 40n; txid++) expect(reader.find(0, txid)).toBeUndefined()
    const file = random.bytes(100)
    writer.add(0, 39n, file)
    expect(reader.find(0, 39n)).toEqual(file)
  })

  test("RecentTransactions takes no file that is larger than a place", () => {
    const recent = RecentTransactions.create()
    expect(recent.add(0, 1n, new Uint8Array(32 * 1024 - 32))).toBe(true)
    expect(recent.add(0, 2n, new Uint8Array(32 * 1024 - 31))).toBe(false)
    expect(recent.find(0, 2n)).toBeUndefined()
  })
})
