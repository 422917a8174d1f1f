import { describe, expect, test } from "bun:test"
import { sleep, systemClock } from "../../src/lib/clock.ts"
import { FakeClock } from "../support/fake-clock.ts"

describe("sleep()", () => {
  test("resolves when its time has come", async () => {
    const clock = new FakeClock()
    let awake = false
    const sleeping = sleep(clock, 100).then(() => {
      awake = true
    })
    clock.advance(99)
    await Promise.resolve()
    expect(awake).toBe(false)
    clock.advance(1)
    await sleeping
    expect(awake).toBe(true)
  })

  test("rejects when it is aborted, and leaves no timer behind", async () => {
    const clock = new FakeClock()
    const controller = new AbortController()
    const sleeping = sleep(clock, 100, controller.signal)
    controller.abort(new Error("enough"))
    expect(clock.timerCount).toBe(0)
    await expect(sleeping).rejects.toThrow("enough")
    await expect(sleep(clock, 100, controller.signal)).rejects.toThrow("enough")
    expect(clock.timerCount).toBe(0)
  })
})

describe("systemClock", () => {
  test("calls back, unless it is told not to", async () => {
    const calls: string[] = []
    const { promise, resolve } = Promise.withResolvers<void>()
    const cancel = systemClock.after(1, () => calls.push("cancelled"))
    cancel()
    systemClock.after(2, resolve)
    await promise
    expect(calls).toEqual([])
  })
})
