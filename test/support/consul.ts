/**
 * A server that speaks as much of Consul's HTTP API as LiteFS uses. It is no Consul: it has one node, no Raft, and no
 * ACLs but one token. What the original was recorded to ask and to be answered, it answers in the same way
 * (test/golden/consul.golden.test.ts); transactions, `?recurse`, ModifyIndex, the lock delay and the end of a session after
 * its TTL follow Consul's documentation, and nobody has compared them with a real one.
 *
 * Every request must have the form of a recorded one, or of those few; anything else is answered with 400 and kept in
 * `odd`.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"

interface Entry {
  value: Buffer
  session: string | undefined
  modifyIndex: number
  /** Nobody may lock it before this time. */
  lockedUntilMs: number
}

interface Session {
  readonly ttlMs: number
  readonly lockDelayMs: number
  endsMs: number
}

/** Method, path with query, and the members of the body. Only the first group was recorded. */
const FORMS: readonly (readonly [form: RegExp, body?: readonly string[]])[] = [
  [/^PUT \/v1\/catalog\/register$/, ["Node", "Address"]],
  [/^PUT \/v1\/session\/create$/, ["Behavior", "LockDelay", "Name", "TTL"]],
  [/^PUT \/v1\/session\/renew\/[\w-]+$/],
  [/^PUT \/v1\/session\/destroy\/[\w-]+$/],
  [/^GET \/v1\/kv\/[\w./-]+$/],
  [/^PUT \/v1\/kv\/[\w./-]+$/],
  [/^PUT \/v1\/kv\/[\w./-]+\?acquire=[\w-]+$/],
  [/^PUT \/v1\/kv\/[\w./-]+\?release=[\w-]+$/],

  [/^GET \/v1\/kv\/[\w./-]+\?consistent$/],
  [/^GET \/v1\/kv\/[\w./-]+\/\?recurse$/],
  [/^PUT \/v1\/txn$/],
]

interface KvOperation {
  readonly Verb: string
  readonly Key: string
  readonly Session?: string
  readonly Index?: number
  readonly Value?: string
}

/** Members of an operation beside Verb, Key and Value. */
const NEEDED: Readonly<Record<string, string>> = {
  lock: "Session",
  unlock: "Session",
  cas: "Index",
  "check-index": "Index",
}

export interface ConsulAnswer {
  readonly status: number
  readonly body: string
}

export class FakeConsul implements AsyncDisposable {
  readonly requests: string[] = []
  readonly odd: string[] = []
  readonly #entries = new Map<string, Entry>()
  readonly #sessions = new Map<string, Session>()
  readonly #server: Server
  readonly #token: string | undefined
  #index = 1
  #count = 0
  /** Whether it answers nothing, as when it is cut off. */
  isSilent = false

  static async start(token?: string): Promise<FakeConsul> {
    const consul = new FakeConsul(token)
    await new Promise<void>((done) => consul.#server.listen(0, "127.0.0.1", done))
    return consul
  }

  /** For answer() alone. */
  static unconnected(): FakeConsul {
    return new FakeConsul(undefined)
  }

  private constructor(token: string | undefined) {
    this.#token = token
    this.#server = createServer((request, response) => void this.#serve(request, response))
  }

  get host(): string {
    const address = this.#server.address()
    return `127.0.0.1:${typeof address === "object" ? address?.port : 0}`
  }

  get keys(): string[] {
    this.#expire()
    return [...this.#entries].filter(([, { value }]) => value.length > 0).map(([key]) => key)
  }

  get sessionCount(): number {
    this.#expire()
    return this.#sessions.size
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((done) => this.#server.close(done))
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    if (this.isSilent) return
    const body = Buffer.concat(parts)
    if (this.#token !== undefined && request.headers["x-consul-token"] !== this.#token) {
      response.writeHead(403)
      return void response.end("Permission denied: token with AccessorID '' lacks permission")
    }
    const answer = this.answer(request.method ?? "", request.url ?? "", body)
    response.writeHead(answer.status, { "Content-Type": "application/json" })
    response.end(answer.body)
  }

  /** One request, without a connection. */
  answer(method: string, path: string, body: Buffer): ConsulAnswer {
    const line = `${method} ${path}`
    this.requests.push(line)
    this.#expire()
    const form = FORMS.find(([pattern]) => pattern.test(line))
    const missing = form?.[1]?.filter((name) => !(name in Object(parsed(body))))
    if (form === undefined || (missing ?? []).length > 0) {
      this.odd.push(`${line} ${body}`)
      return { status: 400, body: `Bad request: ${line}` }
    }
    if (path === "/v1/txn") return this.#transaction(line, body)
    const url = new URL(path, "http://consul")
    if (url.pathname.startsWith("/v1/kv/")) return this.#kv(method, url, body)
    if (url.pathname === "/v1/session/create") return this.#create(parsed(body))
    const id = url.pathname.split("/").at(-1) ?? ""
    if (url.pathname.startsWith("/v1/session/renew/")) return this.#renew(id)
    if (url.pathname.startsWith("/v1/session/destroy/")) this.#end(id)
    return { status: 200, body: "true" }
  }

  #create({ TTL, LockDelay }: Record<string, string>): ConsulAnswer {
    this.#count += 1
    const id = `75ad3fc6-7aaa-492a-b134-${String(this.#count).padStart(12, "0")}`
    const session = {
      ttlMs: Number.parseFloat(TTL ?? "") * 1000,
      lockDelayMs: Number.parseFloat(LockDelay ?? ""),
    }
    this.#sessions.set(id, { ...session, endsMs: performance.now() + session.ttlMs })
    return { status: 200, body: JSON.stringify({ ID: id }) }
  }

  #renew(id: string): ConsulAnswer {
    const session = this.#sessions.get(id)
    if (session === undefined) return { status: 404, body: `Session id '${id}' not found` }
    session.endsMs = performance.now() + session.ttlMs
    const found = { ID: id, TTL: `${session.ttlMs / 1000}s` }
    return { status: 200, body: JSON.stringify([found]) }
  }

  #expire(): void {
    for (const [id, { endsMs }] of this.#sessions) if (performance.now() >= endsMs) this.#end(id)
  }

  /** Its keys go, and nobody locks them for the lock delay. */
  #end(id: string): void {
    const session = this.#sessions.get(id)
    this.#sessions.delete(id)
    for (const [key, entry] of this.#entries) {
      if (entry.session !== id) continue
      this.#index += 1
      const lockedUntilMs = performance.now() + (session?.lockDelayMs ?? 0)
      this.#entries.set(key, { ...EMPTY, modifyIndex: this.#index, lockedUntilMs })
    }
  }

  #kv(method: string, url: URL, body: Buffer): ConsulAnswer {
    const key = decodeURIComponent(url.pathname.slice("/v1/kv/".length))
    if (method === "GET") return this.#read(key, url.searchParams.has("recurse"))
    const [acquire, release] = ["acquire", "release"].map((name) => url.searchParams.get(name))
    if (acquire && !this.#sessions.has(acquire)) {
      return { status: 500, body: `rpc error making call: invalid session "${acquire}"` }
    }
    const is = acquire
      ? this.#lock(key, acquire, body)
      : release
        ? this.#unlock(key, release, body)
        : this.#set(key, body, this.#entries.get(key)?.session)
    return { status: 200, body: String(is) }
  }

  /** All operations, or none. */
  #transaction(line: string, body: Buffer): ConsulAnswer {
    const operations = parsed(body) as unknown as readonly { readonly KV?: KvOperation }[]
    const isOdd = ({ KV }: { readonly KV?: KvOperation }) => {
      const { Verb, Key, Value, ...rest } = KV ?? { Verb: "", Key: "", Value: undefined }
      const needed = NEEDED[Verb]
      const hasValue = Verb === "check-index" ? Value === undefined : typeof Value === "string"
      return !needed || !Key || !hasValue || Object.keys(rest).join() !== needed
    }
    if (!Array.isArray(operations) || operations.length === 0 || operations.some(isOdd)) {
      this.odd.push(`${line} ${body}`)
      return { status: 400, body: "Failed to parse body" }
    }
    const before = new Map(this.#entries)
    for (const [OpIndex, { KV }] of operations.entries()) {
      if (this.#operate(KV as KvOperation)) continue
      this.#entries.clear()
      for (const [key, entry] of before) this.#entries.set(key, entry)
      const What = `failed to ${KV?.Verb} key "${KV?.Key}"`
      return {
        status: 409,
        body: JSON.stringify({ Results: null, Errors: [{ OpIndex, What }] }),
      }
    }
    return { status: 200, body: JSON.stringify({ Results: [], Errors: null }) }
  }

  #operate({ Verb, Key, Session = "", Index, Value = "" }: KvOperation): boolean {
    const value = Buffer.from(Value, "base64")
    if (Verb === "lock") return this.#sessions.has(Session) && this.#lock(Key, Session, value)
    if (Verb === "unlock") return this.#unlock(Key, Session, value)
    const entry = this.#entries.get(Key)
    if (Index !== (entry === undefined || isGone(entry) ? 0 : entry.modifyIndex)) return false
    return Verb === "check-index" || this.#set(Key, value, entry?.session)
  }

  #lock(key: string, session: string, value: Buffer): boolean {
    const entry = this.#entries.get(key)
    if (performance.now() < (entry?.lockedUntilMs ?? 0)) return false
    const isFree = entry?.session === undefined || entry.session === session
    return isFree && this.#set(key, value, session)
  }

  #unlock(key: string, session: string, value: Buffer): boolean {
    return this.#entries.get(key)?.session === session && this.#set(key, value, undefined)
  }

  #set(key: string, value: Buffer, session: string | undefined): true {
    this.#index += 1
    this.#entries.set(key, { value, session, modifyIndex: this.#index, lockedUntilMs: 0 })
    return true
  }

  #read(key: string, isPrefix: boolean): ConsulAnswer {
    const found = [...this.#entries].filter(([name, entry]) => {
      return !isGone(entry) && (isPrefix ? name.startsWith(key) : name === key)
    })
    if (found.length === 0) return { status: 404, body: "" }
    const shown = found.map(([name, { value, session, modifyIndex }]) => ({
      ...{ Key: name, Value: value.toString("base64"), Flags: 0 },
      ...(session === undefined ? {} : { Session: session }),
      ModifyIndex: modifyIndex,
    }))
    return { status: 200, body: JSON.stringify(shown) }
  }
}

const EMPTY = { value: Buffer.alloc(0), session: undefined }

/** Deleted with its session; only the lock delay is left. */
function isGone(entry: Entry): boolean {
  return entry.lockedUntilMs > 0
}

function parsed(body: Buffer): Record<string, string> {
  try {
    return JSON.parse(body.toString()) as Record<string, string>
  } catch {
    return {}
  }
}
