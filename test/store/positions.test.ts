import { describe, expect, test } from "bun:test"
import { ZERO_POS } from "../../src/ltx/pos.ts"
import { Positions } from "../../src/store/positions.ts"
import { stateOf } from "../support/position-writer.ts"

describe("Positions", () => {
  test("Positions gives every database a slot, the same for all who share the memory", () => {
    const positions = Positions.create()
    expect([positions.find("a.db"), positions.count]).toEqual([undefined, 0])
    expect(positions.add("a.db")).toBe(0)
    expect(positions.add("ä/☃".repeat(20))).toBe(1)
    expect(positions.add("a.db")).toBe(0)
    const other = new Positions(positions.memory)
    expect([other.count, other.find("ä/☃".repeat(20)), other.name(0)]).toEqual([2, 1, "a.db"])
    positions.add("later.db")
    expect(other.find("later.db")).toBe(2)
    expect(other.name(2)).toBe("later.db")
  })

  test("Positions takes a name of 255 bytes", () => {
    const positions = Positions.create()
    const name = "x".repeat(255)
    expect(new Positions(positions.memory).find(name)).toBeUndefined()
    positions.add(name)
    expect(new Positions(positions.memory).find(name)).toBe(0)
  })

  test("Positions refuses more databases than there is room for", () => {
    const positions = Positions.create()
    for (let i = 0; i < 16384; i++) positions.add(`${i}`)
    expect(() => positions.add("one more")).toThrow(/there are 16384 already/)
    expect(positions.add("7")).toBe(7)
  })

  test("Positions.read() gives what was written, and zeros before", () => {
    const positions = Positions.create()
    const slot = positions.add("a.db")
    expect(positions.read(slot)).toMatchObject({ pos: ZERO_POS, stored: ZERO_POS, commit: 0 })
    const state = {
      pos: { txid: 0xffffffff_00000001n, checksum: 0xfedcba98_76543210n },
      timestampMs: 1795396253554,
      pageSize: 65536,
      commit: 0xfffffffe,
    }
    positions.write(slot, state, undefined)
    expect(positions.read(slot)).toEqual({ ...state, stored: ZERO_POS })
    positions.markStored(slot)
    expect(positions.read(slot)).toEqual({ ...state, stored: state.pos })
    positions.write(slot, stateOf(5), stateOf(4).pos)
    expect(positions.read(slot).stored).toEqual(stateOf(4).pos)
  })

  test("Positions.changeCount grows with whatever may be news", () => {
    const positions = Positions.create()
    const slot = positions.add("a.db")
    const counts = [positions.changeCount]
    positions.write(slot, stateOf(1), undefined)
    counts.push(positions.changeCount)
    positions.markStored(slot)
    counts.push(positions.changeCount)
    positions.read(slot)
    counts.push(positions.changeCount)
    expect(counts).toEqual([0, 1, 2, 2])
  })

  test("Positions never gives a reader half of what another thread writes", async () => {
    const positions = Positions.create()
    const slot = positions.add("a.db")
    const last = 200_000
    const worker = new Worker(new URL("../support/position-writer.ts", import.meta.url).href)
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    worker.onmessage = () => resolve()
    worker.onerror = (event) => reject(new Error(event.message))
    worker.postMessage({ memory: positions.memory, slot, last })
    let seen = 0
    for (let n = 0; n < last; ) {
      const state = positions.read(slot)
      const next = state.commit
      if (next < n) throw new Error(`It went back from ${n} to ${next}`)
      const { stored, ...rest } = state
      const expected = stateOf(next)
      const isTorn =
        rest.pos.txid !== expected.pos.txid ||
        rest.pos.checksum !== expected.pos.checksum ||
        rest.timestampMs !== expected.timestampMs ||
        rest.pageSize !== expected.pageSize ||
        stored.txid !== stored.checksum ||
        stored.txid > rest.pos.txid
      if (isTorn) throw new Error(`Torn at ${next}`)
      if (next !== n) seen += 1
      n = next
    }
    await promise
    worker.terminate()
    expect(seen).toBeGreaterThan(0)
    expect(positions.find("added by the other thread")).toBe(1)
  })
})
