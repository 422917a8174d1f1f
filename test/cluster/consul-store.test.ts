/** What the network does to requests to Consul; test/cluster/lease-contract.test.ts has what any store does. */
import { expect, test } from "bun:test"
import { ConsulStore } from "../../src/cluster/stores/consul-store.ts"
import type { StoreCall, StoreCalls } from "../../src/cluster/stores/store-calls.ts"
import { FakeConsul } from "../support/consul.ts"
import { FakeClock } from "../support/fake-clock.ts"

const TAKEN = { id: "A", text: "one", last: "l1", cluster: "c" }

/** Stores of one Consul. `isKept` says which requests the network keeps; they arrive with `deliver`. */
class Place {
  readonly consul = FakeConsul.unconnected()
  readonly deliver: (() => number)[] = []
  isKept = (_: StoreCall) => false

  newStore(): ConsulStore {
    const call = async (call: StoreCall) => {
      const arrive = () => {
        const body = Buffer.from(call.body ?? "")
        const answer = this.consul.answer(call.method, call.path, body)
        return { status: answer.status, text: answer.body }
      }
      if (!this.isKept(call)) return arrive()
      this.deliver.push(() => arrive().status)
      throw new Error("no answer in 1000 ms")
    }
    return new ConsulStore({
      ...{ calls: { call, close() {} } as unknown as StoreCalls, clock: new FakeClock() },
      ...{ where: "consul", key: "app/primary", ttlMs: 10_000, lockDelayMs: 100 },
    })
  }
}

test.each(["confirm", "replace", "release"] as const)(
  "a %s that the network has kept changes nothing after the lease was given up",
  async (what) => {
    const place = new Place()
    const store = place.newStore()
    const session = await store.openSession()
    expect(await store.take(session, TAKEN, await store.read())).toBe(true)
    place.isKept = ({ path }) => path === "/v1/txn"
    const call = {
      confirm: () => store.confirm(session, "one", "l2"),
      replace: () => store.replace(session, "one", "two", "l2"),
      release: () => store.release(session, "one", "l2"),
    }[what]
    await expect(call()).rejects.toThrow("no answer")
    place.isKept = () => false
    await store.release(session, "one", "l3")
    const other = await store.openSession()
    expect(
      await store.take(other, { ...TAKEN, text: "three", last: "l4" }, await store.read()),
    ).toBe(true)
    expect(place.deliver.map((each) => each())).toEqual([409])
    expect(await store.read()).toMatchObject({
      holder: { text: "three", session: other },
      last: { text: "l4" },
    })
    expect(place.consul.odd).toEqual([])
  },
)

test("a take that the network has kept takes nothing from who was there in between", async () => {
  const place = new Place()
  const [store, other] = [place.newStore(), place.newStore()]
  const view = await store.read()
  const [late, session] = [await store.openSession(), await other.openSession()]
  place.isKept = ({ path }) => path === "/v1/txn"
  await expect(store.take(late, { ...TAKEN, text: "late" }, view)).rejects.toThrow("no answer")
  place.isKept = () => false
  expect(await other.take(session, TAKEN, view)).toBe(true)
  await other.release(session, "one", "l2")
  expect(place.deliver.map((each) => each())).toEqual([409])
  expect(await other.read()).toMatchObject({ holder: undefined, last: { text: "l2" } })
})

test("a transaction that a token does not permit is no lost lease", async () => {
  const place = new Place()
  const store = place.newStore()
  const session = await store.openSession()
  await store.take(session, TAKEN, await store.read())
  const answer = place.consul.answer.bind(place.consul)
  place.consul.answer = (method, path, body) => {
    if (path !== "/v1/txn") return answer(method, path, body)
    const What = "Permission denied: token with AccessorID 'x' lacks permission 'key:write'"
    return { status: 409, body: JSON.stringify({ Results: null, Errors: [{ OpIndex: 0, What }] }) }
  }
  await expect(store.confirm(session, "one", "l2")).rejects.toThrow(/Permission denied/)
})
