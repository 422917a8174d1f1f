import { expect, test } from "bun:test"
import { Garbage } from "../../src/sys/process/garbage.ts"
import { FakeClock } from "../support/fake-clock.ts"

function scene() {
  const clock = new FakeClock()
  const collected: number[] = []
  return {
    clock,
    collected,
    garbage: new Garbage(clock, () => collected.push(clock.monotonicMs())),
  }
}

test("a thread that has worked collects in its first pause after a while, once", () => {
  const { clock, collected, garbage } = scene()
  expect(garbage.idle()).toBeUndefined() // nothing to collect
  expect(garbage.worked()).toBeGreaterThan(0)
  const waitMs = garbage.idle() as number
  expect(collected).toEqual([])
  clock.advance(waitMs)
  expect(garbage.idle()).toBeUndefined()
  expect(collected).toHaveLength(1)
  clock.advance(60_000)
  expect(garbage.idle()).toBeUndefined()
  expect(collected).toHaveLength(1)
})

test("one that never pauses collects all the same", () => {
  const { clock, collected, garbage } = scene()
  for (let second = 0; second < 70; second++) {
    garbage.worked()
    clock.advance(1000)
  }
  expect(collected).toHaveLength(2)
})
