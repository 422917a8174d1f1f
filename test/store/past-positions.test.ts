import { afterEach, beforeEach, describe, expect, test } from "bun:test"
import { appendFileSync, mkdtempSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Pos } from "../../src/ltx/pos.ts"
import { appendPastPositions, pastChecksum } from "../../src/store/past-positions.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()
let directory: string
let path: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "litefs-past-"))
  path = join(directory, "past")
})
afterEach(() => rmSync(directory, { recursive: true }))

function positions(first: number, last: number): Pos[] {
  const list: Pos[] = []
  for (let txid = first; txid <= last; txid++)
    list.push({ txid: BigInt(txid), checksum: checksumOf(txid) })
  return list
}

function checksumOf(txid: number): bigint {
  return (1n << 63n) | BigInt(txid * 7)
}

describe("appendPastPositions()", () => {
  test("appendPastPositions() remembers each position, and no other", () => {
    expect(pastChecksum(path, 1n)).toBeUndefined()
    for (let next = 1; next <= 1000; ) {
      const last = Math.min(1000, next + random.below(50))
      appendPastPositions(
        path,
        positions(next, last).filter(({ txid }) => txid % 3n !== 0n),
      )
      next = last + 1
    }
    for (let txid = 0; txid <= 1001; txid++) {
      const isKnown = txid > 0 && txid <= 1000 && txid % 3 !== 0
      expect(pastChecksum(path, BigInt(txid))).toBe(isKnown ? checksumOf(txid) : undefined)
    }
  })

  test("appendPastPositions() goes on after a record that a crash has torn", () => {
    appendPastPositions(path, positions(1, 3))
    appendFileSync(path, "torn")
    expect(pastChecksum(path, 3n)).toBe(checksumOf(3))
    appendPastPositions(path, positions(4, 4))
    expect([1n, 2n, 3n, 4n].map((txid) => pastChecksum(path, txid))).toEqual(
      [1, 2, 3, 4].map(checksumOf),
    )
  })

  test("appendPastPositions() forgets the older half when there are too many", () => {
    for (let txid = 1; txid <= 25; txid++) appendPastPositions(path, positions(txid, txid), 10)
    expect(statSync(path).size).toBeLessThanOrEqual(160)
    expect(pastChecksum(path, 25n)).toBe(checksumOf(25))
    expect(pastChecksum(path, 20n)).toBe(checksumOf(20))
    expect(pastChecksum(path, 1n)).toBeUndefined()
  })
})
