import { describe, expect, test } from "bun:test"
import { until, untilSeen } from "../../src/lib/until.ts"
import { FakeClock } from "../support/fake-clock.ts"

function told() {
  const listeners = new Set<() => void>()
  return {
    listeners,
    onChange(listener: () => void) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    tell: () => [...listeners].forEach((listener) => void listener()),
  }
}

describe("until()", () => {
  test("resolves when it is told, and not before it is so", async () => {
    const { onChange, tell, listeners } = told()
    let count = 0
    let isOver = false
    const clock = new FakeClock()
    const waiting = until(() => count === 2, { clock, limitMs: 1000, onChange })
    void waiting.then(() => {
      isOver = true
    })
    count = 1
    tell()
    await Promise.resolve()
    expect(isOver).toBe(false)
    count = 2
    tell()
    expect(await waiting).toBe(true)
    expect(listeners.size).toBe(0)
  })

  test("gives up when its time is over", async () => {
    const { onChange, listeners } = told()
    const clock = new FakeClock()
    const waiting = until(() => false, { clock, limitMs: 1000, onChange })
    clock.advance(1000)
    expect(await waiting).toBe(false)
    expect(listeners.size).toBe(0)
  })

  test("does not wait for what is so, nor without time", async () => {
    const never = () => {
      throw new Error("there was nothing to wait for")
    }
    const clock = new FakeClock()
    expect(await until(() => true, { clock, limitMs: 1000, onChange: never })).toBe(true)
    expect(await until(() => false, { clock, limitMs: 0, onChange: never })).toBe(false)
  })
})

test("untilSeen() looks again and again, and once more at the end", async () => {
  const clock = new FakeClock()
  let looks = 0
  const look = (isSo: boolean) => () => {
    looks += 1
    return isSo
  }
  expect(await untilSeen(look(true), { clock, limitMs: 0, pauseMs: 10 })).toBe(true)
  expect(await untilSeen(look(false), { clock, limitMs: 0, pauseMs: 10 })).toBe(false)
  expect(looks).toBe(2)
  const waiting = untilSeen(look(false), { clock, limitMs: 20, pauseMs: 10 })
  for (let ms = 0; ms < 20; ms += 10) {
    clock.advance(10)
    for (let turn = 0; turn < 5; turn++) await Promise.resolve()
  }
  expect(await waiting).toBe(false)
  expect(looks).toBe(5)
})
