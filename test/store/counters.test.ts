import { expect, test } from "bun:test"
import { Column, Counters } from "../../src/store/counters.ts"

test("Counters are seen by whoever has the memory, each by itself", () => {
  const counters = Counters.create()
  const other = new Counters(counters.memory)
  counters.add(0, Column.DATABASE_WRITES, 1)
  counters.add(0, Column.LTX_BYTES, 5e9)
  counters.add(16383, Column.LTX_BYTES, 1)
  counters.add(16383, Column.LTX_BYTES, 2)
  counters.requests[16] = 7
  counters.commitTime.observe(1)
  const columns = Object.values(Column)
  expect(columns.map((column) => other.read(0, column))).toEqual([1, 0, 0, 0, 0, 5e9])
  expect(columns.map((column) => other.read(16383, column))).toEqual([0, 0, 0, 0, 0, 3])
  expect(other.read(1, Column.DATABASE_WRITES)).toBe(0)
  expect([other.requests[15], other.requests[16], other.requests[17]]).toEqual([0, 7, 0])
  expect([...other.commitTime.samples()].at(-1)).toEqual({ suffix: "_count", value: 1 })
})
