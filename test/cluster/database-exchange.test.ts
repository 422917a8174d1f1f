import { describe, expect, test } from "bun:test"
import { damagedHandover } from "../../src/capture/handover.ts"
import { DatabaseExchange } from "../../src/cluster/locks/database-exchange.ts"
import { type ErrorCode, LitefsError } from "../../src/lib/errors.ts"
import type { FsThread } from "../../src/mount/contract.ts"
import type { PeerThread } from "../../src/peer/contract.ts"
import { portTo } from "../support/port-pair.ts"

type Step = keyof FsThread | keyof PeerThread

/** Two threads of which each does as the test says, and who has the database: exactly one of them. */
function fixture(first: "fs" | "peer") {
  const failing = new Map<Step, ErrorCode>()
  const state = { owner: first as "fs" | "peer" | "nobody", locks: 0, isWanted: false }
  const handover = damagedHandover("db")
  const step = async (name: Step, from: typeof state.owner, to: typeof state.owner) => {
    const code = failing.get(name)
    failing.delete(name)
    expect(state.owner).toBe(from)
    if (code !== undefined) throw new LitefsError(code, `${name} has failed`)
    state.owner = to
    return handover
  }
  const fs = portTo<FsThread>({
    lending: (_, isWanted) => {
      state.isWanted = isWanted
    },
    lend: () => step("lend", "fs", "nobody"),
    giveBack: () => step("giveBack", "fs", "nobody"),
    borrow: async () => void (await step("borrow", "nobody", "fs")),
    takeBack: async () => void (await step("takeBack", "nobody", "fs")),
  })
  const peer = portTo<PeerThread>({
    lockWrites: async () => {
      const code = failing.get("lockWrites")
      if (code !== undefined) throw new LitefsError(code, "lockWrites has failed")
      state.locks += 1
      return 1
    },
    unlockWrites: () => {
      state.locks -= 1
    },
    // It can still take it back, and be asked again.
    give: async () => {
      if (state.owner === "nobody") return handover
      return step("give", "peer", "nobody")
    },
    take: async () => void (await step("take", "nobody", "peer")),
    letGoOf: async () => void (await step("letGoOf", "fs", "fs")),
  })
  return { exchange: new DatabaseExchange(fs, peer), failing, state }
}

describe("DatabaseExchange", () => {
  test.each(["lockWrites", "lend", "take"] as const)(
    "lends nothing when %s fails, and the fs thread has the database",
    async (name) => {
      const { exchange, failing, state } = fixture("fs")
      failing.set(name, "io")
      await expect(exchange.lend("db", 100)).rejects.toThrow(`${name} has failed`)
      expect(state).toEqual({ isWanted: false, owner: "fs", locks: 0 })
      expect(exchange.isExchanged("db")).toBe(false)
    },
  )

  test.each(["give", "takeBack", "letGoOf"] as const)(
    "takes back what was lent when it is tried again after %s has failed",
    async (name) => {
      const { exchange, failing, state } = fixture("fs")
      const takeBack = await exchange.lend("db", 100)
      expect(state).toEqual({ isWanted: false, owner: "peer", locks: 1 })
      failing.set(name, "io")
      await expect(takeBack()).rejects.toThrow(`${name} has failed`)
      expect(state.locks).toBe(1) // no client writes
      await takeBack()
      expect(state).toEqual({ isWanted: false, owner: "fs", locks: 0 })
      expect(exchange.isExchanged("db")).toBe(false)
    },
  )

  test.each(["lockWrites", "give", "borrow"] as const)(
    "borrows nothing when %s fails, and the peer thread has the database",
    async (name) => {
      const { exchange, failing, state } = fixture("peer")
      failing.set(name, "io")
      await expect(exchange.borrow("db", 100)).rejects.toThrow(`${name} has failed`)
      expect(state).toEqual({ isWanted: false, owner: "peer", locks: 0 })
      expect(exchange.isExchanged("db")).toBe(false)
    },
  )

  test("has borrowed also when the files cannot be closed that the peer thread does not need", async () => {
    const { exchange, failing, state } = fixture("peer")
    failing.set("letGoOf", "io")
    await exchange.borrow("db", 100)
    expect(state).toEqual({ isWanted: false, owner: "fs", locks: 0 })
    expect(exchange.isExchanged("db")).toBe(true)
  })

  test.each(["giveBack", "take"] as const)(
    "gives back what was borrowed when it is tried again after %s has failed",
    async (name) => {
      const { exchange, failing, state } = fixture("peer")
      await exchange.borrow("db", 100)
      failing.set(name, "io")
      await expect(exchange.giveBack("db", 100)).rejects.toThrow(`${name} has failed`)
      await exchange.giveBack("db", 100)
      expect(state).toEqual({ isWanted: false, owner: "peer", locks: 0 })
      expect(exchange.isExchanged("db")).toBe(false)
    },
  )

  test("gives back also when a client does not end its transaction, or the database is damaged", async () => {
    const { exchange, failing, state } = fixture("peer")
    await exchange.borrow("db", 100)
    failing.set("lockWrites", "unavailable").set("take", "damaged")
    await exchange.giveBack("db", 100)
    expect(exchange.isExchanged("db")).toBe(false)
    expect(state.locks).toBe(0)
  })
})
