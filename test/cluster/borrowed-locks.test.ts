import { describe, expect, test } from "bun:test"
import { BorrowedLocks } from "../../src/cluster/locks/borrowed-locks.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { WANTED_HEADER } from "../../src/wire/protocol.ts"
import { FakeClock } from "../support/fake-clock.ts"

const POS = { txid: 1n, checksum: 1n << 63n }
const HALT = JSON.stringify({
  pos: { TXID: "0000000000000001", PostApplyChecksum: "8000000000000000" },
})

interface Answer {
  readonly status: number
  readonly text: string
  readonly headers: Record<string, string>
}

/** Borrowed locks, a primary that answers as the test says, and what happened. */
function fixture() {
  const clock = new FakeClock()
  const events: string[] = []
  const primary = {
    answer: (method: string, path: string): Answer | Promise<Answer> => {
      const isHalt = method === "POST" && path.startsWith("/halt")
      return { status: 200, text: isHalt ? HALT : "", headers: {} }
    },
  }
  const exchange = {
    failure: undefined as LitefsError | undefined,
    /** What comes before clients may write. */
    first: Promise.resolve(),
  }
  const state = { isReplica: true }
  const locks = new BorrowedLocks({
    clock,
    call: async (method, path) => {
      events.push(`${method} ${path.split("?")[0]}`)
      return primary.answer(method, path)
    },
    position: () => POS,
    onPositionChange: () => () => {},
    checkReplica: () => {
      if (!state.isReplica) throw new LitefsError("unavailable", "the role is changing")
    },
    loans: {
      borrow: async () => {
        await exchange.first
        if (exchange.failure !== undefined) throw exchange.failure
        events.push("borrowed")
      },
      giveBack: async () => void events.push("given back"),
    },
    closing: () => void events.push("closing"),
    shut: () => void events.push("shut"),
    taken: () => {},
    resync: () => void events.push("resync"),
  })
  return { clock, events, primary, exchange, state, locks }
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await Promise.resolve()
}

describe("BorrowedLocks", () => {
  test("keeps the lock until each of those that have it through flock has given it back", async () => {
    const { events, locks } = fixture()
    await locks.borrow("db", "flock")
    await locks.borrow("db", "flock") // the first one was interrupted, and gives back what it does not want
    await locks.giveBack("db", "flock")
    expect(locks.isHeld("db")).toBe(true)
    expect(events).toEqual(["POST /halt", "borrowed"])
    await locks.giveBack("db", "flock")
    expect(locks.isHeld("db")).toBe(false)
    expect(events.slice(2)).toEqual(["closing", "given back", "DELETE /halt"])
  })

  test("gives it back after a moment in which no writer comes", async () => {
    const { clock, events, locks } = fixture()
    await locks.borrow("db", "writer")
    await locks.giveBack("db", "writer", 5)
    locks.use("db", "writer")
    clock.advance(5)
    await settled()
    expect(locks.isHeld("db")).toBe(true)
    await locks.giveBack("db", "writer", 5)
    clock.advance(5)
    await settled()
    expect(locks.isHeld("db")).toBe(false)
    expect(events.slice(2)).toEqual(["closing", "given back", "DELETE /halt"])
  })

  test("gives it back at once when writers have had it for long", async () => {
    const { clock, locks } = fixture()
    await locks.borrow("db", "writer")
    clock.advance(501)
    await locks.giveBack("db", "writer", 5)
    expect(locks.isHeld("db")).toBe(false)
  })

  test("lets nobody begin when the primary says that others want it, and gives it back after the transaction there is", async () => {
    const { events, primary, locks } = fixture()
    await locks.borrow("db", "writer")
    const headers = { [WANTED_HEADER]: "1" }
    primary.answer = () => ({ status: 200, text: HALT, headers })
    expect(await locks.propose("db", new Uint8Array(200))).toBeUndefined()
    expect(events.slice(-1)).toEqual(["closing"])
    const again = locks.borrow("db", "writer")
    await settled()
    expect(locks.isHeld("db")).toBe(true)
    await locks.giveBack("db", "writer", 5)
    await again
    expect(events.filter((event) => event === "borrowed")).toHaveLength(2)
  })

  test("keeps it for flock though others want it", async () => {
    const { events, primary, locks } = fixture()
    await locks.borrow("db", "flock")
    primary.answer = () => ({ status: 200, text: "", headers: { [WANTED_HEADER]: "1" } })
    await locks.propose("db", new Uint8Array(200))
    expect(events).not.toContain("closing")
    expect(locks.isHeld("db")).toBe(true)
  })

  test.each([
    [409, "no-primary"],
    [503, "no-primary"],
    [500, "io"],
  ] as const)(
    "asks for what is missing when the primary answers a transaction with %i: it may have it",
    async (status, code) => {
      const { events, primary, locks } = fixture()
      await locks.borrow("db", "flock")
      primary.answer = () => ({ status, text: "no", headers: {} })
      expect(await locks.propose("db", new Uint8Array(200))).toBe(code)
      await settled()
      expect(events.slice(-4)).toEqual(["shut", "given back", "resync", "DELETE /halt"])
      expect(locks.isHeld("db")).toBe(false)
    },
  )

  test("keeps the lock when the primary has no space", async () => {
    const { primary, locks } = fixture()
    await locks.borrow("db", "flock")
    primary.answer = () => ({ status: 507, text: "no space", headers: {} })
    expect(await locks.propose("db", new Uint8Array(200))).toBe("no-space")
    expect(locks.isHeld("db")).toBe(true)
  })

  test("is as if it had never been asked for when a client of this node is in the way", async () => {
    const { events, exchange, locks } = fixture()
    exchange.failure = new LitefsError("unavailable", "a client is in a write transaction")
    await expect(locks.borrow("db", "writer")).rejects.toMatchObject({ code: "no-lock" })
    expect(locks.isHeld("db")).toBe(false)
    expect(events).toEqual(["POST /halt", "DELETE /halt"])
    exchange.failure = undefined
    await locks.borrow("db", "writer")
    expect(locks.isHeld("db")).toBe(true)
  })

  test("asks for what it lacks when the lock is lost before clients may write, and the primary may have a transaction", async () => {
    const { clock, events, exchange, locks } = fixture()
    const refused = Promise.withResolvers<void>()
    exchange.first = refused.promise
    const borrowing = locks.borrow("db", "flock")
    const outcome = borrowing.catch((error) => String(error))
    await settled()
    const proposing = locks.propose("db", new Uint8Array(200))
    const lost = locks.lost("db", "the primary sends transactions of other nodes")
    refused.reject(new LitefsError("no-lock", "refused"))
    expect(await outcome).toContain("refused")
    await lost
    await proposing
    clock.advance(0)
    await settled()
    expect(events).toContain("shut")
    expect(events).toContain("resync")
    expect(events).not.toContain("borrowed")
    expect(locks.isHeld("db")).toBe(false)
  })

  test("borrows nothing while the role of the node changes, also for who has been waiting", async () => {
    const { state, locks } = fixture()
    await locks.borrow("db", "flock")
    const ending = locks.giveBack("db", "flock")
    const waiting = locks.borrow("db", "flock")
    state.isReplica = false
    await expect(waiting).rejects.toThrow("the role is changing")
    await ending
    await expect(locks.borrow("db", "writer")).rejects.toThrow("the role is changing")
    expect(locks.isHeld("db")).toBe(false)
  })
})
