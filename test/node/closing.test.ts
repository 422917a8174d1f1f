import { describe, expect, test } from "bun:test"
import { Closing } from "../../src/node/closing.ts"
import { FakeClock } from "../support/fake-clock.ts"

describe("Closing", () => {
  test("ends what was added, the last first, one after the other", async () => {
    const closing = new Closing(new FakeClock())
    const ended: string[] = []
    const slow = Promise.withResolvers<void>()
    closing.defer(() => ended.push("lock"))
    closing.add("mount", () => void ended.push("mount"))
    closing.add("role", async () => {
      await slow.promise
      ended.push("role")
    })
    const closed = closing.close()
    await Promise.resolve()
    expect(ended).toEqual([])
    slow.resolve()
    await closed
    expect(ended).toEqual(["role", "mount", "lock"])
  })

  test.each([
    [false, 10_000],
    [true, 1000],
  ])(
    "a part that does not end keeps no other; has failed: %p, %d ms",
    async (hasFailed, limitMs) => {
      const clock = new FakeClock()
      const closing = new Closing(clock)
      let isEnded = false
      closing.defer(() => {
        isEnded = true
      })
      closing.add("stuck", () => new Promise<void>(() => {}))
      if (hasFailed) closing.failed()
      const closed = closing.close()
      clock.advance(limitMs - 1)
      await Bun.sleep(0)
      expect(isEnded).toBe(false)
      clock.advance(1)
      await closed
      expect(isEnded).toBe(true)
      expect(clock.timerCount).toBe(0)
    },
  )

  test.each([
    ["throws", () => Promise.reject(new Error("no"))],
    [
      "throws at once",
      () => {
        throw new Error("no")
      },
    ],
  ])("a part that %s keeps no other, and its error is told", async (_, end) => {
    const clock = new FakeClock()
    const closing = new Closing(clock)
    let isEnded = false
    closing.defer(() => {
      isEnded = true
    })
    closing.add("broken", end)
    await expect(closing.close()).rejects.toThrow("no")
    expect(isEnded).toBe(true)
    expect(clock.timerCount).toBe(0)
  })
})
