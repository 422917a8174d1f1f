import { expect, test } from "bun:test"
import { SharedFlags } from "../../src/store/shared-flags.ts"

test("SharedFlags.raiseChanged() is true once until somebody looked", () => {
  const flags = SharedFlags.create()
  const other = new SharedFlags(flags.memory)
  expect([flags.raiseChanged(), other.raiseChanged(), flags.raiseChanged()]).toEqual([
    true,
    false,
    false,
  ])
  other.lowerChanged()
  expect(flags.raiseChanged()).toBe(true)
})

test("SharedFlags shares who the peer thread is, and which segments are free", () => {
  const flags = SharedFlags.create()
  const other = new SharedFlags(flags.memory)
  expect([other.peerThreadId, other.isSegmentFree(0), other.isSegmentFree(1)]).toEqual([
    0,
    true,
    true,
  ])
  flags.peerThreadId = 4711
  flags.setSegmentFree(1, false)
  expect([other.peerThreadId, other.isSegmentFree(0), other.isSegmentFree(1)]).toEqual([
    4711,
    true,
    false,
  ])
  other.setSegmentFree(1, true)
  expect(flags.isSegmentFree(1)).toBe(true)
})
