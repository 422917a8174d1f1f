import { expect, test } from "bun:test"
import { readFileSync } from "node:fs"
import { allocate, RegionPool } from "../../src/sys/memory.ts"

const MIB = 1024 * 1024

test("RegionPool copies, and holds no memory for what was many at once", () => {
  const pool = new RegionPool()
  const from = allocate(MIB)
  from.bytes.fill(7)
  const copyAll = () => Array.from({ length: 40 }, () => pool.copy(from, MIB))
  const copies = copyAll()
  expect(copies.every(({ bytes }) => Buffer.compare(bytes, from.bytes) === 0)).toBe(true)
  const [full, addresses] = [residentSize(), copies.map(({ address }) => address)]
  for (const copy of copies) pool.release(copy)
  expect(full - residentSize()).toBeGreaterThan(30 * MIB)
  const again = copyAll()
  expect(new Set(again.map(({ address }) => address))).toEqual(new Set(addresses))
  expect(again.every(({ bytes }) => Buffer.compare(bytes, from.bytes) === 0)).toBe(true)
})

/** Bytes of this process that are of no file. */
function residentSize(): number {
  return Number(/^RssAnon:\s*(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) * 1024
}
