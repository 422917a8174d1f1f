import { describe, expect, test } from "bun:test"
import { untilLocked } from "../../src/peer/locks/lock-wait.ts"
import { IdleClock } from "../support/idle-clock.ts"

/** Every attempt takes a while. */
class Attempts {
  readonly clock = new IdleClock()
  readonly #made: { readonly atMs: number; readonly isLate: boolean }[] = []
  readonly #giveUp = new AbortController()

  /** All are in vain. */
  async during(durationMs: number): Promise<void> {
    const { signal } = this.#giveUp
    const waiting = untilLocked({ clock: this.clock, signal, isCrowded: true }, (isLate) => {
      this.#made.push({ atMs: this.clock.monotonicMs(), isLate })
      this.clock.advance(0.5)
      return false
    })
    while (this.clock.monotonicMs() < durationMs) {
      await this.clock.waiting()
      this.clock.advance(1)
    }
    this.#giveUp.abort(new Error("given up"))
    await expect(waiting).rejects.toThrow("given up")
  }

  /** When new clients were let in, and until when. */
  get openings(): readonly [fromMs: number, toMs: number][] {
    return this.#made.flatMap(({ atMs, isLate }, index): [number, number][] => {
      const next = this.#made[index + 1]
      return isLate || next?.isLate !== true ? [] : [[atMs, next.atMs]]
    })
  }
}

describe("untilLocked()", () => {
  test("lets new clients in for as long as SQLite takes to ask again, every few seconds", async () => {
    const attempts = new Attempts()
    await attempts.during(20_000)
    const [first, ...rest] = attempts.openings
    expect(first?.[1]).toBeLessThan(200) // until then they were never kept out
    expect(rest).toHaveLength(5)
    const shutMs = rest.map(([fromMs], index) => fromMs - (attempts.openings[index]?.[1] ?? 0))
    expect(shutMs.map((ms) => Math.round(ms / 100) * 100)).toEqual([1000, 2000, 4000, 4000, 4000])
    for (const [fromMs, toMs] of rest) expect(toMs - fromMs).toBeGreaterThan(100)
  })

  test("seeks what one has after the other in short bursts, and lets the thread work between them", async () => {
    const clock = new IdleClock()
    const giveUp = new AbortController()
    const madeMs: number[] = []
    const waiting = untilLocked({ clock, signal: giveUp.signal, isSought: true }, () => {
      madeMs.push(clock.monotonicMs())
      clock.advance(0.1)
      return false
    })
    while (clock.monotonicMs() < 1000) {
      await clock.waiting()
      clock.advance(3)
    }
    giveUp.abort(new Error("given up"))
    await expect(waiting).rejects.toThrow("given up")
    const late = madeMs.filter((ms) => ms > 500)
    const pauses = late.filter((ms, index) => ms - (late[index - 1] ?? ms) > 1)
    expect(late.length / pauses.length).toBeGreaterThan(15)
    expect(late.length / pauses.length).toBeLessThan(25)
  })

  test("tries until an attempt takes the lock", async () => {
    const clock = new IdleClock()
    const { signal } = new AbortController()
    let [left, isLocked] = [5000, false]
    const locking = untilLocked({ clock, signal, isCrowded: true }, () => {
      clock.advance(0.5)
      left -= 1
      return left === 0
    }).then(() => {
      isLocked = true
    })
    while (!isLocked) {
      if (clock.timerCount > 0) clock.advance(1)
      await Promise.resolve()
    }
    await locking
    expect(left).toBe(0)
  })

  test("makes one attempt between two pauses for a lock that no crowd holds, and says when it is late", async () => {
    const clock = new IdleClock()
    const giveUp = new AbortController()
    const made: [atMs: number, isLate: boolean][] = []
    const waits: number[] = []
    const startMs = clock.monotonicMs()
    const wait = {
      clock,
      signal: giveUp.signal,
      patienceMs: 7,
      waited: (ms: number) => waits.push(ms),
    }
    const waiting = untilLocked(wait, (isLate) => {
      made.push([clock.monotonicMs() - startMs, isLate])
      return false
    })
    while (clock.monotonicMs() - startMs < 12) {
      await clock.waiting()
      clock.advance(1)
    }
    await clock.waiting()
    giveUp.abort(new Error("given up"))
    await expect(waiting).rejects.toThrow("given up")
    const times = made.map(([atMs]) => atMs)
    const pauses = times.slice(1).map((atMs, index) => atMs - (times[index] ?? 0))
    expect(pauses.slice(1)).toEqual([1, 2, 3, 3])
    expect(made.map(([, isLate]) => isLate)).toEqual(times.map((atMs) => atMs > 7))
    expect(waits).toEqual(times)
  })
})
