/**
 * What answers in the place of an etcd or a Consul, or what these answer when they are broken. A call that is answered
 * so rejects, with words for people, and nothing of the answer is believed.
 */
import { describe, expect, test } from "bun:test"
import type { LeaseStore } from "../../src/cluster/stores/lease-store.ts"
import { openStore } from "../../src/cluster/stores/open-store.ts"
import { systemClock } from "../../src/lib/clock.ts"
import { LitefsError } from "../../src/lib/errors.ts"
import { FakeApi } from "../support/fake-api.ts"
import { Scope } from "../support/node.ts"

/** A store of this kind whose every call gets this answer. */
async function storeOf(scope: Scope, kind: "etcd" | "consul", body: string): Promise<LeaseStore> {
  const api = await FakeApi.start((response) => void response.end(body))
  scope.defer(() => api[Symbol.asyncDispose]())
  const shared = { ttlMs: 3000, where: kind, origins: [api.url] }
  const store = openStore(
    kind === "etcd"
      ? { ...shared, kind, prefix: "app" }
      : { ...shared, kind, key: "app", lockDelayMs: 100 },
    systemClock,
    () => ({}),
  )
  scope.defer(() => store.close())
  return store
}

type Call = (store: LeaseStore) => Promise<unknown>

const read: Call = (store) => store.read()
const candidates: Call = (store) => store.candidates()
const renew: Call = (store) => store.renew("1")

const rangesOf = (...kvs: unknown[]) => ({
  header: { revision: "5" },
  responses: kvs.map((each) => ({ response_range: { kvs: each } })),
})

const ETCD: [string, Call, unknown][] = [
  ["nothing", read, null],
  ["a list", read, [1]],
  ["an object without what was asked for", read, {}],
  ["no list of ranges", read, { ...rangesOf(), responses: { 0: {} } }],
  ["ranges that are null", read, { ...rangesOf(), responses: [null, null, null] }],
  ["fewer ranges", read, rangesOf([])],
  ["keys that are no list", read, rangesOf("keys", [], [])],
  ["a key that is null", read, rangesOf([null], [], [])],
  ["a value that is a number", read, rangesOf([{ value: 5 }], [], [])],
  ["a version that is an object", read, rangesOf([], [{ value: "", mod_revision: {} }], [])],
  ["a lease that is a text", read, rangesOf([{ value: "", lease: "x" }], [], [])],
  ["a revision that is a text", read, { ...rangesOf([], [], []), header: { revision: "abc" } }],
  ["a revision that is a fraction", read, { ...rangesOf([], [], []), header: { revision: 1.5 } }],
  ["candidates that are null", candidates, rangesOf([null])],
  ["candidates that are objects", candidates, rangesOf([{ value: {} }])],
  ["a TTL without an end", renew, { result: { TTL: "1e308" } }],
  ["a TTL that is an object", renew, { result: { TTL: {} } }],
  ["a session that is a list", renew, { result: [] }],
]

const CONSUL: [string, Call, unknown][] = [
  ["nothing", read, null],
  ["an object", read, {}],
  ["keys that are null", read, [null]],
  ["a value that is a number", read, [{ Value: 5, ModifyIndex: 1 }]],
  ["a session that is an object", read, [{ Value: "", Session: {}, ModifyIndex: 1 }]],
  ["an index that is a text", read, [{ Value: "", ModifyIndex: "x&cas=0" }]],
  ["candidates that are null", candidates, [null]],
  ["a session that is null", renew, null],
  ["no session", renew, []],
  ["a TTL that is no duration", renew, [{ TTL: "for ever" }]],
  ["a TTL that is an object", renew, [{ TTL: {} }]],
]

async function refusalOf(kind: "etcd" | "consul", call: Call, answer: unknown): Promise<unknown> {
  await using scope = new Scope()
  const store = await storeOf(scope, kind, `${JSON.stringify(answer)}\n`)
  return await call(store).catch((error: unknown) => error)
}

describe("an etcd store", () => {
  test.each(ETCD)("does not believe %s", async (_, call, answer) => {
    const refusal = await refusalOf("etcd", call, answer)
    expect(refusal).toBeInstanceOf(LitefsError)
    expect(String(refusal)).toMatch(/its answer has .*, it is no etcd with version 3.4 or later$/)
  })

  test("takes no more candidates than it has asked for", async () => {
    const kvs = Array.from({ length: 5000 }, () => ({ value: "e30=" }))
    expect(await refusalOf("etcd", candidates, rangesOf(kvs))).toHaveLength(64)
  })

  test("reads what etcd leaves out", async () => {
    const view = { holder: undefined, last: undefined, cluster: undefined, revision: "5" }
    const empty = {
      header: { revision: "5" },
      responses: [1, 2, 3].map(() => ({ response_range: {} })),
    }
    expect(await refusalOf("etcd", read, empty)).toEqual(view)
    expect(await refusalOf("etcd", renew, { result: { ID: "1" } })).toBeUndefined()
    expect(await refusalOf("etcd", renew, { result: { TTL: "-1" } })).toBeUndefined()
  })
})

describe("a Consul store", () => {
  test.each(CONSUL)("does not believe %s", async (_, call, answer) => {
    const refusal = await refusalOf("consul", call, answer)
    expect(refusal).toBeInstanceOf(LitefsError)
    expect(String(refusal)).toMatch(/its answer has .*, it is no Consul$/)
  })
})
