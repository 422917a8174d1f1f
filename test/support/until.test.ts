import { expect, test } from "bun:test"
import { until } from "./until.ts"

test("until() resolves with what the first look finds", async () => {
  let looks = 0
  const found = await until("the third", () => (++looks === 3 ? "yes" : undefined), { everyMs: 0 })
  expect([found, looks]).toEqual(["yes", 3])
  expect(await until("what is nothing to others", () => 0)).toBe(0)
})

test("until() says what it has waited for, and looks once more when the time is over", async () => {
  let looks = 0
  const context = () => `${looks} looks`
  const waiting = until("the end", () => ++looks > 1_000_000, { limitMs: 0, context })
  await expect(waiting).rejects.toThrow(/^not within 0 s: the end:\n[12] looks$/)
})

test("until() throws what a look throws", async () => {
  const look = () => {
    throw new Error("gone")
  }
  await expect(until("anything", look)).rejects.toThrow("gone")
})
