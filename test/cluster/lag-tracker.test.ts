import { describe, expect, test } from "bun:test"
import { LagTracker } from "../../src/cluster/replica/lag-tracker.ts"
import { Positions } from "../../src/store/positions.ts"
import { SharedLag } from "../../src/store/shared-lag.ts"
import { FakeClock } from "../support/fake-clock.ts"

/** A replica whose clock is `aheadMs` ahead of its primary's. */
class Fixture {
  readonly clock = new FakeClock()
  readonly positions = Positions.create()
  readonly lag = SharedLag.create(false)
  aheadMs: number
  changeCount = 0
  readonly tracker: LagTracker

  constructor(aheadMs = 0) {
    this.aheadMs = aheadMs
    this.clock.advance(1e9)
    this.tracker = new LagTracker(this.lag, this.clock, () => {
      this.changeCount += 1
    })
    this.tracker.connected()
  }

  /** A heartbeat that was `wayMs` on its way. */
  async heartbeat(wayMs = 1, applied: Promise<void> = Promise.resolve()): Promise<void> {
    this.tracker.heartbeat(this.clock.steadyMs() - this.aheadMs - wayMs, applied)
    await applied.catch(() => {})
    await Promise.resolve()
  }

  get lagMs(): number | undefined {
    return this.lag.lagMs(this.positions, this.clock.steadyMs())
  }
}

describe("LagTracker", () => {
  test.each([0, -3_600_000, 5000])(
    "the lag of an idle replica is the time since a heartbeat, with clocks that differ by %p ms",
    async (aheadMs) => {
      const fixture = new Fixture(aheadMs)
      expect(fixture.lagMs).toBeUndefined()
      for (let second = 0; second < 100; second++) {
        await fixture.heartbeat()
        expect(fixture.lagMs).toBe(0)
        fixture.clock.advance(999)
        expect(fixture.lagMs).toBe(999)
        fixture.clock.advance(1)
      }
    },
  )

  test("the lag grows when no heartbeat comes", async () => {
    const fixture = new Fixture()
    await fixture.heartbeat()
    fixture.clock.advance(60_000)
    expect(fixture.lagMs).toBe(60_000)
    await fixture.heartbeat()
    expect(fixture.lagMs).toBe(0)
  })

  test("a heartbeat counts when what came before it is applied, and not when that fails", async () => {
    const fixture = new Fixture()
    await fixture.heartbeat()
    fixture.clock.advance(1000)
    const applied = Promise.withResolvers<void>()
    const heartbeat = fixture.heartbeat(1, applied.promise)
    fixture.clock.advance(3000)
    expect([fixture.lagMs, fixture.changeCount]).toEqual([4000, 1])
    applied.resolve()
    await heartbeat
    expect([fixture.lagMs, fixture.changeCount]).toEqual([3000, 2])
    await fixture.heartbeat(1, Promise.reject(new Error("it does not fit")))
    expect([fixture.lagMs, fixture.changeCount]).toEqual([3000, 2])
  })

  test("a heartbeat that was in a queue shows how long the queue is", async () => {
    const fixture = new Fixture(7000)
    await fixture.heartbeat(2)
    fixture.clock.advance(1000)
    await fixture.heartbeat(802)
    expect(fixture.lagMs).toBe(800)
  })

  test.each([5000, -5000, 3_600_000, -3_600_000])(
    "a clock of the primary that is set by %p ms makes no lag and hides none",
    async (setMs) => {
      const fixture = new Fixture()
      await fixture.heartbeat(1)
      fixture.clock.advance(1000)
      fixture.aheadMs -= setMs
      const applied = Promise.withResolvers<void>()
      const heartbeat = fixture.heartbeat(1, applied.promise)
      expect(fixture.lagMs).toBe(1000)
      fixture.clock.advance(300)
      expect(fixture.lagMs).toBe(1300)
      applied.resolve()
      await heartbeat
      expect(fixture.lagMs).toBe(300)
      fixture.clock.advance(60_000)
      expect(fixture.lagMs).toBe(60_300)
    },
  )

  test("a clock of ours that is set changes nothing", async () => {
    const fixture = new Fixture()
    await fixture.heartbeat(1)
    fixture.clock.setMs += 3_600_000
    fixture.clock.advance(700)
    expect(fixture.lagMs).toBe(700)
    fixture.clock.setMs -= 7_200_000
    expect(fixture.lagMs).toBe(700)
  })

  test("a new connection forgets what was learned of the clocks", async () => {
    const fixture = new Fixture()
    await fixture.heartbeat(1)
    fixture.clock.advance(7000)
    await fixture.heartbeat(6001)
    expect(fixture.lagMs).toBe(6000)
    fixture.tracker.connected()
    await fixture.heartbeat(6001)
    expect(fixture.lagMs).toBe(0)
  })
})
