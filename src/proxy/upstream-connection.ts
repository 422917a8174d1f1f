/**
 * One connection to a server. A request goes out, and its response comes in and is reported in parts.
 *
 *   idle ── send() ──▶ head ── interim() … head() ──▶ body ── body() … whole() ──▶ idle
 *                        └── switched(): the connection is handed over ──▶ (tunnel)
 *
 * If it breaks before the response is complete, failed() is called, once.
 */
import type { TcpConnection, TcpHandler } from "../sys/net/tcp.ts"
import { type Body, bodyOfResponse, ClosingBody } from "./body.ts"
import {
  BadMessage,
  HEAD_SIZE_MAX,
  parseResponseHead,
  type ResponseHead,
  tokensOf,
  valuesOf,
} from "./message-head.ts"

/** Servers that do not announce how long they keep a connection mostly keep it for 5 s or more. */
const KEEP_ALIVE_MS = 2500
const KEEP_ALIVE_MS_MAX = 60_000

export interface ResponseReceiver {
  readonly method: string
  /** A response before the response: 100, 103. */
  interim(head: ResponseHead): void
  /** `first` is the part of the body that came with it. */
  head(head: ResponseHead, body: Body, first: Uint8Array): void
  body(bytes: Uint8Array): void
  whole(): void
  /** From now on the connection is the receiver's. `rest` has already come. */
  switched(head: ResponseHead, rest: Uint8Array): void
  /** Everything written has gone. */
  drained(): void
  /** `hasBegun`: a part of the response had come. */
  failed(problem: string, hasBegun: boolean): void
}

const NOTHING = Buffer.alloc(0)

export class UpstreamConnection implements TcpHandler {
  readonly tcp: TcpConnection
  keepAliveMs = KEEP_ALIVE_MS
  usableUntilMs = 0
  /** How many requests it has carried. */
  useCount = 0
  readonly #onClosed: () => void
  #sentBefore = 0 // bytes
  #receiver: ResponseReceiver | undefined
  #unread: Buffer = NOTHING
  #body: Body | undefined
  #isLast = false

  constructor(tcp: TcpConnection, onClosed: () => void) {
    this.tcp = tcp
    this.#onClosed = onClosed
    tcp.handler = this
  }

  /** Whether it can carry another request. */
  get isUsable(): boolean {
    return !this.tcp.isClosed && !this.#isLast && this.#receiver === undefined
  }

  /** Whether any byte of the last request may have reached the server. */
  get hasSent(): boolean {
    return this.tcp.sentSize > this.#sentBefore
  }

  send(head: Uint8Array, receiver: ResponseReceiver): void {
    this.#receiver = receiver
    this.useCount += 1
    this.#sentBefore = this.tcp.sentSize
    this.tcp.write(head)
  }

  /** Between two requests: closes it regularly, so that the server sees an end and no broken connection. */
  close(): void {
    if (this.#receiver !== undefined || this.tcp.isCongested) return this.destroy()
    this.#isLast = true
    this.tcp.end()
    this.tcp.letGo()
  }

  destroy(): void {
    this.#receiver = undefined
    this.tcp.destroy()
  }

  data(bytes: Uint8Array): void {
    if (this.#receiver === undefined) return this.destroy() // a response that nobody has asked for
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    try {
      if (this.#body === undefined) this.#takeHead(buffer)
      else this.#takeBody(this.#body, buffer)
    } catch (error) {
      if (!(error instanceof BadMessage)) throw error
      this.#fail(error.message)
    }
  }

  drained(): void {
    this.#receiver?.drained()
  }

  ended(): void {
    if (this.#receiver === undefined) return this.close()
    if (this.#body instanceof ClosingBody) this.#finish()
    else this.#fail("it has closed the connection")
    this.tcp.destroy()
  }

  closed(): void {
    this.#onClosed()
    this.#fail("the connection is broken")
  }

  #takeHead(bytes: Buffer): void {
    let buffer = this.#unread.length === 0 ? bytes : Buffer.concat([this.#unread, bytes])
    this.#unread = NOTHING
    while (buffer.length > 0) {
      const end = buffer.indexOf("\r\n\r\n")
      if (end < 0) {
        if (buffer.length > HEAD_SIZE_MAX)
          throw new BadMessage(502, "the head of the response is too large")
        this.#unread = buffer
        return
      }
      const head = parseResponseHead(buffer.toString("latin1", 0, end))
      buffer = buffer.subarray(end + 4)
      const receiver = this.#receiver as ResponseReceiver
      if (head.status === 101) {
        this.#receiver = undefined
        this.#isLast = true
        return receiver.switched(head, buffer)
      }
      if (head.status >= 200) return this.#beginBody(receiver, head, buffer)
      receiver.interim(head)
      if (this.#receiver === undefined) return
    }
  }

  #beginBody(receiver: ResponseReceiver, head: ResponseHead, rest: Buffer): void {
    const body = bodyOfResponse(head, receiver.method)
    this.#body = body
    this.#noteKeepAlive(head, body)
    const end = body.take(rest, 0)
    receiver.head(head, body, body.passed(rest.subarray(0, end)))
    if (this.#receiver === receiver && body.isWhole) this.#endBody(rest.length - end)
  }

  #noteKeepAlive(head: ResponseHead, body: Body): void {
    const wants = tokensOf(head.fields, "connection")
    this.#isLast = head.isHttp10 || wants.includes("close") || body instanceof ClosingBody
    const [hint] = valuesOf(head.fields, "keep-alive")
    const seconds = hint === undefined ? undefined : /\btimeout=(\d{1,6})/.exec(hint)?.[1]
    // Half of the announced time: a request that crosses the end would be lost, and a busy server looks at its timers
    // before it looks at its input.
    if (seconds !== undefined) {
      this.keepAliveMs = Math.min(KEEP_ALIVE_MS_MAX, Number(seconds) * 500)
    }
  }

  #takeBody(body: Body, bytes: Buffer): void {
    const end = body.take(bytes, 0)
    if (end > 0) this.#receiver?.body(body.passed(bytes.subarray(0, end)))
    if (body.isWhole) this.#endBody(bytes.length - end)
  }

  #endBody(surplusSize: number): void {
    if (surplusSize > 0) this.#isLast = true // more than was requested
    this.#finish()
  }

  #finish(): void {
    const receiver = this.#receiver
    this.#receiver = undefined
    this.#body = undefined
    receiver?.whole()
  }

  #fail(problem: string): void {
    const receiver = this.#receiver
    const hasBegun = this.#body !== undefined || this.#unread.length > 0
    this.#receiver = undefined
    this.#isLast = true
    this.tcp.destroy()
    receiver?.failed(problem, hasBegun)
  }
}
