import { describe, expect, test } from "bun:test"
import { PATIENCE_MS, Patience } from "../../src/peer/locks/patience.ts"
import { FakeClock } from "../support/fake-clock.ts"

describe("Patience", () => {
  test("is whole at first, and after a while", () => {
    const clock = new FakeClock()
    const patience = new Patience(clock)
    expect(patience.leftMs).toBe(PATIENCE_MS)
    patience.spend(70)
    expect(patience.leftMs).toBe(30)
    clock.advance(60_000)
    expect(patience.leftMs).toBe(PATIENCE_MS)
  })

  test("is a fifth of the time when every transaction has to wait", () => {
    const clock = new FakeClock()
    const patience = new Patience(clock)
    let spentMs = 0
    while (clock.monotonicMs() < 60_000) {
      const waitedMs = patience.leftMs
      clock.advance(waitedMs + 10)
      patience.spend(waitedMs)
      spentMs += waitedMs
    }
    expect(spentMs / clock.monotonicMs()).toBeCloseTo(0.2, 2)
  })
})
