/**
 * A request over HTTP/2, and its response, as `node:http` has them over HTTP/1.1: whoever answers requests need not know
 * which it is. Each has a socket of its own, whose end is that of the stream.
 *
 * A response that is given up before it has begun becomes a 503: Go's client takes a stream without a response for a
 * broken connection. What nobody reads of a request is dropped for a moment, until its sender has the response: some
 * lose that when the stream is reset, as HTTP/1.1 would lose it.
 */
import { EventEmitter } from "node:events"
import type { IncomingMessage, ServerResponse } from "node:http"
import type { Socket } from "node:net"
import { Readable, Writable } from "node:stream"
import type { Clock } from "../../lib/clock.ts"
import { ErrorCode } from "../../wire/http2/frames.ts"
import type { Field } from "../../wire/http2/hpack.ts"
import type { RequestHead } from "../../wire/http2/messages.ts"
import type { Http2Stream } from "../../wire/http2/session.ts"

/** Bytes that wait in the response before its writer has to. */
const WAITING_SIZE = 64 * 1024
const UNREAD_SIZE = 16 * 1024
/** For the rest of a request that is answered. */
const LINGER_MS = 2000

/** Of these, `node:http` takes the first. */
const SINGLE: ReadonlySet<string> = new Set([
  ...["age", "authorization", "content-length", "content-type", "etag", "expires", "from", "host"],
  ...["if-modified-since", "if-unmodified-since", "last-modified", "location", "max-forwards"],
  ...["proxy-authorization", "referer", "retry-after", "server", "user-agent"],
])

/** These say how HTTP/1.1 frames a message. */
const FRAMING: ReadonlySet<string> = new Set(["connection", "keep-alive", "transfer-encoding"])

/** What `node:http` gives its listener, for a request that has begun. */
export function exchangeOf(
  stream: Http2Stream,
  head: RequestHead,
  socket: Socket,
  clock: Clock,
): { readonly request: IncomingMessage; readonly response: ServerResponse } {
  const request = new Http2Request(stream, head, new StreamSocket(stream, socket))
  const response = new Http2Response(stream, head.method === "HEAD", () => {
    request.ignoreRest()
    clock.after(LINGER_MS, () => stream.reset(ErrorCode.NO_ERROR))
  })
  stream.reader = {
    onData: (bytes) => request.received(bytes),
    onEnd: () => request.ended(),
    onReset: () => {
      request.broken()
      response.broken()
    },
    onRoom: () => response.room(),
  }
  if (stream.hasCome) request.ended()
  return {
    request: request as unknown as IncomingMessage,
    response: response as unknown as ServerResponse,
  }
}

class StreamSocket extends EventEmitter {
  readonly remoteAddress: string | undefined
  readonly remotePort: number | undefined
  readonly localAddress: string | undefined
  readonly localPort: number | undefined
  readonly #stream: Http2Stream

  constructor(stream: Http2Stream, socket: Socket) {
    super()
    this.#stream = stream
    this.remoteAddress = socket.remoteAddress
    this.remotePort = socket.remotePort
    this.localAddress = socket.localAddress
    this.localPort = socket.localPort
  }

  get destroyed(): boolean {
    return this.#stream.isOver
  }

  destroy(): void {
    this.#stream.reset(this.#stream.hasEnded ? ErrorCode.NO_ERROR : ErrorCode.CANCEL)
  }
}

class Http2Request extends Readable {
  readonly httpVersion = "2.0"
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly rawHeaders: readonly string[]
  readonly socket: StreamSocket
  complete = false
  readonly #stream: Http2Stream
  #unread = 0 // bytes that the stream has not heard of

  constructor(stream: Http2Stream, { method, path, fields }: RequestHead, socket: StreamSocket) {
    super({ highWaterMark: UNREAD_SIZE })
    this.#stream = stream
    this.method = method
    this.url = path
    this.headers = headersOf(fields)
    this.rawHeaders = fields.flat()
    this.socket = socket
    this.on("error", () => {}) // who reads it hears so
  }

  received(bytes: Uint8Array): void {
    if (this.destroyed) return this.#stream.consumed(bytes.length)
    this.#unread += bytes.length
    this.push(bytes)
  }

  ended(): void {
    this.complete = true
    if (!this.destroyed) this.push(null)
  }

  /** Nobody reads the rest. */
  ignoreRest(): void {
    this.resume()
    if (this.destroyed) this.#tellRead(this.#unread)
  }

  broken(): void {
    if (this.complete || this.destroyed) return
    this.destroy(Object.assign(new Error("aborted"), { code: "ECONNRESET" }))
  }

  override _read(): void {
    this.#tellRead(this.#unread - this.readableLength)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#tellRead(this.#unread)
    done(error)
  }

  #tellRead(size: number): void {
    if (size <= 0) return
    this.#unread -= size
    this.#stream.consumed(size)
  }
}

function headersOf(fields: readonly Field[]): Record<string, string> {
  const headers: Record<string, string> = Object.create(null)
  for (const [name, value] of fields) {
    const before = headers[name]
    if (before === undefined) headers[name] = value
    else if (!SINGLE.has(name)) headers[name] = `${before}${name === "cookie" ? ";" : ","} ${value}`
  }
  return headers
}

class Http2Response extends Writable {
  statusCode = 200
  headersSent = false
  readonly #stream: Http2Stream
  readonly #hasNoBody: boolean
  readonly #linger: () => void
  readonly #headers = new Map<string, string>()
  #onRoom: (() => void) | undefined

  /** `linger`: it is whole, and its request is not. */
  constructor(stream: Http2Stream, hasNoBody: boolean, linger: () => void) {
    super({ highWaterMark: WAITING_SIZE })
    this.#stream = stream
    this.#hasNoBody = hasNoBody
    this.#linger = linger
  }

  setHeader(name: string, value: string | number | readonly string[]): this {
    this.#headers.set(name.toLowerCase(), String(value))
    return this
  }

  getHeader(name: string): string | undefined {
    return this.#headers.get(name.toLowerCase())
  }

  hasHeader(name: string): boolean {
    return this.#headers.has(name.toLowerCase())
  }

  removeHeader(name: string): void {
    this.#headers.delete(name.toLowerCase())
  }

  /** Has it begun by flushHeaders(), or by the first byte. */
  writeHead(status: number, ...more: readonly unknown[]): this {
    this.statusCode = status
    const headers = more.at(-1)
    if (typeof headers === "object" && headers !== null) {
      for (const [name, value] of Object.entries(headers)) this.setHeader(name, value as string)
    }
    this.#sendHead(false)
    return this
  }

  flushHeaders(): void {
    if (!this.headersSent) this.writeHead(this.statusCode)
  }

  #sendHead(isWhole: boolean): void {
    if (this.headersSent) return
    this.headersSent = true
    const fields: Field[] = [[":status", String(this.statusCode)]]
    for (const field of this.#headers) if (!FRAMING.has(field[0])) fields.push(field)
    this.#stream.head(fields, isWhole)
  }

  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    this.flushHeaders()
    if (this.#hasNoBody || this.#stream.write(chunk)) return done()
    this.#onRoom = done
  }

  override _final(done: () => void): void {
    this.flushHeaders()
    this.#stream.end()
    if (!this.#stream.hasUnsent) return done()
    this.#onRoom = done
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.headersSent && !this.#stream.isOver) {
      this.statusCode = 503
      this.#sendHead(true)
    } else if (!this.writableFinished) this.#stream.reset(ErrorCode.CANCEL)
    if (!this.#stream.isOver) this.#linger()
    this.#onRoom = undefined
    done(error)
  }

  room(): void {
    const done = this.#onRoom
    this.#onRoom = undefined
    done?.()
  }

  broken(): void {
    this.destroy()
  }
}
