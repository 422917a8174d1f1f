/**
 * The lease in etcd, by the JSON gateway of its version 3.4 and later: `POST /v3/…`, keys and values in base64, numbers
 * of 64 bits as texts. Every change is one transaction (`/v3/kv/txn`), so nothing is half done.
 *
 *   PREFIX/primary          the holder; bound to its lease
 *   PREFIX/last             stays
 *   PREFIX/clusterid        stays
 *   PREFIX/candidates/ID    bound to the lease of that node
 *
 * A session is a lease of etcd (`/v3/lease/grant`, `keepalive`, `revoke`).
 */
import { LitefsError } from "../../lib/errors.ts"
import type { LeaseStore, StoreView, Taken } from "./lease-store.ts"
import { problemOf, type StoreCalls } from "./store-calls.ts"

export interface EtcdOptions {
  readonly calls: StoreCalls
  readonly where: string
  /** Without a slash at its end. */
  readonly prefix: string
  readonly ttlMs: number
  readonly user?: { readonly name: string; readonly password: string }
}

/** Candidates beyond this number do not take part. */
const CANDIDATES_MAX = 64

/** What a range has of a key; etcd leaves out what is zero or empty. */
interface KeyValue {
  readonly value: string
  readonly lease: string
  readonly mod_revision: string
}

type Json = Readonly<Record<string, unknown>>

export class EtcdStore implements LeaseStore {
  readonly kind = "etcd"
  readonly where: string
  readonly ttlMs: number
  readonly #options: EtcdOptions
  #token: string | undefined

  constructor(options: EtcdOptions) {
    this.#options = options
    this.where = options.where
    this.ttlMs = options.ttlMs
  }

  async read(): Promise<StoreView> {
    const names = ["primary", "last", "clusterid"] as const
    const answer = await this.#txn({
      success: names.map((name) => ({ request_range: { key: this.#key(name) } })),
    })
    const [[primary], [last], [cluster]] = rangesOf(answer, 3) as [Range, Range, Range]
    return {
      cluster: cluster && textOf(cluster.value),
      holder: primary && { text: textOf(primary.value), session: primary.lease },
      last: last && { text: textOf(last.value), version: last.mod_revision },
      revision: digitsOf(objectOf(answer.header).revision),
    }
  }

  async candidates(): Promise<readonly string[]> {
    const key = this.#key("candidates/")
    const range_end = this.#key("candidates0") // "0" follows "/"
    const answer = await this.#txn({
      success: [{ request_range: { key, range_end, limit: CANDIDATES_MAX } }],
    })
    const [kvs] = rangesOf(answer, 1) as [Range]
    return kvs.slice(0, CANDIDATES_MAX).map(({ value }) => textOf(value))
  }

  async openSession(): Promise<string> {
    const { ID } = await this.#call("/v3/lease/grant", { TTL: Math.ceil(this.ttlMs / 1000) })
    if (typeof ID === "string" && /^\d{1,20}$/.test(ID)) return ID
    throw new LitefsError("unavailable", "it has granted a lease without an ID")
  }

  async renew(session: string): Promise<number | undefined> {
    const { result } = await this.#call("/v3/lease/keepalive", { ID: session })
    const { TTL } = objectOf(result)
    const ttlMs = Number(digitsOf(TTL)) * 1000
    return ttlMs > 0 ? ttlMs : undefined
  }

  async endSession(session: string): Promise<void> {
    await this.#call("/v3/lease/revoke", { ID: session }, isGone)
  }

  async announce(session: string, id: string, text: string): Promise<boolean> {
    const { succeeded } = await this.#txn({
      success: [this.#put(`candidates/${id}`, text, session)],
    })
    return succeeded === true
  }

  async take(session: string, taken: Taken, { last, cluster }: StoreView): Promise<boolean> {
    const { id, text } = taken
    const { succeeded } = await this.#txn({
      compare: [
        { ...this.#created("primary"), create_revision: "0" },
        {
          ...{ key: this.#key("last"), target: "MOD", result: "EQUAL" },
          mod_revision: last?.version ?? "0",
        },
        ...(cluster === undefined
          ? [{ ...this.#created("clusterid"), create_revision: "0" }]
          : [this.#hasValue("clusterid", cluster)]),
      ],
      success: [
        this.#put("primary", text, session),
        this.#put("last", taken.last),
        ...(cluster === undefined ? [this.#put("clusterid", taken.cluster)] : []),
        this.#delete(`candidates/${id}`),
      ],
    })
    return succeeded === true
  }

  /** A transaction that does nothing would be answered by one member alone, which may be cut off from the others. */
  async confirm(session: string, text: string, last?: string): Promise<boolean> {
    const read = { request_range: { key: this.#key("primary"), keys_only: true } }
    const { succeeded } = await this.#txn({
      compare: this.#isHeld(session, text),
      success: [last === undefined ? read : this.#put("last", last)],
    })
    return succeeded === true
  }

  async replace(session: string, text: string, next: string, last: string): Promise<boolean> {
    const { succeeded } = await this.#txn({
      compare: this.#isHeld(session, text),
      success: [this.#put("primary", next, session), this.#put("last", last)],
    })
    return succeeded === true
  }

  async release(session: string, text: string, last: string): Promise<void> {
    const answer = await this.#txn({
      compare: this.#isHeld(session, text),
      success: [this.#delete("primary"), this.#put("last", last)],
      failure: [{ request_range: { key: this.#key("primary") } }],
    })
    if (answer.succeeded !== true) {
      const [[holder]] = rangesOf(answer, 1) as [Range]
      if (holder?.lease === session) return
    }
    await this.endSession(session)
  }

  async watch({ revision }: StoreView, all: boolean, signal: AbortSignal): Promise<void> {
    const ended = new AbortController()
    const both = AbortSignal.any([signal, ended.signal])
    const key = all ? this.#key("") : this.#key("primary")
    const range_end = all ? { range_end: base64(`${this.#options.prefix}0`) } : {}
    const start_revision = String(BigInt(revision) + 1n)
    const body = JSON.stringify({ create_request: { key, ...range_end, start_revision } })
    const { calls } = this.#options
    await calls.lines(
      { method: "POST", path: "/v3/watch", headers: this.#headers, body },
      both,
      (line) => {
        if (line.includes('"events"') || line.includes('"canceled"')) ended.abort()
      },
    )
  }

  close(): void {
    this.#options.calls.close()
  }

  #key(name: string): string {
    return base64(`${this.#options.prefix}/${name}`)
  }

  #put(name: string, text: string, session?: string): Json {
    const lease = session === undefined ? {} : { lease: session }
    return { request_put: { key: this.#key(name), value: base64(text), ...lease } }
  }

  #delete(name: string): Json {
    return { request_delete_range: { key: this.#key(name) } }
  }

  #created(name: string): Json {
    return { key: this.#key(name), target: "CREATE", result: "EQUAL" }
  }

  #hasValue(name: string, text: string): Json {
    return { key: this.#key(name), target: "VALUE", result: "EQUAL", value: base64(text) }
  }

  #isHeld(session: string, text: string): Json[] {
    const lease = { key: this.#key("primary"), target: "LEASE", result: "EQUAL", lease: session }
    return [this.#hasValue("primary", text), lease]
  }

  /** A session that is gone makes it fail, like a comparison. */
  #txn(request: Json): Promise<Json> {
    const gone = () => ({ succeeded: false })
    return this.#call("/v3/kv/txn", request, (problem) => isGone(problem) && gone())
  }

  /** `instead` makes an answer of a problem that is none. */
  async #call(
    path: string,
    request: Json,
    instead: (problem: string) => Json | boolean = () => false,
    isAgain = false,
  ): Promise<Json> {
    const { calls, user } = this.#options
    if (user !== undefined && this.#token === undefined) await this.#authenticate(user)
    const body = JSON.stringify(request)
    const answer = await calls.call({ method: "POST", path, headers: this.#headers, body })
    if (answer.status === 200) return parsed(answer.text)
    const problem = problemOf(answer)
    if (user !== undefined && !isAgain && /auth|user name/i.test(problem)) {
      this.#token = undefined // it has run out
      return this.#call(path, request, instead, true)
    }
    const other = instead(problem)
    if (other !== false) return other === true ? {} : other
    throw new LitefsError("unavailable", problem)
  }

  async #authenticate(user: { readonly name: string; readonly password: string }): Promise<void> {
    const { calls } = this.#options
    const answer = await calls.call({
      ...{ method: "POST", path: "/v3/auth/authenticate", headers: JSON_HEADERS },
      body: JSON.stringify(user),
    })
    const { token } = answer.status === 200 ? parsed(answer.text) : {}
    if (typeof token !== "string") throw new LitefsError("unavailable", problemOf(answer))
    this.#token = token
  }

  get #headers(): Record<string, string> {
    return this.#token === undefined
      ? JSON_HEADERS
      : { ...JSON_HEADERS, Authorization: this.#token }
  }
}

const JSON_HEADERS = { "Content-Type": "application/json" }

function isGone(problem: string): boolean {
  return problem.includes("lease not found")
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64")
}

function textOf(value: string): string {
  return Buffer.from(value, "base64").toString()
}

type Range = readonly KeyValue[]

/** What the ranges of a transaction have found. Throws unless there are `count`, and all is as etcd answers. */
function rangesOf({ responses }: Json, count: number): Range[] {
  const all = listOf(responses)
  if (all.length !== count) throw noEtcd(`${all.length} ranges, ${count} were asked for`)
  return all.map((each) => {
    const { response_range } = objectOf(each)
    return listOf(objectOf(response_range).kvs).map((kv) => {
      const { value = "", lease, mod_revision } = objectOf(kv)
      if (typeof value !== "string") throw noEtcd("a value that is not a text")
      return { value, lease: digitsOf(lease), mod_revision: digitsOf(mod_revision) }
    })
  })
}

/** Of what etcd leaves out: an empty one. */
function listOf(value: unknown = []): readonly unknown[] {
  if (Array.isArray(value)) return value
  throw noEtcd("something else in the place of a list")
}

function objectOf(value: unknown = {}): Json {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Json
  throw noEtcd("something else in the place of an object")
}

/** A number of 64 bits: a text, or left out when it is 0. -1 is the TTL of a lease that has just run out. */
function digitsOf(value: unknown = "0"): string {
  if (typeof value === "string" && /^(-1|\d{1,19})$/.test(value)) return value
  throw noEtcd("something else in the place of a number")
}

function noEtcd(what: string): LitefsError {
  return new LitefsError(
    "unavailable",
    `its answer has ${what}, it is no etcd with version 3.4 or later`,
  )
}

function parsed(text: string): Json {
  let found: unknown
  try {
    found = JSON.parse(text.split("\n")[0] ?? "")
  } catch {
    throw new LitefsError(
      "unavailable",
      "its answer is not JSON, it is no etcd with version 3.4 or later",
    )
  }
  return objectOf(found)
}
