import { describe, expect, test } from "bun:test"
import { Positions } from "../../src/store/positions.ts"
import { SharedLag } from "../../src/store/shared-lag.ts"

/** Databases whose last transactions have these times. */
function positionsAt(...timestampsMs: number[]): Positions {
  const positions = Positions.create()
  for (const [index, timestampMs] of timestampsMs.entries()) {
    const pos = { txid: 1n, checksum: 1n << 63n }
    positions.write(
      positions.add(`${index}.db`),
      { pos, timestampMs, pageSize: 512, commit: 1 },
      pos,
    )
  }
  return positions
}

describe("SharedLag", () => {
  test("lagMs() is 0 on a primary", () => {
    const lag = SharedLag.create(true)
    expect(lag.lagMs(positionsAt(5), 1e12)).toBe(0)
    expect(lag.databaseLagMs(5, 1e12)).toBe(0)
  })

  test("lagMs() is unknown on a replica until it has been in sync", () => {
    const lag = SharedLag.create(false)
    expect(lag.lagMs(positionsAt(5), 1000)).toBeUndefined()
    expect(lag.databaseLagMs(5, 1000)).toBeUndefined()
    lag.setSynced(900)
    expect(lag.lagMs(positionsAt(5), 1000)).toBe(100)
  })

  test("lagMs() is seen by every thread", () => {
    const lag = SharedLag.create(false)
    const other = new SharedLag(lag.memory)
    lag.setSynced(849.6)
    expect(other.lagMs(positionsAt(), 1000)).toBe(150)
  })

  test("lagMs() is that of the database that is furthest behind", () => {
    const lag = SharedLag.create(false)
    lag.setOffset(0, 900)
    lag.setSynced(500)
    expect(lag.lagMs(positionsAt(), 1000)).toBe(500)
    expect(lag.lagMs(positionsAt(900, 800), 1000)).toBe(200) // transactions later than the heartbeat
    expect(lag.lagMs(positionsAt(900, 100), 1000)).toBe(500) // the other one is known up to the heartbeat
    expect(lag.databaseLagMs(900, 1000)).toBe(100)
    expect(lag.databaseLagMs(100, 1000)).toBe(500)
  })

  test("lagMs() does not depend on how far the clocks differ", () => {
    for (const offsetMs of [-3_600_000, -1, 0, 1, 86_400_000]) {
      const lag = SharedLag.create(false)
      lag.setOffset(offsetMs, 5e11 + 500)
      lag.setSynced(5e11)
      expect(lag.lagMs(positionsAt(), 5e11 + 7)).toBe(7)
      expect(lag.lagMs(positionsAt(5e11 + 4 - offsetMs), 5e11 + 7)).toBe(3)
    }
  })

  test("a transaction that was made before the clock of the primary was set back proves nothing", () => {
    const lag = SharedLag.create(false)
    lag.setOffset(3_600_000, 1e9 + 1000)
    lag.setSynced(1e9)
    const positions = positionsAt(1e9 - 5) // by the clock as it was
    expect(lag.lagMs(positions, 1e9 + 60_000)).toBe(60_000)
    expect(lag.databaseLagMs(1e9 - 5, 1e9 + 60_000)).toBe(60_000)
  })

  test("lagMs() is never negative", () => {
    const lag = SharedLag.create(false)
    lag.setSynced(2000)
    expect(lag.lagMs(positionsAt(), 1000)).toBe(0)
  })
})
