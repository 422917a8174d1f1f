import { describe, expect, test } from "bun:test"
import { damagedHandover } from "../../src/capture/handover.ts"
import type { DatabaseOwner, Owner } from "../../src/capture/ownership.ts"
import { DatabaseLoans } from "../../src/cluster/locks/database-loans.ts"
import { type ErrorCode, LitefsError } from "../../src/lib/errors.ts"
import type { FsThread } from "../../src/mount/contract.ts"
import type { PeerThread } from "../../src/peer/contract.ts"
import { portTo } from "../support/port-pair.ts"

/** What a thread is called for: `fs.lend`. */
type Step = `${Owner}.${keyof DatabaseOwner}` | "peer.lockWrites" | "peer.letGo"

/** Two threads of which each does as the test says, and who has the database: exactly one of them. */
function fixture(first: Owner) {
  const failing = new Map<Step, ErrorCode>()
  const state = { owner: first as Owner | "nobody", locks: 0, isWanted: false }
  const handover = damagedHandover("db")
  const fail = (name: Step) => {
    const code = failing.get(name)
    failing.delete(name)
    if (code !== undefined) throw new LitefsError(code, `${name} has failed`)
  }
  const owner = (thread: Owner) => {
    const give = (name: "lend" | "giveBack") => async () => {
      // It can still take it back, and be asked again.
      const isAgain = thread === "peer" && name === "giveBack" && state.owner === "nobody"
      if (!isAgain) expect(state.owner).toBe(thread)
      fail(`${thread}.${name}`)
      state.owner = "nobody"
      return handover
    }
    const take = (name: "borrow" | "takeBack") => async () => {
      expect(state.owner).toBe("nobody")
      fail(`${thread}.${name}`)
      state.owner = thread
    }
    return {
      ...{ lend: give("lend"), giveBack: give("giveBack") },
      ...{ borrow: take("borrow"), takeBack: take("takeBack") },
    }
  }
  const fs = portTo<FsThread>({
    ...owner("fs"),
    lending: (_, isWanted) => {
      state.isWanted = isWanted
    },
  })
  const peer = portTo<PeerThread>({
    ...owner("peer"),
    lockWrites: async () => {
      fail("peer.lockWrites")
      state.locks += 1
      return 1
    },
    unlockWrites: () => {
      state.locks -= 1
    },
    letGo: () => {
      expect(state.owner).toBe("fs")
      fail("peer.letGo")
    },
  })
  return { loans: new DatabaseLoans(fs, peer), failing, state }
}

describe("DatabaseLoans", () => {
  test.each(["peer.lockWrites", "fs.lend", "peer.borrow"] as const)(
    "lends nothing when %s fails, and the fs thread has the database",
    async (name) => {
      const { loans, failing, state } = fixture("fs")
      failing.set(name, "io")
      await expect(loans.lend("db", 100)).rejects.toThrow(`${name} has failed`)
      expect(state).toEqual({ isWanted: false, owner: "fs", locks: 0 })
      expect(loans.isLent("db")).toBe(false)
    },
  )

  test.each(["peer.giveBack", "fs.takeBack", "peer.letGo"] as const)(
    "takes back what was lent when it is tried again after %s has failed",
    async (name) => {
      const { loans, failing, state } = fixture("fs")
      const takeBack = await loans.lend("db", 100)
      expect(state).toEqual({ isWanted: false, owner: "peer", locks: 1 })
      failing.set(name, "io")
      await expect(takeBack()).rejects.toThrow(`${name} has failed`)
      expect(state.locks).toBe(1) // no client writes
      await takeBack()
      expect(state).toEqual({ isWanted: false, owner: "fs", locks: 0 })
      expect(loans.isLent("db")).toBe(false)
    },
  )

  test.each(["peer.lockWrites", "peer.lend", "fs.borrow"] as const)(
    "borrows nothing when %s fails, and the peer thread has the database",
    async (name) => {
      const { loans, failing, state } = fixture("peer")
      failing.set(name, "io")
      await expect(loans.borrow("db", 100)).rejects.toThrow(`${name} has failed`)
      expect(state).toEqual({ isWanted: false, owner: "peer", locks: 0 })
      expect(loans.isLent("db")).toBe(false)
    },
  )

  test("has borrowed also when the files cannot be closed that the peer thread does not need", async () => {
    const { loans, failing, state } = fixture("peer")
    failing.set("peer.letGo", "io")
    await loans.borrow("db", 100)
    expect(state).toEqual({ isWanted: false, owner: "fs", locks: 0 })
    expect(loans.isLent("db")).toBe(true)
  })

  test.each(["fs.giveBack", "peer.takeBack"] as const)(
    "gives back what was borrowed when it is tried again after %s has failed",
    async (name) => {
      const { loans, failing, state } = fixture("peer")
      await loans.borrow("db", 100)
      failing.set(name, "io")
      await expect(loans.giveBack("db", 100)).rejects.toThrow(`${name} has failed`)
      await loans.giveBack("db", 100)
      expect(state).toEqual({ isWanted: false, owner: "peer", locks: 0 })
      expect(loans.isLent("db")).toBe(false)
    },
  )

  test("gives back also when a client does not end its transaction, or the database is damaged", async () => {
    const { loans, failing, state } = fixture("peer")
    await loans.borrow("db", 100)
    failing.set("peer.lockWrites", "unavailable").set("peer.takeBack", "damaged")
    await loans.giveBack("db", 100)
    expect(loans.isLent("db")).toBe(false)
    expect(state.locks).toBe(0)
  })
})
