/**
 * Tells the primary what this replica has durably, for as long as it follows: `POST /acknowledge?stream=TOKEN`, whose
 * body has an `acknowledged` frame (wire/frame.ts) for each position, and a heartbeat every second. It ends with the
 * stream that the token names.
 *
 *   a stream, whose answer has a token ─▶ connect: every position ─▶ each new one, at once ─▶ close()
 *                                            ▲         broken           │
 *                                            └───────── pause ──────────┘
 *
 * A position that cannot be sent yet gives way to the next one of its database: nothing piles up.
 */
import type { ClientRequest } from "node:http"
import { type Clock, every, sleep } from "../../lib/clock.ts"
import { logger } from "../../lib/log.ts"
import { type Pos, posEquals } from "../../ltx/pos.ts"
import { encodeFrame } from "../../wire/frame.ts"
import { type NodeRequest, nodeRequest, type TlsMaterial } from "../node-request.ts"

const log = logger("replica")

const RETRY_MS = 200
const HEARTBEAT_MS = 1000

export const ACKNOWLEDGE_PATH = "/acknowledge"

/** What is durable here. */
export interface Durable {
  positions(): ReadonlyMap<string, Pos>
  /** Calls back at once when a database has another durable position, until the returned function is called. */
  listen(listener: (database: string, pos: Pos) => void): () => void
}

export interface AcknowledgerOptions {
  readonly clock: Clock
  readonly primaryUrl: string
  /** Of the stream. */
  readonly token: string
  readonly headers: Record<string, string>
  tls?(): TlsMaterial
  /** Undefined: over the network. */
  readonly request?: NodeRequest
  readonly durable: Durable
}

export class Acknowledger {
  readonly #options: AcknowledgerOptions
  readonly #closing = new AbortController()
  readonly #unlisten: () => void
  readonly #unsent = new Map<string, Pos>()
  readonly #sent = new Map<string, Pos>()
  #request: ClientRequest | undefined
  #isFull = false

  constructor(options: AcknowledgerOptions) {
    this.#options = options
    this.#unlisten = options.durable.listen((database, pos) => {
      this.#unsent.set(database, pos)
      this.#flush()
    })
    void this.#run()
  }

  close(): void {
    this.#unlisten()
    this.#closing.abort()
    this.#request?.destroy()
  }

  async #run(): Promise<void> {
    const { clock, durable } = this.#options
    const { signal } = this.#closing
    while (!signal.aborted) {
      this.#sent.clear()
      for (const [database, pos] of durable.positions()) {
        if (!this.#unsent.has(database)) this.#unsent.set(database, pos)
      }
      try {
        await this.#connect()
      } catch (error) {
        if (!signal.aborted) log.debug("cannot acknowledge to the primary, trying again", { error })
      }
      this.#request = undefined
      await sleep(clock, RETRY_MS, signal).catch(() => {})
    }
  }

  /** Resolves when the primary has answered, which it does only at the end. */
  async #connect(): Promise<void> {
    const { clock, primaryUrl, token, headers, tls } = this.#options
    const makeRequest = this.#options.request ?? nodeRequest
    const url = new URL(ACKNOWLEDGE_PATH, primaryUrl)
    url.searchParams.set("stream", token)
    const ended = Promise.withResolvers<void>()
    const chunked = { ...headers, "Transfer-Encoding": "chunked" }
    const options = { method: "POST", headers: chunked, agent: false }
    const request = makeRequest(url, options, url.protocol === "https:" ? tls?.() : undefined)
    request.on("response", (response) => {
      response.resume()
      ended.resolve()
    })
    request.on("error", ended.reject)
    request.on("close", () => ended.resolve())
    request.on("drain", () => {
      this.#isFull = false
      this.#flush()
    })
    this.#isFull = false
    this.#request = request
    request.flushHeaders()
    request.setNoDelay(true)
    this.#flush()
    const stopHeartbeat = every(clock, HEARTBEAT_MS, () => {
      const timestampMs = clock.wallMs()
      if (!this.#isFull) request.write(encodeFrame({ type: "heartbeat", timestampMs }))
    })
    try {
      await ended.promise
    } finally {
      stopHeartbeat()
      request.destroy()
    }
  }

  #flush(): void {
    const request = this.#request
    if (request === undefined || request.destroyed || this.#isFull) return
    const frames: Uint8Array[] = []
    for (const [database, pos] of this.#unsent) {
      const sent = this.#sent.get(database)
      if (sent !== undefined && posEquals(sent, pos)) continue
      this.#sent.set(database, pos)
      frames.push(encodeFrame({ type: "acknowledged", pos, database }))
    }
    this.#unsent.clear()
    if (frames.length > 0) this.#isFull = !request.write(Buffer.concat(frames))
  }
}
