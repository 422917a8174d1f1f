import { afterEach, describe, expect, test } from "bun:test"
import { decodeHolder } from "../../src/cluster/role/store-content.ts"
import { ElectedNode, positionsOf } from "../support/elected-node.ts"
import { FakeClock } from "../support/fake-clock.ts"
import { MemoryPlace, MemoryStore } from "../support/memory-store.ts"

const TTL_MS = 10_000
const MARGIN_MS = 1000
const CLUSTER = "LFSC0000000000000001"

/** Nodes on one clock and one place. `suspended` nodes do nothing, while the time goes on. */
class World implements AsyncDisposable {
  readonly clock = new FakeClock()
  readonly place = new MemoryPlace(this.clock, TTL_MS)
  readonly nodes: { node: ElectedNode; store: MemoryStore }[] = []

  /** For how long the machine was suspended. */
  asleepMs = 0

  bootMs(): number {
    return this.clock.monotonicMs() + this.asleepMs
  }

  node(name: string, options: Partial<ConstructorParameters<typeof ElectedNode>[0]> = {}) {
    const store = new MemoryStore(this.place)
    const { clock } = this
    const bootMs = () => this.bootMs()
    const made = { node: new ElectedNode({ name, store, clock, bootMs, ...options }), store }
    this.nodes.push(made)
    made.node.start()
    return made
  }

  /** The world goes on in small steps. At no moment may two nodes commit. */
  async pass(ms: number): Promise<void> {
    for (let done = 0; done < ms; done += 50) {
      await this.turns()
      const committing = this.nodes.filter(({ node }) => node.mayCommit)
      expect(committing.length).toBeLessThan(2)
      this.clock.advance(50)
    }
    await this.turns()
  }

  async turns(): Promise<void> {
    for (let turn = 0; turn < 60; turn++) await Promise.resolve()
  }

  get primaries(): string[] {
    return this.nodes.filter(({ node }) => node.mayCommit).map(({ node }) => node.name)
  }

  get holder() {
    return this.place.holder && decodeHolder(this.place.holder.text)?.record
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { node, store } of this.nodes) {
      store.isDown = true
      const closed = node[Symbol.asyncDispose]()
      for (let step = 0; step < 100; step++) {
        await this.turns()
        this.clock.advance(100)
      }
      await closed
    }
  }
}

let world: World
function newWorld(): World {
  world = new World()
  return world
}
afterEach(async () => world?.[Symbol.asyncDispose]())

/** A primary with 5 transactions, and a replica with as many. */
async function pair() {
  const { node: a, store: atA } = newWorld().node("a", { positions: { "a.db": 5 } })
  await world.pass(2000)
  const { node: b, store: atB } = world.node("b", { positions: { "a.db": 5 } })
  await world.pass(4000)
  b.records.setHistoryEpoch(1)
  expect(world.primaries).toEqual(["a"])
  return { a, b, atA, atB }
}

describe("ElectedLease", () => {
  test("is taken by a node that is alone, with the first epoch and a cluster of its own", async () => {
    const { node } = newWorld().node("a")
    await world.pass(500)
    expect(world.primaries).toEqual([]) // others may be about to start
    await world.pass(1500)
    expect(world.primaries).toEqual(["a"])
    expect(world.holder).toEqual({ epoch: 1, primary: node.self })
    expect(world.place.cluster).toBe(node.clusterId)
  })

  test("of a new store waits for those that may have more, and goes to one whose record names no other", async () => {
    const { node: replica } = newWorld().node("r", { cluster: CLUSTER, positions: { "a.db": 4 } })
    const primary = { id: "000000000000000C", hostname: "c", url: "http://c:1" }
    replica.records.keep({ epoch: 7, primary })
    await world.pass(2 * TTL_MS)
    expect(world.primaries).toEqual([])
    expect(replica.problems.at(-1)).toMatch(
      /the store knows of no primary yet, and the last one was c/,
    )
    world.node("d", { cluster: CLUSTER, positions: { "a.db": 5 } })
    await world.pass(TTL_MS - 1000)
    expect(world.primaries).toEqual([])
    await world.pass(3000)
    expect(world.primaries).toEqual(["d"])
  })

  test("is renewed for as long as the store answers", async () => {
    const { a } = await pair()
    await world.pass(60_000)
    expect(world.primaries).toEqual(["a"])
    expect(a.epoch).toBe(1)
    expect(a.held).toEqual([1]) // no pause in between
  })

  test("is believed until the TTL after the last renewal was sent, less a margin", async () => {
    const { a, atA } = await pair()
    atA.isDown = true
    const { commitUntilMs } = a
    expect(commitUntilMs - world.clock.monotonicMs()).toBeLessThanOrEqual(TTL_MS - MARGIN_MS)
    while (world.clock.monotonicMs() < commitUntilMs - 50) await world.pass(50)
    expect(world.primaries).toEqual(["a"])
    await world.pass(100)
    expect(world.primaries).toEqual([])
    expect(world.holder?.primary.hostname).toBe("a") // the store has not let it go yet
    await world.pass(MARGIN_MS + 3000)
    expect(world.primaries).toEqual(["b"])
    expect(world.holder?.epoch).toBe(2)
  })

  test("counts from before a renewal was sent that takes long to arrive, and to be answered", async () => {
    const { a, atA } = await pair()
    atA.sentMs = 2000
    atA.answerMs = 2000
    await world.pass(20_000)
    // A step has two calls, and each way takes 2 s.
    const leftMs = a.commitUntilMs - world.clock.monotonicMs()
    expect(leftMs).toBeLessThanOrEqual(TTL_MS - MARGIN_MS - 8000 + 100)
    atA.answerMs = 9000
    await world.pass(40_000) // two may never commit: pass() looks
    expect(world.holder?.epoch).toBeGreaterThanOrEqual(1)
  })

  test("does not mind a wall clock that jumps", async () => {
    const { a } = await pair()
    for (const ms of [3_600_000, -7_200_000, 86_400_000_000]) {
      world.clock.setMs = ms
      await world.pass(5000)
      expect(world.primaries).toEqual(["a"])
    }
    expect(a.held).toEqual([1])
  })

  test("is over for a machine that was suspended, at the moment that it wakes", async () => {
    const { a } = await pair()
    expect(world.primaries).toEqual(["a"])
    world.asleepMs = TTL_MS // its timers stood still meanwhile
    expect(a.commitUntilMs).toBeLessThan(world.bootMs())
    expect(world.primaries).toEqual([])
  })

  test("goes on when the store is back before anybody else has it", async () => {
    const { a, atA, atB } = await pair()
    atA.isDown = true
    atB.isDown = true
    await world.pass(TTL_MS + 5000)
    expect(world.primaries).toEqual([])
    expect(a.problems.join()).toContain("it is down")
    atA.isDown = false
    await world.pass(3000)
    expect(world.primaries).toEqual(["a"])
    expect(a.epoch).toBe(2)
  })

  test("is not given to a node that does not stand for it", async () => {
    const { a } = await pair()
    const primary = { id: "000000000000000F", hostname: "f", url: "http://f:1" }
    const given = a.lease.give({ epoch: 2, primary })
    given.catch(() => {})
    await world.pass(2000)
    await expect(given).rejects.toThrow(
      "Cannot hand over: f is no candidate in memory, start it with this --lease",
    )
    expect(world.primaries).toEqual(["a"])
  })

  test("is not given by a record of before it was lost and taken again, which has the epoch of now", async () => {
    const { a, b, atA, atB } = await pair()
    const record = { epoch: 2, primary: b.self } // of a handoff that has begun
    for (const store of [atA, atB]) store.isDown = true
    await world.pass(TTL_MS + 5000)
    atA.isDown = false
    await world.pass(3000)
    expect(a.epoch).toBe(2)
    atB.isDown = false
    await world.pass(3000)
    const given = a.lease.give(record)
    given.catch(() => {})
    await world.pass(2000)
    await expect(given).rejects.toThrow("Cannot hand over: this node has lost the lease meanwhile")
    expect(world.primaries).toEqual(["a"])
    expect(world.holder).toEqual({ epoch: 2, primary: a.self })
  })

  test("that was given away is not held again when the answer was lost", async () => {
    const { a, b, atA } = await pair()
    atA.lost.push("replace")
    const given = a.lease.give({ epoch: 2, primary: b.self })
    await world.turns()
    await expect(given).rejects.toThrow(
      /^Cannot hand over: the store of the lease, memory: no answer$/,
    )
    expect(a.mayCommit).toBe(false)
    await world.pass(3000)
    expect(world.primaries).toEqual(["b"])
    expect([a.epoch, b.epoch]).toEqual([2, 2])
  })

  test("that may still be given away is given up, and taken anew", async () => {
    const { a, b, atA } = await pair()
    const { replace } = atA
    const late = Promise.withResolvers<void>()
    let isGiven: Promise<boolean> | undefined
    atA.replace = async (...asked) => {
      atA.replace = replace
      isGiven = late.promise.then(() => atA.replace(...asked))
      throw new Error("no answer in 500 ms")
    }
    const given = a.lease.give({ epoch: 2, primary: b.self })
    await world.turns()
    await expect(given).rejects.toThrow(/no answer in 500 ms/)
    await world.pass(3000)
    const { holder } = world
    expect(holder?.epoch).toBe(2) // either may have it: they have the same
    late.resolve() // the store does it after all
    await world.pass(3000)
    expect(await isGiven).toBe(false)
    expect(world.holder).toEqual(holder)
    expect(world.primaries).toEqual([holder?.primary.hostname as string])
  })

  test("is not taken at once by the first candidate that is back after an outage of the store", async () => {
    const { a, b, atA, atB } = await pair()
    const cluster = a.clusterId ?? ""
    const { node: c, store: atC } = world.node("c", { positions: { "a.db": 6 }, cluster })
    c.records.setHistoryEpoch(1)
    await world.pass(4000)
    for (const store of [atA, atB, atC]) store.isDown = true
    await world.pass(TTL_MS - 3500)
    atB.isDown = false
    b.lease.look()
    await world.pass(3700) // the lease of the last primary has run out
    expect([world.holder, world.primaries]).toEqual([undefined, []])
    atC.isDown = false
    c.lease.look()
    await world.pass(5000)
    expect(world.primaries).toEqual(["c"])
  })

  test("whose answer to take() was lost is held once the store is asked again", async () => {
    const { store } = newWorld().node("a")
    store.lost.push("take")
    await world.pass(2500)
    expect(world.primaries).toEqual(["a"])
    expect(world.holder?.epoch).toBe(1)
  })

  test("is given back by a node that cannot keep the record, and taken by another", async () => {
    const { a, b, atA } = await pair()
    atA.isDown = true
    b.keepFails = true
    await world.pass(TTL_MS + 4000)
    expect(b.problems.join()).toContain("the disk is full")
    world.node("c", { positions: { "a.db": 5 }, cluster: world.place.cluster ?? "" })
    await world.pass(4000)
    expect(world.primaries).toEqual(["c"])
    expect(a.mayCommit).toBe(false)
  })

  test("goes to the candidate that has most", async () => {
    const { atA, b } = await pair()
    const { node: c } = world.node("c", { positions: { "a.db": 7 } })
    c.records.setHistoryEpoch(1)
    await world.pass(4000)
    b.positions = positionsOf({ "a.db": 6 })
    atA.isDown = true
    await world.pass(TTL_MS + 4000)
    expect(world.primaries).toEqual(["c"])
  })

  test("is not taken from a live candidate that has more and is slow, and is when that is gone", async () => {
    const { atA } = await pair()
    const { node: c, store: atC } = world.node("c", { positions: { "a.db": 7 } })
    c.records.setHistoryEpoch(1)
    await world.pass(4000)
    atC.take = async () => {
      throw new Error("it is slow")
    }
    atA.isDown = true
    await world.pass(TTL_MS + 4000)
    expect(world.holder).toBeUndefined()
    atC.isDown = true
    await world.pass(4000)
    expect(world.primaries).toEqual([])
    await world.pass(TTL_MS)
    expect(world.primaries).toEqual(["b"])
  })

  test("is not taken at once by a node that was cut off from the store, as those may have been that have more", async () => {
    const { a, atA, atB, b } = await pair()
    const { node: c, store: atC } = world.node("c", { positions: { "a.db": 5 } })
    c.records.setHistoryEpoch(1)
    await world.pass(4000)
    const stores = [atA, atB, atC]
    for (const store of stores) store.isDown = true
    a.positions = positionsOf({ "a.db": 6 }) // the store does not know
    c.positions = positionsOf({ "a.db": 6 }) // acknowledged
    await world.pass(TTL_MS + 5000)
    atB.isDown = false
    await world.pass(1000)
    atC.isDown = false
    await world.pass(TTL_MS)
    expect(world.primaries).toEqual(["c"])
    expect(b.epoch).toBe(2)
  })

  test("is taken at once by the last holder, when nobody else is there", async () => {
    const { atA, atB } = await pair()
    for (const store of [atA, atB]) store.isDown = true
    await world.pass(TTL_MS + 5000)
    atA.isDown = false
    await world.pass(2500)
    expect(world.primaries).toEqual(["a"])
  })

  test("is not taken by a node that lacks what the last primary had", async () => {
    const { a, atA, b } = await pair()
    a.positions = positionsOf({ "a.db": 6 })
    await world.pass(4000)
    atA.isDown = true
    await world.pass(TTL_MS + 20_000)
    expect(world.primaries).toEqual([])
    expect(b.problems.at(-1)).toContain('"a.db" is at')
    const forced = b.lease.force()
    await world.turns()
    await forced
    expect(world.primaries).toEqual(["b"])
    expect(b.epoch).toBe(2)
  })

  test("is not taken by force while another node holds it", async () => {
    const { b } = await pair()
    await expect(b.lease.force()).rejects.toThrow(
      "Cannot promote by force: a holds the lease, stop it and wait 10 s, or use litefs promote without --force",
    )
    expect(world.primaries).toEqual(["a"])
  })

  test("is not taken by a node that is no candidate, or is leaving", async () => {
    const { a, atA, b } = await pair()
    world.node("c", { positions: { "a.db": 9 }, isCandidate: false })
    b.isLeaving = true
    atA.isDown = true
    await world.pass(TTL_MS + 10_000)
    expect(world.primaries).toEqual([])
    expect(a.mayCommit).toBe(false)
  })

  test("of another cluster is left alone", async () => {
    await pair()
    const { node } = world.node("x", { cluster: "LFSC00000000000000FF" })
    await world.pass(4000)
    expect(node.problems.at(-1)).toMatch(
      /it is of cluster LFSC\w+, this node of LFSC00000000000000FF/,
    )
    expect(node.epoch).toBeUndefined()
  })

  test.each([
    ["{}", /held by a record that is not of this program/],
    ["not JSON", /held by a record that is not of this program/],
    [
      `{"hostname":"o","advertise-url":"http://o:1"}`,
      /held by a record that is not of this program/,
    ],
    [
      `{"hostname":"o","advertise-url":"http://o:1","epoch":1e300,"id":"000000000000000A"}`,
      /held by a record that is not of this program/,
    ],
    ["x".repeat(1_000_000), /held by a record that is not of this program/],
  ])("does not believe a holder that is %p", async (text, problem) => {
    newWorld()
    world.place.sessions.set("9", 1e12)
    world.place.holder = { session: "9", text }
    const { node } = world.node("a", { cluster: CLUSTER })
    await world.pass(3000)
    expect(node.problems.at(-1)).toMatch(problem)
    expect(node.epoch).toBeUndefined()
  })

  test("is not taken over a last record that cannot be read", async () => {
    newWorld()
    world.place.last = { text: "?", version: "1" }
    const { node } = world.node("a", { cluster: CLUSTER })
    await world.pass(3000)
    expect(node.problems.at(-1)).toContain("what it keeps of the last primary cannot be read")
  })

  test("does not ask a store that is down all the time", async () => {
    const { atA } = await pair()
    let calls = 0
    atA.renew = async () => {
      calls += 1
      throw new Error("it is down")
    }
    await world.pass(60_000)
    expect(calls).toBeLessThan(50)
  })

  test("waits for the end of a lease that a node with the same id has elsewhere", async () => {
    const { a } = await pair()
    const store = new MemoryStore(world.place)
    const { clock } = world
    const copy = new ElectedNode({ name: "a", store, clock, bootMs: () => clock.monotonicMs() })
    Object.defineProperty(copy, "self", { value: { ...a.self, url: "http://elsewhere:1" } })
    world.nodes.push({ node: copy, store })
    copy.start()
    await world.pass(20_000)
    expect(a.mayCommit).toBe(true)
    expect(copy.mayCommit).toBe(false)
  })
})
