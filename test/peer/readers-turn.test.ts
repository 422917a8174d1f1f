import { describe, expect, test } from "bun:test"
import { ReadersTurn } from "../../src/peer/locks/readers-turn.ts"
import { IdleClock } from "../support/idle-clock.ts"

const { signal } = new AbortController()

/** Transactions, one after the other: how long readers had between two at most. */
async function longestPause(transactions: number, shutMs: number, openMs: number): Promise<number> {
  const clock = new IdleClock()
  const turn = new ReadersTurn(clock)
  let longestMs = 0
  for (let count = 0; count < transactions; count++) {
    const freeMs = clock.monotonicMs()
    clock.advance(openMs)
    let isOver = false
    const over = turn.over(signal).then(() => {
      isOver = true
    })
    while (!isOver) {
      if (clock.timerCount > 0) clock.advance(1)
      await Promise.resolve()
    }
    await over
    const sinceMs = clock.monotonicMs()
    longestMs = Math.max(longestMs, sinceMs - freeMs)
    clock.advance(shutMs)
    turn.begin(sinceMs)
  }
  return longestMs
}

describe("ReadersTurn", () => {
  test.each([
    ["large transactions", 900, 3],
    ["many small ones", 9, 1],
  ])("lets everybody ask once between %s", async (_, shutMs, openMs) => {
    expect(await longestPause(200, shutMs, openMs)).toBeGreaterThan(100)
  })

  test("takes no time when the database is free most of the time", async () => {
    expect(await longestPause(1000, 1, 3)).toBe(3)
    expect(await longestPause(5, 900, 200)).toBe(200)
  })

  test("does not outlast the node", async () => {
    const clock = new IdleClock()
    const turn = new ReadersTurn(clock)
    clock.advance(1000)
    turn.begin(0)
    const stop = new AbortController()
    const over = turn.over(stop.signal)
    stop.abort(new Error("stopping"))
    await expect(over).rejects.toThrow("stopping")
  })
})
