/**
 * A request over HTTP/2 without TLS, as `node:http` makes one over HTTP/1.1, for a node that speaks nothing else where
 * this one wants to go: the original's streams (`426 Upgrade Required`). A connection has one request.
 */
import { EventEmitter } from "node:events"
import type { ClientRequest, IncomingMessage, RequestOptions } from "node:http"
import { connect, type Socket } from "node:net"
import { Readable } from "node:stream"
import { type Clock, every } from "../lib/clock.ts"
import { ErrorCode } from "../wire/http2/frames.ts"
import type { Field } from "../wire/http2/hpack.ts"
import type { ResponseHead } from "../wire/http2/messages.ts"
import { Http2Session, type Http2Stream, type SessionLimits } from "../wire/http2/session.ts"

const MIB = 1024 * 1024

/** The primary's stream takes the whole connection. */
const LIMITS: SessionLimits = { streamCountMax: 1, streamWindow: 4 * MIB, window: 4 * MIB }
const UNREAD_SIZE = 64 * 1024
const CHECK_MS = 1000
const PORT = 80

/** These are HTTP/1.1's. An empty request ends with its head, and says no size. */
const FRAMING: ReadonlySet<string> = new Set([
  ...["host", "content-length", "connection", "transfer-encoding"],
])

/** The part of a ClientRequest that nodes use: it answers with `response`, or with `error`. */
export function http2Request(url: URL, options: RequestOptions, clock: Clock): ClientRequest {
  return new Http2ClientRequest(url, options, clock) as unknown as ClientRequest
}

class Http2ClientRequest extends EventEmitter {
  destroyed = false
  readonly #socket: Socket
  readonly #session: Http2Session
  readonly #fields: readonly Field[]
  readonly #stopChecking: () => void
  #stream: Http2Stream | undefined
  #response: Http2ClientResponse | undefined

  constructor(url: URL, options: RequestOptions, clock: Clock) {
    super()
    this.#fields = fieldsOf(url, options)
    const host = url.hostname.replace(/^\[|\]$/g, "")
    const socket = connect({ host, port: Number(url.port || PORT), noDelay: true })
    this.#socket = socket
    this.#session = new Http2Session("client", LIMITS, {
      nowMs: () => clock.monotonicMs(),
      send: (bytes) => socket.destroyed || socket.write(bytes),
      onOver: (problem) => this.#broken(failure("HPE_INVALID_HTTP2", problem ?? "it has closed")),
    })
    socket.on("data", (bytes: Buffer) => this.#session.receive(bytes))
    socket.on("drain", () => this.#session.drained())
    socket.on("error", (error) => this.#broken(error))
    socket.on("close", () => this.#broken(failure("ECONNRESET", "aborted")))
    this.#stopChecking = every(clock, CHECK_MS, () => this.#session.check())
    const { signal } = options
    const onAbort = () => this.destroy(signal?.reason)
    signal?.addEventListener("abort", onAbort, { once: true })
    this.once("close", () => signal?.removeEventListener("abort", onAbort))
  }

  setNoDelay(): void {}

  flushHeaders(): void {
    this.#begin(false)
  }

  write(bytes: Uint8Array): boolean {
    this.#begin(false)
    return this.#stream?.write(bytes) ?? true
  }

  end(bytes: Uint8Array = new Uint8Array(0)): this {
    this.#begin(bytes.length === 0)
    this.#stream?.write(bytes)
    this.#stream?.end()
    return this
  }

  destroy(error?: Error): this {
    this.#broken(error ?? failure("ECONNRESET", "aborted"))
    return this
  }

  #begin(isWhole: boolean): void {
    if (this.#stream !== undefined || this.destroyed) return
    this.#stream = this.#session.request(this.#fields, isWhole, {
      onHead: (head) => this.#answered(head),
      onData: (bytes) => this.#response?.received(bytes),
      onEnd: () => {
        this.#response?.ended()
        this.#close()
      },
      onReset: (code) =>
        this.#broken(failure("ECONNRESET", `the stream was reset with code ${code}`)),
      onRoom: () => this.emit("drain"),
    })
  }

  #answered(head: ResponseHead): void {
    const stream = this.#stream as Http2Stream
    this.#response = new Http2ClientResponse(stream, head, () => this.destroy())
    this.emit("response", this.#response as unknown as IncomingMessage)
  }

  #broken(error: Error): void {
    if (this.destroyed) return
    this.#close()
    if (this.#response === undefined) this.emit("error", error)
    else this.#response.broken(error)
  }

  #close(): void {
    if (this.destroyed) return
    this.destroyed = true
    this.#stopChecking()
    if (this.#stream?.isOver === false) this.#stream.reset(ErrorCode.CANCEL)
    this.#session.closed()
    this.#socket.destroySoon()
    queueMicrotask(() => this.emit("close"))
  }
}

class Http2ClientResponse extends Readable {
  readonly statusCode: number
  readonly headers: Readonly<Record<string, string>>
  complete = false
  readonly #stream: Http2Stream
  readonly #onDestroy: () => void
  #unread = 0 // bytes that the stream has not heard of

  constructor(stream: Http2Stream, { status, fields }: ResponseHead, onDestroy: () => void) {
    super({ highWaterMark: UNREAD_SIZE })
    this.statusCode = status
    this.headers = Object.fromEntries(fields)
    this.#stream = stream
    this.#onDestroy = onDestroy
    this.on("error", () => {}) // who reads it hears so
  }

  received(bytes: Uint8Array): void {
    if (this.destroyed) return
    this.#unread += bytes.length
    this.push(bytes)
  }

  ended(): void {
    this.complete = true
    if (!this.destroyed) this.push(null)
  }

  broken(error: Error): void {
    if (!this.complete) this.destroy(error)
  }

  override _read(): void {
    const size = this.#unread - this.readableLength
    if (size <= 0) return
    this.#unread -= size
    this.#stream.consumed(size)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#onDestroy()
    done(error)
  }
}

function fieldsOf(url: URL, { method = "GET", headers }: RequestOptions): Field[] {
  const fields: Field[] = [
    [":method", method],
    [":scheme", "http"],
    [":authority", url.host],
    [":path", url.pathname + url.search],
  ]
  for (const [name, value] of Object.entries(headers ?? {})) {
    const lower = name.toLowerCase()
    if (value !== undefined && !FRAMING.has(lower)) fields.push([lower, String(value)])
  }
  return fields
}

function failure(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}
