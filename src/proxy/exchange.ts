/**
 * One request and its response.
 *
 *   routed ──▶ connecting ──▶ sent ── head of the response ──▶ answering ── whole ──▶ over
 *     ▲            │            │                                  │
 *     └─ no primary, or not it ─┴─ broken: 502 ──▶ over            └─ broken: the client's connection breaks
 *
 * Bodies pass through as they arrive, in both directions; a slow reader makes the other side wait. A request is sent a
 * second time only when the first has done nothing: nobody was there, no byte of it has left, or the node has said that
 * it is not the primary; or when it is a read, which may be repeated.
 *
 * A small body is kept until the primary has answered, or the application on a connection that was used before. A large
 * one waits until the primary's proxy has sent the head on to its application. Either can thus go to another node when
 * this one turns out not to be the primary.
 *
 * When the application could not be reached at once, the destination is determined anew: another node may have become
 * the primary meanwhile.
 */
import { connectReason, type TcpConnection } from "../sys/net/tcp.ts"
import { type Answer, answerBytes } from "./answer.ts"
import { type Body, ChunkedBody, ClosingBody } from "./body.ts"
import type { ProxyContext } from "./context.ts"
import { type Destination, type ExchangeState, endWrite, type Sending } from "./exchange-state.ts"
import { type Origin, originOf } from "./forwarded.ts"
import { type RequestHead, type ResponseHead, tokensOf, valuesOf } from "./message-head.ts"
import {
  BODY_WAITS_HEADER,
  CONTINUE_BYTES,
  NOT_PRIMARY_HEADER,
  requestBytes,
  responseBytes,
  upgradeOf,
} from "./passed-on.ts"
import { positionFields } from "./position-fields.ts"
import type { Outcome } from "./proxy-counters.ts"
import { Route, type Way } from "./route.ts"
import { tunnel } from "./tunnel.ts"
import type { ResponseReceiver, UpstreamConnection } from "./upstream-connection.ts"

/** For an application that is starting, or longer when writes may wait longer for a primary. */
export const APPLICATION_MS_MAX = 10_000
const BACKOFF_MS = 25
const BACKOFF_MS_MAX = 500

/** Bytes of a body that is kept because it may have to go to another primary. */
const KEPT_SIZE_MAX = 64 * 1024

/** The sender of the request: its connection, which has one exchange at a time. */
export interface ExchangeClient {
  readonly tcp: TcpConnection
  readonly address: string
  /** The exchange can take more of the body, or less. */
  flowChanged(): void
  /** The response is whole. `isLast`: no request follows it here. */
  exchangeEnded(isLast: boolean): void
  /** Gives the connection up to a tunnel, with the data so far. Call `closed` at the tunnel's end. */
  detach(): { readonly unread: Uint8Array; readonly closed: () => void }
}

export class Exchange implements ResponseReceiver {
  readonly method: string
  /** Received bytes of the request's body. */
  receivedSize = 0
  readonly #context: ProxyContext
  readonly #client: ExchangeClient
  readonly #head: RequestHead
  readonly #body: Body
  readonly #hasBody: boolean
  readonly #origin: Origin
  readonly #route: Route
  readonly #startMs: number
  #state: ExchangeState = { kind: "routed" }
  #mayReuse = true
  /** The sent part of the body, unless it is too large. */
  #kept: Uint8Array[] | undefined
  #isLast: boolean
  /** What came of the response while it waits for the positions. */
  #held: (() => void)[] | undefined

  constructor(context: ProxyContext, client: ExchangeClient, head: RequestHead, body: Body) {
    this.#context = context
    this.#client = client
    this.#head = head
    this.#body = body
    this.#hasBody = !body.isWhole
    this.method = head.method
    this.#origin = originOf(head, client.address)
    this.#route = new Route(context, head)
    this.#startMs = context.clock.monotonicMs()
    this.#isLast = head.isHttp10 || tokensOf(head.fields, "connection").includes("close")
  }

  start(): void {
    this.#find()
  }

  get hasAnswered(): boolean {
    return this.#state.kind === "answering"
  }

  /** Whether the client must wait before it sends more. */
  get isCongested(): boolean {
    return this.#sending?.connection.tcp.isCongested === true
  }

  get isWaitingForClient(): boolean {
    return this.#taking !== undefined && !this.isCongested
  }

  /** Returns how many of the bytes belong to the body and could be sent. Throws when the body is malformed. */
  takeBody(bytes: Uint8Array): number {
    const sending = this.#taking
    if (sending === undefined) return 0
    const count = this.#body.take(bytes, 0)
    const part = this.#body.passed(bytes.subarray(0, count))
    this.receivedSize += count
    this.#keep(part)
    sending.connection.tcp.write(part)
    return count
  }

  clientDrained(): void {
    this.#sending?.connection.tcp.resume()
  }

  /** Called now and then: a primary that vanishes silently breaks no connection. */
  checkPrimary(nowMs: number): void {
    const { cluster, options } = this.#context
    const sending = this.#sending
    if (sending?.to.way.to !== "primary") return
    if (cluster.primaryProxyUrl === sending.to.way.url) {
      sending.lostMs = undefined
    } else if (sending.lostMs === undefined) {
      sending.lostMs = nowMs
    } else if (nowMs - sending.lostMs >= options.redirectTimeoutMs) {
      this.failed("it is gone", false)
    }
  }

  /** The client has gone. */
  abandon(): void {
    if (this.#state.kind === "over") return
    const status = this.#state.kind === "answering" ? this.#state.status : 0
    this.#finish("abandoned", status)?.connection.destroy()
  }

  // --- of the response ---

  interim(head: ResponseHead): void {
    const sending = this.#sending
    if (sending?.holdsBody === true && head.status === 100) {
      sending.holdsBody = false
      return this.#client.flowChanged()
    }
    if (this.#head.isHttp10) return
    this.#client.tcp.write(responseBytes(head, { fields: [], isChunked: false, isLast: false }))
  }

  head(head: ResponseHead, body: Body, first: Uint8Array): void {
    const sending = this.#sending
    if (sending === undefined) return
    const { way, positions } = sending.to
    if (way.to === "primary" && isFromNoPrimary(head) && this.#canSendAgain) {
      sending.connection.destroy()
      return this.#retryPrimary(way.url)
    }
    const { captured } = this.#context.cluster
    if (captured === undefined || positions === undefined) return this.#begin(head, body, first)
    const held: (() => void)[] = []
    this.#held = held
    const start = first.slice()
    sending.connection.tcp.pause()
    void captured().then(() => {
      this.#held = undefined
      if (this.#sending !== sending) return
      sending.connection.tcp.resume()
      this.#begin(head, body, start)
      for (const act of held) act()
    })
  }

  /** The positions have what the application has committed. */
  #begin(head: ResponseHead, body: Body, first: Uint8Array): void {
    const sending = this.#sending
    if (sending === undefined) return
    this.#state = { kind: "answering", sending, status: head.status }
    this.#kept = undefined
    if (this.#route.isSafe) endWrite(sending) // events may follow, without an end
    if (body instanceof ClosingBody) this.#isLast = true
    const bytes = responseBytes(head, {
      fields: positionFields(this.#context, this.#route, this.#origin, sending.to.positions),
      isChunked: body instanceof ChunkedBody,
      isLast: this.#isLast,
    })
    this.#write(first.length === 0 ? bytes : Buffer.concat([bytes, first]))
  }

  body(bytes: Uint8Array): void {
    if (this.#held === undefined) return this.#write(bytes)
    const copy = bytes.slice()
    this.#held.push(() => this.#write(copy))
  }

  whole(): void {
    if (this.#held !== undefined) return void this.#held.push(() => this.whole())
    if (this.#state.kind !== "answering") return
    const { sending, status } = this.#state
    const { way, positions } = sending.to
    const outcomeHere = positions === undefined ? "passthrough" : "local"
    this.#end(way.to === "primary" ? "forwarded" : outcomeHere, status)
  }

  switched(head: ResponseHead, rest: Uint8Array): void {
    if (this.#upgrade === undefined) return this.failed("it has changed the protocol unasked", true)
    const { tcp } = this.#client
    tcp.write(responseBytes(head, { fields: [], isChunked: false, isLast: false }))
    tcp.write(rest)
    const sending = this.#finish("tunnel", 101)
    if (sending === undefined) return
    const { connection } = sending
    const { unread, closed } = this.#client.detach()
    connection.tcp.write(unread)
    this.#context.counters.tunnelOpened()
    tunnel(tcp, connection.tcp, () => {
      this.#context.counters.tunnelClosed()
      connection.closed()
      closed()
    })
  }

  drained(): void {
    this.#client.flowChanged()
  }

  failed(problem: string, hasBegun: boolean): void {
    if (this.#held !== undefined) return void this.#held.push(() => this.failed(problem, hasBegun))
    const state = this.#state
    if (state.kind !== "sent" && state.kind !== "answering") return
    const { connection, to } = state.sending
    connection.destroy()
    endWrite(state.sending)
    if (state.kind === "answering") {
      this.#finish("failed", state.status)
      return this.#client.tcp.destroy()
    }
    this.#state = { kind: "routed" }
    // The server had broken the connection before: the kernel took nothing of the request.
    const isUnsent = !connection.hasSent && this.#canSendAgain
    const isRepeatable = isUnsent || (this.#route.isSafe && !this.#hasBody && !hasBegun)
    if (isRepeatable && this.#mayReuse && connection.useCount > 1) {
      this.#mayReuse = false // it was closed while the request was on its way
      return this.#connect(to)
    }
    const { way } = to
    if (isRepeatable && way.to === "primary") return this.#retryPrimary(way.url)
    if (isUnsent) return this.#connectLater({ to, backoffMs: BACKOFF_MS }, problem)
    const who = way.to === "primary" ? "the primary's proxy" : "the application"
    this.#answer({ to: "answer", status: 502, text: `Proxy error: ${who}: ${problem}\n` })
  }

  // --- internal ---

  get #sending(): Sending | undefined {
    const state = this.#state
    return state.kind === "sent" || state.kind === "answering" ? state.sending : undefined
  }

  /** Set while the body is being taken and is not complete. */
  get #taking(): Sending | undefined {
    const sending = this.#sending
    return sending?.holdsBody === true || this.#body.isWhole ? undefined : sending
  }

  #find(): void {
    this.#state = { kind: "routed" }
    this.#route.find((way) => this.#go(way))
  }

  /** The primary was not reached, or is no primary. */
  #retryPrimary(url: string): void {
    this.#state = { kind: "routed" }
    this.#route.retry(url, (way) => this.#go(way))
  }

  #go(way: Way): void {
    if (way.to === "answer") return this.#answer(way)
    const { application, tracked } = this.#context
    const isTracked = way.to === "application" && way.isTracked
    this.#connect({
      way,
      upstream: way.to === "application" ? application : this.#context.proxyAt(way.url),
      positions: isTracked ? tracked.positions : undefined,
    })
  }

  #connect(to: Destination, backoffMs = BACKOFF_MS): void {
    if (!this.#isStillRight(to)) return this.#find()
    const state: ExchangeState = { kind: "connecting", to, backoffMs, cancel() {} }
    this.#state = state
    const ready = this.#mayReuse ? to.upstream.take() : undefined
    if (ready !== undefined) return this.#send(to, ready)
    to.upstream.connect().then(
      (connection) => {
        if (to.way.to === "application") this.#context.noteApplication(true)
        const isWanted = this.#state === state
        if (isWanted && this.#isStillRight(to)) return this.#send(to, connection)
        to.upstream.release(connection)
        if (isWanted) this.#find()
      },
      (error) => {
        if (this.#state === state) this.#notConnected(state, error)
      },
    )
  }

  /** Whether this node's application should still do it, as when the destination was determined. */
  #isStillRight({ way }: Destination): boolean {
    return way.to !== "application" || !way.isTracked || this.#route.takesItHere
  }

  #send(to: Destination, connection: UpstreamConnection): void {
    const { cluster, writes } = this.#context
    const { way } = to
    const isWrite = way.to === "application" && way.isTracked && !this.#route.isRead
    const forwardedBy = way.to === "primary" ? encodeURI(cluster.hostname) : undefined // ASCII
    const isFirst = this.#kept === undefined && this.receivedSize === 0
    // A new connection to the application either takes the request, or has not come about.
    const mayGoAgain = forwardedBy !== undefined || connection.useCount > 0
    const isKept = this.#hasBody && isFirst && mayGoAgain
    const holdsBody = isKept && forwardedBy !== undefined && this.#bodySize > KEPT_SIZE_MAX
    if (isKept && !holdsBody) this.#kept = []
    const sending: Sending = {
      ...{ to, connection, holdsBody, lostMs: undefined },
      endWrite: isWrite ? writes.begin() : undefined,
    }
    this.#state = { kind: "sent", sending }
    const extras = {
      ...{ origin: this.#origin, upgrade: this.#upgrade },
      ...{ forwardedBy, doesBodyWait: holdsBody },
    }
    connection.send(requestBytes(this.#head, extras), this)
    if (!this.#hasBody) return
    if (valuesOf(this.#head.fields, BODY_WAITS_HEADER).length > 0) {
      this.#client.tcp.write(CONTINUE_BYTES)
    }
    for (const part of this.#kept ?? []) connection.tcp.write(part)
    this.#client.flowChanged()
  }

  /** The announced size; unknown when it comes in chunks. */
  get #bodySize(): number {
    return Number(valuesOf(this.#head.fields, "content-length")[0] ?? Infinity)
  }

  get #upgrade(): string | undefined {
    return this.#hasBody || this.#head.isHttp10 ? undefined : upgradeOf(this.#head.fields)
  }

  #notConnected(state: ExchangeState & { kind: "connecting" }, error: unknown): void {
    if (state.to.way.to === "primary") return this.#retryPrimary(state.to.way.url)
    this.#connectLater(state, connectReason(this.#context.options.target.host, error))
  }

  #connectLater(
    { to, backoffMs }: Pick<ExchangeState & { kind: "connecting" }, "to" | "backoffMs">,
    problem: string,
  ): void {
    const { clock, options } = this.#context
    const passedMs = clock.monotonicMs() - this.#startMs
    if (passedMs >= Math.max(APPLICATION_MS_MAX, options.redirectTimeoutMs)) {
      const { host, port } = options.target
      this.#context.noteApplication(false)
      const text = `Proxy error: the application at ${host}:${port}: ${problem}\n`
      return this.#answer({ to: "answer", status: 502, text })
    }
    const cancel = clock.after(backoffMs, () => {
      this.#connect(to, Math.min(backoffMs * 2, BACKOFF_MS_MAX))
    })
    this.#state = { kind: "connecting", to, backoffMs, cancel }
  }

  #keep(part: Uint8Array): void {
    if (this.#kept === undefined) return
    this.#kept.push(part)
    const size = this.#kept.reduce((sum, { length }) => sum + length, 0)
    if (size > KEPT_SIZE_MAX) this.#kept = undefined
  }

  get #canSendAgain(): boolean {
    return !this.#hasBody || this.#kept !== undefined || this.receivedSize === 0
  }

  #write(bytes: Uint8Array): void {
    const { tcp } = this.#client
    tcp.write(bytes)
    if (tcp.isCongested) this.#sending?.connection.tcp.pause()
  }

  #answer(answer: Answer): void {
    if (!this.#body.isWhole) this.#isLast = true
    this.#client.tcp.write(answerBytes(answer, this.method, this.#isLast))
    this.#end("answered", answer.status)
  }

  #end(outcome: Outcome, status: number): void {
    const isLast = this.#isLast || !this.#body.isWhole
    const sending = this.#finish(outcome, status)
    if (sending !== undefined) {
      const { connection, to } = sending
      connection.tcp.resume()
      if (this.#body.isWhole) to.upstream.release(connection)
      else connection.destroy()
    }
    this.#client.exchangeEnded(isLast)
  }

  /** Returns what was sent. Its connection becomes the caller's. */
  #finish(outcome: Outcome, status: number): Sending | undefined {
    const sending = this.#sending
    if (this.#state.kind === "connecting") this.#state.cancel()
    this.#state = { kind: "over" }
    if (sending !== undefined) endWrite(sending)
    this.#route.cancel()
    const durationMs = this.#context.clock.monotonicMs() - this.#startMs
    this.#context.counters.finished({
      method: this.method,
      target: this.#head.target,
      address: this.#client.address,
      ...{ status, outcome, durationMs },
    })
    return sending
  }
}

function isFromNoPrimary({ status, fields }: ResponseHead): boolean {
  return status === 503 && fields.some(({ key }) => key === NOT_PRIMARY_HEADER)
}
