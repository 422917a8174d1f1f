import { expect, test } from "bun:test"
import { LineLimit } from "../../src/lib/log.ts"
import { FakeClock } from "../support/fake-clock.ts"

test("LineLimit lets the same line through once a minute, and others a few at once, then one a second", () => {
  const clock = new FakeClock()
  const limit = new LineLimit(clock)
  const taken = (keys: readonly string[]) =>
    keys.map((key) => limit.take(key)?.["left-out"] ?? null)
  expect(limit.take("a")).toEqual({ "left-out": undefined })
  expect(limit.take("a")).toBeUndefined()
  clock.advance(60_001)
  expect(limit.take("a")).toBeDefined()
  const many = Array.from({ length: 40 }, (_, i) => `b${i}`)
  expect(many.filter((key) => limit.take(key) !== undefined)).toHaveLength(19)
  clock.advance(1001)
  expect(taken(["c", "d"])).toEqual([21, null])
})
