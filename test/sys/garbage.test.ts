import { expect, test } from "bun:test"
import { collectWhenWorked, Garbage } from "../../src/sys/process/garbage.ts"
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

test("one with an event loop collects when it has worked, and only then", () => {
  const clock = new FakeClock()
  let [collected, cpuMs] = [0, 0]
  const end = collectWhenWorked(
    clock,
    () => {
      collected += 1
      cpuMs += 15 // that is no work
    },
    () => cpuMs,
  )
  for (let second = 0; second < 100; second++) clock.advance(1000)
  expect(collected).toBe(0)
  for (let second = 0; second < 100; second++) {
    cpuMs += 50
    clock.advance(1000)
  }
  expect(collected).toBe(10)
  end()
  cpuMs += 1000
  clock.advance(60_000)
  expect(collected).toBe(10)
})
