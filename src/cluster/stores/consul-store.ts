/**
 * The lease in Consul, as LiteFS keeps it there: a session and a key that it locks. A node of the original finds the
 * host name and the URL of the primary where it looks for them, and the other way round.
 *
 *   KEY                the holder, locked by its session; Consul deletes it with the session
 *   KEY/clusterid      stays, as the original has it
 *   KEY/last           stays; replaced only by whoever has read it (`?cas=`)
 *   KEY/candidates/ID  locked by the session of that node
 *
 * What changes several keys is one transaction (PUT /v1/txn, since Consul 0.7): all of it, or nothing. It names the
 * ModifyIndex of what was read before, so a request that the network has kept for long changes nothing any more.
 *
 * For the lock delay after a session has ended nobody can lock the key. The primary that gives the lease up itself
 * releases the key first, and nobody waits.
 */
import { type Clock, sleep } from "../../lib/clock.ts"
import { parseDuration } from "../../lib/duration.ts"
import { LitefsError } from "../../lib/errors.ts"
import type { LeaseStore, StoreView, Taken } from "./lease-store.ts"
import { problemOf, type StoreAnswer, type StoreCall, type StoreCalls } from "./store-calls.ts"

export interface ConsulOptions {
  readonly calls: StoreCalls
  readonly clock: Clock
  readonly where: string
  /** Without slashes at its ends. */
  readonly key: string
  readonly ttlMs: number
  readonly lockDelayMs: number
  readonly token?: string
  /** Sessions belong to this node of Consul's catalogue, which is registered; without it to that of the agent. */
  readonly node?: string
}

/** One of a transaction. */
interface Operation {
  readonly Verb: "lock" | "unlock" | "cas" | "check-index"
  readonly Key: string
  readonly Session?: string
  readonly Index?: number
  /** Base64. */
  readonly Value?: string
}

interface Entry {
  readonly Value?: string | null
  readonly Session?: string
  readonly ModifyIndex: number
}

const CANDIDATES_MAX = 64
/** Consul is asked again after this time; the original does the same. */
const POLL_MS = 1000

export class ConsulStore implements LeaseStore {
  readonly kind = "consul"
  readonly where: string
  readonly ttlMs: number
  readonly #options: ConsulOptions
  #isRegistered = false
  /** ModifyIndex of KEY/last, as this node has read or set it. */
  #lastIndex: number | undefined

  constructor(options: ConsulOptions) {
    this.#options = options
    this.where = options.where
    this.ttlMs = options.ttlMs
  }

  async read(): Promise<StoreView> {
    const { key } = this.#options
    const cluster = await this.#get(`${key}/clusterid`)
    const primary = await this.#get(key)
    const last = await this.#get(`${key}/last`)
    this.#lastIndex = indexOf(last)
    const text = primary && textOf(primary)
    const session = primary?.Session ?? ""
    return {
      cluster: cluster && textOf(cluster).trim(),
      holder: text && session !== "" ? { text, session } : undefined,
      last: last && { text: textOf(last), version: String(indexOf(last)) },
      revision: "",
    }
  }

  async candidates(): Promise<readonly string[]> {
    const entries = await this.#entries(`${this.#options.key}/candidates/`, "?recurse")
    const bound = entries.filter(({ Session = "" }) => Session !== "")
    return bound.slice(0, CANDIDATES_MAX).map(textOf)
  }

  async openSession(): Promise<string> {
    const { node, lockDelayMs } = this.#options
    await this.#register()
    const answer = await this.#put(
      "/v1/session/create",
      JSON.stringify({
        ...{ Behavior: "delete", LockDelay: `${lockDelayMs}ms`, Name: "litefs" },
        ...(node === undefined ? {} : { Node: node, NodeChecks: [] }),
        TTL: `${this.ttlMs / 1000}s`,
      }),
    )
    const { ID } = membersOf(answer)
    if (typeof ID === "string" && /^[\w-]{1,64}$/.test(ID)) return ID
    throw new LitefsError("unavailable", "it has made a session without an ID")
  }

  async #register(): Promise<void> {
    const { node } = this.#options
    if (node === undefined || this.#isRegistered) return
    const body = JSON.stringify({ Node: node, Address: "localhost" })
    await this.#put("/v1/catalog/register", body)
    this.#isRegistered = true
  }

  async renew(session: string): Promise<number | undefined> {
    const answer = await this.#call({ method: "PUT", path: `/v1/session/renew/${session}` })
    if (answer.status === 404) return undefined
    const found = parsed(checked(answer))
    if (!Array.isArray(found) || found.length === 0)
      throw noConsul("something else in the place of a session")
    const { TTL } = Object(found[0]) as { readonly TTL?: unknown }
    return TTL === undefined ? this.ttlMs : durationOf(TTL)
  }

  async endSession(session: string): Promise<void> {
    await this.#put(`/v1/session/destroy/${session}`)
  }

  announce(session: string, id: string, text: string): Promise<boolean> {
    return this.#lock(`${this.#options.key}/candidates/${id}`, session, text)
  }

  async take(session: string, taken: Taken, { last, cluster }: StoreView): Promise<boolean> {
    const { key } = this.#options
    const operations: Operation[] = [
      { Verb: "lock", Key: key, Session: session, ...encoded(taken.text) },
      {
        Verb: "cas",
        Key: `${key}/last`,
        Index: Number(last?.version ?? 0),
        ...encoded(taken.last),
      },
    ]
    if (cluster === undefined) {
      operations.push({ Verb: "cas", Key: `${key}/clusterid`, Index: 0, ...encoded(taken.cluster) })
    }
    if (!(await this.#change(operations))) return false
    await this.#put(`/v1/kv/${key}/candidates/${taken.id}?release=${session}`)
    return true
  }

  async confirm(session: string, text: string, last?: string): Promise<boolean> {
    const held = await this.#held(session, text)
    if (held === undefined) return false
    return last === undefined || this.#change([held, await this.#lastSet(last)])
  }

  async replace(session: string, text: string, next: string, last: string): Promise<boolean> {
    const held = await this.#held(session, text)
    if (held === undefined) return false
    const lock: Operation = {
      ...{ Verb: "lock", Key: this.#options.key, Session: session },
      ...encoded(next),
    }
    return this.#change([held, await this.#lastSet(last), lock])
  }

  async release(session: string, text: string, last: string): Promise<void> {
    const { key } = this.#options
    const found = await this.#get(key)
    if (found?.Session === session) {
      if (textOf(found) !== text) return
      this.#lastIndex = undefined // there is no second try
      const unlock: Operation = { Verb: "unlock", Key: key, Session: session, ...encoded("") }
      if (!(await this.#change([checkOf(key, found), await this.#lastSet(last), unlock]))) return
    }
    await this.endSession(session)
  }

  /** There is nothing to wait for that the recorded protocol has. */
  async watch(_: StoreView, all: boolean, signal: AbortSignal): Promise<void> {
    await sleep(this.#options.clock, all ? POLL_MS / 5 : POLL_MS, signal).catch(() => {})
  }

  close(): void {
    this.#options.calls.close()
  }

  /** That the session has the lease by this text, as a condition; undefined when it has not. */
  async #held(session: string, text: string): Promise<Operation | undefined> {
    const { key } = this.#options
    const found = await this.#get(key)
    return found?.Session === session && textOf(found) === text ? checkOf(key, found) : undefined
  }

  async #lastSet(text: string): Promise<Operation> {
    const path = `${this.#options.key}/last`
    this.#lastIndex ??= indexOf(await this.#get(path))
    return { Verb: "cas", Key: path, Index: this.#lastIndex, ...encoded(text) }
  }

  /** All of it, or nothing: then it returns false. */
  async #change(operations: readonly Operation[]): Promise<boolean> {
    this.#lastIndex = undefined
    const body = JSON.stringify(operations.map((KV) => ({ KV })))
    const answer = await this.#call({ method: "PUT", path: "/v1/txn", body })
    if (answer.status !== 409) return Array.isArray(membersOf(checked(answer)).Results)
    // A token that may not is not told from a condition that does not hold but by the text.
    if (/permission/i.test(answer.text)) throw new LitefsError("unavailable", problemOf(answer))
    return false
  }

  #lock(path: string, session: string, text: string): Promise<boolean> {
    return this.#isTrue({ method: "PUT", path: `/v1/kv/${path}?acquire=${session}`, body: text })
  }

  async #isTrue(call: Omit<StoreCall, "headers">): Promise<boolean> {
    const answer = await this.#call(call)
    if (answer.status === 500 && /invalid session/i.test(answer.text)) return false
    return parsed(checked(answer)) === true
  }

  async #put(path: string, body = ""): Promise<StoreAnswer> {
    return checked(await this.#call({ method: "PUT", path, body }))
  }

  async #get(path: string): Promise<Entry | undefined> {
    return (await this.#entries(path, "?consistent"))[0]
  }

  async #entries(path: string, query: string): Promise<readonly Entry[]> {
    const answer = await this.#call({ method: "GET", path: `/v1/kv/${path}${query}` })
    if (answer.status === 404) return []
    const entries = parsed(checked(answer))
    if (Array.isArray(entries) && entries.every(isEntry)) return entries
    throw noConsul("something else in the place of keys")
  }

  #call(call: Omit<StoreCall, "headers">): Promise<StoreAnswer> {
    const { calls, token } = this.#options
    return calls.call({
      ...call,
      headers: token === undefined ? {} : { "X-Consul-Token": token },
    })
  }
}

function isEntry(value: unknown): value is Entry {
  const { Value, Session, ModifyIndex } = Object(value) as Record<string, unknown>
  return (
    (typeof Value === "string" || Value === null || Value === undefined) &&
    (typeof Session === "string" || Session === undefined) &&
    Number.isSafeInteger(ModifyIndex) &&
    (ModifyIndex as number) >= 0
  )
}

function durationOf(text: unknown): number {
  try {
    return parseDuration(String(text))
  } catch {
    throw noConsul("a session's TTL that is no duration")
  }
}

function noConsul(what: string): LitefsError {
  return new LitefsError("unavailable", `its answer has ${what}, it is no Consul`)
}

function indexOf(entry: Entry | undefined): number {
  return entry?.ModifyIndex ?? 0
}

/** That nobody has changed it since. */
function checkOf(key: string, found: Entry): Operation {
  return { Verb: "check-index", Key: key, Index: indexOf(found) }
}

function encoded(text: string): { readonly Value: string } {
  return { Value: Buffer.from(text).toString("base64") }
}

function textOf({ Value }: Entry): string {
  return Buffer.from(Value ?? "", "base64").toString()
}

function checked(answer: StoreAnswer): StoreAnswer {
  if (answer.status === 200) return answer
  throw new LitefsError("unavailable", problemOf(answer))
}

function membersOf(answer: StoreAnswer): Readonly<Record<string, unknown>> {
  return Object(parsed(answer))
}

function parsed({ text }: StoreAnswer): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new LitefsError("unavailable", "its answer is not JSON, it is no Consul")
  }
}
