import { describe, expect, test } from "bun:test"
import { HaltLocks } from "../../src/cluster/locks/halt-locks.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { sent } from "../support/sent-transaction.ts"

const TTL_MS = 10_000

/** Locks of a primary, and what it does to one database. */
function fixture() {
  const clock = new FakeClock()
  const events: string[] = []
  const locks = new HaltLocks({
    clock,
    checkPrimary: () => {},
    position: () => ({ txid: 1n, checksum: 1n << 63n }),
    lend: async () => {
      events.push("lend")
      return async () => void events.push("take back")
    },
    apply: async () => {},
  })
  const acquire = (id: bigint, signal?: AbortSignal) =>
    locks.acquire("db", { id, node: `node-${id}`, ttlMs: TTL_MS, waitMs: 10_000, signal })
  return { clock, events, locks, acquire }
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await Promise.resolve()
}

describe("HaltLocks", () => {
  test("gives a lock to who waits, in order", async () => {
    const { locks, acquire } = fixture()
    await acquire(1n)
    const order: bigint[] = []
    const waiting = [2n, 3n].map(async (id) => {
      await acquire(id)
      order.push(id)
    })
    await locks.release("db", 1n)
    await settled()
    await locks.release("db", 2n)
    await Promise.all(waiting)
    expect(order).toEqual([2n, 3n])
    expect(locks.holder("db")).toBe("node-3")
  })

  test("lends nothing to who has gone while it waited", async () => {
    const { events, locks, acquire } = fixture()
    await acquire(1n)
    const gone = new AbortController()
    const waiting = acquire(2n, gone.signal)
    gone.abort()
    await expect(waiting).rejects.toThrow()
    await locks.release("db", 1n)
    await settled()
    expect(locks.holder("db")).toBeUndefined()
    expect(events).toEqual(["lend", "take back"])
  })

  test("takes back at once what was lent to who has gone meanwhile", async () => {
    const { events, locks, acquire } = fixture()
    const gone = new AbortController()
    const waiting = acquire(1n, gone.signal)
    gone.abort()
    await expect(waiting).rejects.toThrow()
    expect(locks.holder("db")).toBeUndefined()
    expect(events.slice(-1)).not.toEqual(["lend"])
  })

  test("tells the holder that others wait, when it has had its turn", async () => {
    const { clock, locks, acquire } = fixture()
    await acquire(1n)
    clock.advance(50)
    expect(locks.isWanted("db")).toBe(false)
    const waiting = acquire(2n)
    expect(locks.isWanted("db")).toBe(true)
    await locks.release("db", 1n)
    await waiting
    expect(locks.isWanted("db")).toBe(false)
    const next = acquire(3n)
    expect(locks.isWanted("db")).toBe(false)
    clock.advance(50)
    expect(locks.isWanted("db")).toBe(true)
    await locks.release("db", 2n)
    await next
  })

  test("tells the holder at once when the role is to be handed over, and lends nothing any more", async () => {
    const { clock, locks, acquire } = fixture()
    await acquire(1n)
    const paused = locks.pause(1000)
    expect(locks.isWanted("db")).toBe(true)
    const late = acquire(2n)
    await locks.release("db", 1n)
    await paused
    await expect(late).rejects.toMatchObject({ code: "no-lock" })
    locks.resume()
    clock.advance(1)
    await acquire(3n)
    expect(locks.holder("db")).toBe("node-3")
  })

  test("rests when nodes have had the lock one after the other for long, so that clients of this one can write", async () => {
    const { clock, events, locks, acquire } = fixture()
    const turn = async (id: bigint) => {
      await acquire(id)
      clock.advance(600)
      await locks.release("db", id)
    }
    await turn(1n)
    await turn(2n)
    const third = acquire(3n)
    await settled()
    expect(events).toHaveLength(4)
    clock.advance(120)
    await third
    expect(events).toHaveLength(5)
    await locks.release("db", 3n)
    await turn(4n)
  })

  test("takes a lock back that is not renewed", async () => {
    const { clock, events, locks, acquire } = fixture()
    await acquire(1n)
    clock.advance(TTL_MS - 1)
    await acquire(1n)
    clock.advance(TTL_MS - 1)
    expect(locks.holder("db")).toBe("node-1")
    clock.advance(1)
    await settled()
    expect(locks.holder("db")).toBeUndefined()
    expect(events).toEqual(["lend", "take back"])
    await expect(locks.apply("db", 1n, sent(new Uint8Array(200)))).rejects.toMatchObject({
      code: "no-lock",
    })
  })
})
