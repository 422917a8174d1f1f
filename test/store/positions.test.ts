import { describe, expect, test } from "bun:test"
import { ZERO_POS } from "../../src/ltx/pos.ts"
import { Positions, SLOT_COUNT_MAX, slotIndex } from "../../src/store/positions.ts"
import { stateOf } from "../support/position-writer.ts"
import { nameOf } from "../support/slot-taker.ts"

describe("Positions", () => {
  test("Positions gives every database a slot, the same for all who share the memory", () => {
    const positions = Positions.create()
    expect([positions.find("a.db"), positions.count]).toEqual([undefined, 0])
    const a = positions.add("a.db")
    const b = positions.add("ä/☃".repeat(20))
    expect([a, b].map(slotIndex)).toEqual([0, 1])
    expect(positions.add("a.db")).toBe(a)
    const other = new Positions(positions.memory)
    expect([other.count, other.find("ä/☃".repeat(20)), other.find("a.db")]).toEqual([2, b, a])
    const later = positions.add("later.db")
    expect(other.find("later.db")).toBe(later)
    expect([...other.entries()].at(-1)).toEqual(["later.db", later])
  })

  test("a slot that was freed is another database's, and nothing to who has its old number", () => {
    const positions = Positions.create()
    const other = new Positions(positions.memory)
    const first = positions.add("a.db")
    positions.add("b.db")
    positions.write(first, stateOf(1), undefined)
    expect(other.read(other.find("a.db") as number)).toMatchObject(stateOf(1))
    const changes = other.changeCount

    positions.free(first)
    positions.free(first)
    expect(other.changeCount).toBeGreaterThan(changes)
    expect([positions.find("a.db"), other.find("a.db"), other.count]).toEqual([
      undefined,
      undefined,
      1,
    ])
    for (const each of [positions, other]) expect(each.read(first)).toMatchObject({ commit: 0 })

    const second = positions.add("c.db")
    expect(slotIndex(second)).toBe(slotIndex(first))
    positions.write(second, stateOf(2), undefined)
    positions.write(first, stateOf(3), undefined) // of one that is gone
    positions.markStored(first)
    expect(other.read(first)).toMatchObject({ pos: ZERO_POS, commit: 0 })
    expect(other.read(second)).toEqual({ ...stateOf(2), stored: ZERO_POS })
    expect([...other.entries()].map(([name]) => name).sort()).toEqual(["b.db", "c.db"])
  })

  test("names come and go any number of times, also when all slots but one are taken", () => {
    const positions = Positions.create()
    const other = new Positions(positions.memory)
    for (let i = 1; i < SLOT_COUNT_MAX; i++) positions.add(`${i}`)
    for (let i = 0; i < 3 * SLOT_COUNT_MAX; i++) positions.free(positions.add(`gone ${i}`))
    expect([other.count, other.find("gone 7"), other.find("7")]).toEqual([
      SLOT_COUNT_MAX - 1,
      undefined,
      positions.find("7"),
    ])
    expect(other.find("last")).toBeUndefined()
    const last = positions.add("last")
    expect(other.find("last")).toBe(last)
    positions.free(positions.find("5000") as number)
    positions.add("5000 again")
    expect([other.find("5000"), other.count]).toEqual([undefined, SLOT_COUNT_MAX])
    expect(other.find("5000 again")).toBe(positions.find("5000 again"))
  })

  test("whoever reads while another thread frees and takes slots never sees one for the other", async () => {
    const positions = Positions.create()
    const worker = new Worker(new URL("../support/slot-taker.ts", import.meta.url).href)
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    let isDone = false
    worker.onmessage = () => resolve()
    worker.onerror = (event) => reject(new Error(event.message))
    promise.then(
      () => {
        isDone = true
      },
      () => {},
    )
    worker.postMessage({ memory: positions.memory, count: 200_000 })
    let seen = 0
    while (!isDone) {
      for (let i = 0; i < 2000; i++) {
        for (const [name, slot] of positions.entries()) {
          const { commit } = positions.read(slot)
          if (commit === 0) continue // gone, or not yet written
          if (name !== nameOf(commit)) throw new Error(`"${name}" has the state of ${commit}`)
          seen += 1
        }
      }
      await Bun.sleep(0)
    }
    await promise
    worker.terminate()
    expect(seen).toBeGreaterThan(1000)
  })

  test("Positions takes a name of 255 bytes", () => {
    const positions = Positions.create()
    const name = "x".repeat(255)
    expect(new Positions(positions.memory).find(name)).toBeUndefined()
    const slot = positions.add(name)
    expect(new Positions(positions.memory).find(name)).toBe(slot)
  })

  test("Positions refuses more databases than there is room for", () => {
    const positions = Positions.create()
    for (let i = 0; i < 16384; i++) positions.add(`${i}`)
    expect(() => positions.add("one more")).toThrow(/there are 16384 already/)
    expect(slotIndex(positions.add("7"))).toBe(7)
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
    expect(slotIndex(positions.find("added by the other thread") ?? 0)).toBe(1)
  })
})
