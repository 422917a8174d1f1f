/**
 * What every kind of lease does: the static one, one in a real etcd, and one in the server of our tests that speaks
 * Consul's API (test/support/consul.ts says how far that is from a Consul).
 */
import { describe, expect, test } from "bun:test"
import { rmSync } from "node:fs"
import { join } from "node:path"
import type { Lease, LeaseRecord } from "../../src/cluster/role/lease.ts"
import { StaticLease } from "../../src/cluster/role/static-lease.ts"
import { encodeHolder, encodeLast } from "../../src/cluster/role/store-content.ts"
import type { LeaseStore } from "../../src/cluster/stores/lease-store.ts"
import { openStore } from "../../src/cluster/stores/open-store.ts"
import { systemClock } from "../../src/lib/clock.ts"
import { FakeConsul } from "../support/consul.ts"
import { ElectedNode, positionsOf } from "../support/elected-node.ts"
import { Etcd, hasEtcd } from "../support/etcd.ts"
import { Scope } from "../support/node.ts"
import { until } from "../support/until.ts"

const TTL_MS = 3000
const LIMIT_MS = 60_000

interface Party {
  readonly lease: Lease
  readonly records: StaticLease
  readonly self: LeaseRecord["primary"]
}

/** Two nodes, of which the first is the primary. */
interface Parties {
  readonly first: Party
  readonly second: Party
  /** Resolves when both have heard what there is to hear, and this one holds it. */
  settled(holder: Party): Promise<void>
}

type Kind = "static" | "etcd" | "consul"

const KINDS: readonly Kind[] = hasEtcd ? ["static", "etcd", "consul"] : ["static", "consul"]
const STORES = KINDS.filter((kind) => kind !== "static")

/** Makes stores of one place, one for each node. They end with the scope. */
async function placeOf(scope: Scope, kind: Kind): Promise<() => LeaseStore> {
  const options = await optionsOf(scope, kind)
  return () => {
    const store = openStore(options, systemClock, () => ({}))
    scope.defer(() => store.close())
    return store
  }
}

async function optionsOf(scope: Scope, kind: Kind): Promise<Parameters<typeof openStore>[0]> {
  const shared = { ttlMs: TTL_MS, where: kind }
  if (kind === "etcd") {
    const etcd = await Etcd.start(scope)
    const origins = etcd.members.map(({ host }) => `http://${host}`)
    return { ...shared, kind, origins, prefix: "litefs/contract" }
  }
  const consul = await FakeConsul.start("s3cret")
  scope.defer(async () => {
    await consul[Symbol.asyncDispose]()
    expect(consul.odd).toEqual([])
  })
  return {
    ...shared,
    kind: "consul",
    origins: [`http://${consul.host}`],
    token: "s3cret",
    key: "app/litefs/primary",
    node: "app/litefs",
    lockDelayMs: 100,
  }
}

async function partiesOf(scope: Scope, kind: Kind): Promise<Parties> {
  if (kind === "static") {
    const party = (name: string): Party => {
      const lease = new StaticLease(join(scope.directory, name), () => BigInt(name.charCodeAt(0)))
      const self = { id: lease.id, hostname: name, url: `http://${name}:1` }
      return { lease, records: lease, self }
    }
    const [first, second] = [party("a"), party("b")]
    first.records.keep({ epoch: 1, primary: first.self })
    const settled = async () => {
      // As with any call between the two.
      for (const [to, from] of [
        [first, second],
        [second, first],
      ] as const)
        if (from.records.record !== undefined) to.records.keep(from.records.record)
    }
    await settled()
    return { first, second, settled }
  }
  const newStore = await placeOf(scope, kind)
  const first = new ElectedNode({ name: "a", store: newStore() })
  const second = new ElectedNode({ name: "b", store: newStore() })
  for (const node of [second, first]) scope.defer(() => node[Symbol.asyncDispose]())
  first.start()
  await until("the first holds it", () => first.mayCommit)
  second.start()
  const settled = async (holder: Party) => {
    const isSo = () => first.epoch === second.epoch && holds(holder)
    await until("both know that it holds it", isSo, { limitMs: 30_000 })
  }
  await settled(first)
  return { first, second, settled }
}

const holds = ({ lease, records }: Party) =>
  records.record?.primary.id === records.id && lease.isHeld

describe.each(KINDS)("a lease of the kind %s", (kind) => {
  test(
    "names one primary, and both nodes know which",
    async () => {
      await using scope = new Scope()
      const { first, second } = await partiesOf(scope, kind)
      expect(holds(second)).toBe(false)
      expect(second.records.record).toEqual({ epoch: 1, primary: first.self })
      expect(first.lease.kind).toBe(kind)
    },
    LIMIT_MS,
  )

  test(
    "is given to another node with the next epoch, and back",
    async () => {
      await using scope = new Scope()
      const { first, second, settled } = await partiesOf(scope, kind)
      await first.lease.give({ epoch: 2, primary: second.self })
      expect(holds(first)).toBe(false)
      await settled(second)
      expect(holds(first)).toBe(false)
      expect(first.records.record?.epoch).toBe(2)
      await second.lease.give({ epoch: 3, primary: first.self })
      expect(holds(second)).toBe(false)
      await settled(first)
      expect(holds(second)).toBe(false)
    },
    LIMIT_MS,
  )

  test(
    "does not come back with an older record",
    async () => {
      await using scope = new Scope()
      const { first, second, settled } = await partiesOf(scope, kind)
      const old = first.records.record as LeaseRecord
      await first.lease.give({ epoch: 2, primary: second.self })
      first.records.keep(old)
      await settled(second)
      expect(holds(first)).toBe(false)
      expect(first.records.record?.epoch).toBe(2)
    },
    LIMIT_MS,
  )

  test(
    "has its record on the disk of both nodes",
    async () => {
      await using scope = new Scope()
      const { first, second, settled } = await partiesOf(scope, kind)
      await first.lease.give({ epoch: 2, primary: second.self })
      await settled(second)
      if (kind !== "static") return // ElectedNode removes its directory
      for (const name of ["a", "b"]) {
        const again = new StaticLease(join(scope.directory, name), () => 0n)
        expect(again.record).toEqual({ epoch: 2, primary: second.self })
      }
      rmSync(join(scope.directory, "a"))
    },
    LIMIT_MS,
  )
})

describe.each(STORES)("a lease in %s", (kind) => {
  test(
    "runs out for its holder before it does for others",
    async () => {
      await using scope = new Scope()
      const newStore = await placeOf(scope, kind)
      const store = newStore()
      await using first = new ElectedNode({ name: "a", store })
      first.start()
      await until("the first holds it", () => first.mayCommit)
      store.renew = async () => {
        throw new Error("it is cut off from here on")
      }
      const other = newStore()
      let wasHeld = true
      while (wasHeld) {
        wasHeld = first.mayCommit
        const { holder } = await other.read()
        if (wasHeld) expect(holder).toBeDefined()
      }
      expect(first.lease.leftMs).toBe(0)
      await until("it is free", async () => (await other.read()).holder === undefined)
    },
    LIMIT_MS,
  )

  test(
    "that is taken by two at once has one of them",
    async () => {
      await using scope = new Scope()
      const newStore = await placeOf(scope, kind)
      const [a, b] = [newStore(), newStore()]
      const view = await a.read()
      expect(view).toMatchObject({ holder: undefined, last: undefined, cluster: undefined })
      const taken = await Promise.all(
        [a, b].map(async (store, index) => {
          const primary = {
            id: `000000000000000${index}`,
            hostname: `n${index}`,
            url: "http://n:1",
          }
          const record = { epoch: 1, primary }
          const cluster = `LFSC000000000000000${index}`
          const last = encodeLast(record, cluster, positionsOf({ "a.db": 1, "ü.db": 2 }))
          const text = encodeHolder(record, cluster)
          const session = await store.openSession()
          const isTaken = await store.take(session, { id: primary.id, text, last, cluster }, view)
          return isTaken ? { text, session, last, cluster } : undefined
        }),
      )
      const winner = taken.find((each) => each !== undefined)
      expect(taken.filter((each) => each !== undefined)).toHaveLength(1)
      const found = await b.read()
      expect(found).toMatchObject({
        cluster: winner?.cluster,
        holder: { text: winner?.text, session: winner?.session },
        last: { text: winner?.last },
      })
    },
    LIMIT_MS,
  )

  test(
    "is confirmed, replaced and released only by who has it",
    async () => {
      await using scope = new Scope()
      const store = (await placeOf(scope, kind))()
      const session = await store.openSession()
      const other = await store.openSession()
      const taken = { id: "A", text: "one", last: "l1", cluster: "c" }
      expect(await store.take(session, taken, await store.read())).toBe(true)
      expect(await store.take(other, { ...taken, text: "two" }, await store.read())).toBe(false)
      expect(await store.confirm(session, "one", "l2")).toBe(true)
      expect(await store.confirm(other, "one")).toBe(false)
      expect(await store.confirm(session, "two")).toBe(false)
      expect(await store.replace(other, "one", "x", "x")).toBe(false)
      expect(await store.replace(session, "one", "two", "l3")).toBe(true)
      expect(await store.confirm(session, "one")).toBe(false)
      expect((await store.read()).last?.text).toBe("l3")
      await store.release(session, "one", "l9") // it has not heard that it was replaced
      expect(await store.renew(session)).toBeGreaterThan(0)
      expect((await store.read()).holder).toEqual({ text: "two", session })
      await store.release(session, "two", "l4")
      expect(await store.renew(session)).toBeUndefined()
      const view = await store.read()
      expect(view).toMatchObject({ holder: undefined, last: { text: "l4" }, cluster: "c" })
      expect(await store.take(other, { ...taken, text: "three", last: "l5" }, view)).toBe(true)
      await store.release(other, "three", "l6")
    },
    LIMIT_MS,
  )

  test(
    "is free when the session of its holder has run out, and its candidates are gone with theirs",
    async () => {
      await using scope = new Scope()
      const store = (await placeOf(scope, kind))()
      const session = await store.openSession()
      const taken = { id: "A", text: "one", last: "l1", cluster: "c" }
      expect(await store.take(session, taken, await store.read())).toBe(true)
      const candidate = await store.openSession()
      expect(await store.announce(candidate, "B", "candidate ü")).toBe(true)
      expect(await store.candidates()).toEqual(["candidate ü"])
      const isGone = async () => (await store.read()).holder === undefined
      await until("it is free", isGone, { everyMs: 50 })
      await until("no candidate", async () => (await store.candidates()).length === 0)
      expect(await store.announce(candidate, "B", "late")).toBe(false)
      expect(await store.renew(session)).toBeUndefined()
      expect((await store.read()).last?.text).toBe("l1")
    },
    LIMIT_MS,
  )

  test(
    "wakes who watches it",
    async () => {
      await using scope = new Scope()
      const store = (await placeOf(scope, kind))()
      const abort = new AbortController()
      const view = await store.read()
      const woken = store.watch(view, false, abort.signal)
      const session = await store.openSession()
      await store.take(session, { id: "A", text: "one", last: "l", cluster: "c" }, view)
      await woken
      const ended = store.watch(await store.read(), true, abort.signal)
      abort.abort()
      await ended
    },
    LIMIT_MS,
  )
})
