/**
 * One request and its response.
 *
 *   routed ──▶ connecting ──▶ sent ── head of the response ──▶ answering ── whole ──▶ over
 *     ▲            │            │                                  │
 *     └─ no primary, or not it ─┴─ broken: 502 ──▶ over            └─ broken: the client's connection breaks
 *
 * Bodies go through as they come, in both directions; who does not take them makes the other side wait. A request
 * is sent a second time only when the first has done nothing: nobody was there, or the node has said that it is
 * not the primary; or when it is a read, which may be asked twice.
 *
 * A small body is kept until the primary has answered, a large one waits until the primary's proxy has sent the head
 * on to its application: so either can go to another node when this one turns out not to be the primary.
 *
 * Where it goes is found anew when the application could not be reached at once: meanwhile another node may have
 * become the primary.
 */
import { messageOf } from "../lib/errors.ts"
import { type Answer, answerBytes } from "./answer.ts"
import { type Body, ChunkedBody, ClosingBody } from "./body.ts"
import type { ClientConnection } from "./client-connection.ts"
import type { ProxyContext } from "./context.ts"
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
import { setCookie } from "./position-token.ts"
import type { Outcome } from "./proxy-counters.ts"
import { Route, type Way } from "./route.ts"
import type { TrackedDatabases } from "./tracked-databases.ts"
import { tunnel } from "./tunnel.ts"
import type { Upstream } from "./upstream.ts"
import type { ResponseReceiver, UpstreamConnection } from "./upstream-connection.ts"

/** For an application that is being started, or longer when writes may wait longer for a primary. */
export const APPLICATION_MS_MAX = 10_000
const BACKOFF_MS = 25
const BACKOFF_MS_MAX = 500

/** Of a body that may have to be sent again, to a primary that is one. */
const KEPT_SIZE_MAX = 64 * 1024

export class Exchange implements ResponseReceiver {
  readonly method: string
  /** Bytes of the request's body that have come. */
  receivedSize = 0
  readonly #context: ProxyContext
  readonly #client: ClientConnection
  readonly #head: RequestHead
  readonly #body: Body
  readonly #hasBody: boolean
  readonly #origin: Origin
  readonly #route: Route
  readonly #startMs: number
  #way: Way | undefined
  #positions: TrackedPositions
  #upstream: Upstream | undefined
  #connection: UpstreamConnection | undefined
  #mayReuse = true
  #backoffMs = BACKOFF_MS
  #cancelBackoff: (() => void) | undefined
  /** What was sent of the body, as long as it is not too much. */
  #kept: Uint8Array[] | undefined
  #keptSize = 0
  /** Until the other node's proxy takes it. */
  #doesBodyWait = false
  #isLast: boolean
  #status = 0
  /** Set while the application does what only the primary does. */
  #endWrite: (() => void) | undefined
  /** Since when the primary that this was sent to is not the one that is known. */
  #lostMs: number | undefined
  #isOver = false

  constructor(context: ProxyContext, client: ClientConnection, head: RequestHead, body: Body) {
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
    return this.#status > 0
  }

  /** Whether the client is to wait before it sends more. */
  get isCongested(): boolean {
    return this.#connection?.tcp.isCongested === true
  }

  get isWaitingForClient(): boolean {
    const takesBody = this.#connection !== undefined && !this.#doesBodyWait
    return takesBody && !this.#body.isWhole && !this.isCongested
  }

  /** Says how much of what has come belongs to the body, and could be sent. Throws when it is malformed. */
  takeBody(bytes: Uint8Array): number {
    if (this.#connection === undefined || this.#body.isWhole || this.#doesBodyWait) return 0
    const count = this.#body.take(bytes, 0)
    const part = this.#body.passed(bytes.subarray(0, count))
    this.receivedSize += count
    this.#keep(part)
    this.#connection.tcp.write(part)
    return count
  }

  clientDrained(): void {
    this.#connection?.tcp.resume()
  }

  /** Called now and then. A primary that has vanished without a word breaks no connection. */
  checkPrimary(nowMs: number): void {
    const { cluster, options } = this.#context
    if (this.#way?.to !== "primary" || this.#connection === undefined) return
    if (cluster.primaryProxyUrl === this.#way.url) {
      this.#lostMs = undefined
    } else if (this.#lostMs === undefined) {
      this.#lostMs = nowMs
    } else if (nowMs - this.#lostMs >= options.redirectTimeoutMs) {
      this.failed("it is gone", false)
    }
  }

  /** The client has gone. */
  abandon(): void {
    if (!this.#isOver) this.#finish("abandoned")
  }

  // --- of the response ---

  interim(head: ResponseHead): void {
    if (this.#doesBodyWait && head.status === 100) {
      this.#doesBodyWait = false
      return this.#client.flowChanged()
    }
    if (this.#head.isHttp10) return
    this.#client.tcp.write(responseBytes(head, { fields: [], isChunked: false, isLast: false }))
  }

  head(head: ResponseHead, body: Body, first: Uint8Array): void {
    if (this.#way?.to === "primary" && this.#isFromNoPrimary(head) && this.#canSendAgain) {
      return this.#retryPrimary(this.#way.url)
    }
    this.#status = head.status
    this.#kept = undefined
    if (this.#route.isSafe) this.#writeEnded() // what follows may be events, without an end
    if (body instanceof ClosingBody) this.#isLast = true
    const bytes = responseBytes(head, {
      fields: this.#positionFields(),
      isChunked: body instanceof ChunkedBody,
      isLast: this.#isLast,
    })
    this.#write(first.length === 0 ? bytes : Buffer.concat([bytes, first]))
  }

  body(bytes: Uint8Array): void {
    this.#write(bytes)
  }

  whole(): void {
    const outcomeHere = this.#positions === undefined ? "passthrough" : "local"
    this.#end(this.#way?.to === "primary" ? "forwarded" : outcomeHere)
  }

  switched(head: ResponseHead, rest: Uint8Array): void {
    const connection = this.#connection as UpstreamConnection
    if (this.#upgrade === undefined) return this.failed("it has changed the protocol unasked", true)
    const { tcp } = this.#client
    this.#status = 101
    tcp.write(responseBytes(head, { fields: [], isChunked: false, isLast: false }))
    tcp.write(rest)
    this.#connection = undefined
    this.#finish("tunnel")
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
    const connection = this.#connection
    this.#connection = undefined
    connection?.destroy()
    this.#writeEnded()
    if (this.hasAnswered) {
      this.#finish("failed")
      return this.#client.tcp.destroy()
    }
    const isRepeatable = this.#route.isSafe && !this.#hasBody && !hasBegun
    if (isRepeatable && this.#mayReuse && (connection?.useCount ?? 0) > 1) {
      this.#mayReuse = false // it was closed while the request was on its way
      return this.#open()
    }
    if (isRepeatable && this.#way?.to === "primary") return this.#retryPrimary(this.#way.url)
    const who = this.#way?.to === "primary" ? "the primary's proxy" : "the application"
    this.#answer({ to: "answer", status: 502, text: `Proxy error: ${who}: ${problem}\n` })
  }

  // --- internal ---

  #find(): void {
    this.#route.find((way) => this.#go(way))
  }

  #go(way: Way): void {
    this.#way = way
    if (way.to === "answer") return this.#answer(way)
    const { application, tracked } = this.#context
    if (way.to === "application") {
      this.#upstream = application
      this.#positions = way.isTracked ? tracked.positions : undefined
    } else {
      this.#upstream = this.#context.proxyAt(way.url)
    }
    this.#open()
  }

  #open(): void {
    if (!this.#isStillRight) return this.#find()
    const upstream = this.#upstream as Upstream
    const ready = this.#mayReuse ? upstream.take() : undefined
    if (ready !== undefined) return this.#send(ready)
    upstream.connect().then(
      (connection) => {
        if (!this.#isOver && this.#isStillRight) return this.#send(connection)
        upstream.release(connection)
        if (!this.#isOver) this.#find()
      },
      (error) => this.#notConnected(error),
    )
  }

  /** Whether the application of this node is to do it, as it was when the way was found. */
  get #isStillRight(): boolean {
    if (this.#way?.to !== "application" || !this.#way.isTracked) return true
    return this.#route.takesItHere
  }

  #send(connection: UpstreamConnection): void {
    this.#connection = connection
    const isOurs = this.#way?.to === "application" && this.#way.isTracked
    if (isOurs && !this.#route.isRead) this.#endWrite = this.#context.writes.begin()
    const { hostname } = this.#context.cluster
    const forwardedBy = this.#way?.to === "primary" ? encodeURI(hostname) : undefined // ASCII
    const isFirst = this.#kept === undefined && this.receivedSize === 0
    const isKept = this.#hasBody && forwardedBy !== undefined && isFirst
    this.#doesBodyWait = isKept && this.#bodySize > KEPT_SIZE_MAX
    if (isKept && !this.#doesBodyWait) this.#kept = []
    const extras = {
      ...{ origin: this.#origin, upgrade: this.#upgrade },
      ...{ forwardedBy, doesBodyWait: this.#doesBodyWait },
    }
    connection.send(requestBytes(this.#head, extras), this)
    if (!this.#hasBody) return
    if (valuesOf(this.#head.fields, BODY_WAITS_HEADER).length > 0) {
      this.#client.tcp.write(CONTINUE_BYTES)
    }
    for (const part of this.#kept ?? []) connection.tcp.write(part)
    this.#client.flowChanged()
  }

  /** What is said of it; it is not known when it comes in chunks. */
  get #bodySize(): number {
    return Number(valuesOf(this.#head.fields, "content-length")[0] ?? Infinity)
  }

  get #upgrade(): string | undefined {
    return this.#hasBody || this.#head.isHttp10 ? undefined : upgradeOf(this.#head.fields)
  }

  #notConnected(error: unknown): void {
    if (this.#isOver) return
    if (this.#way?.to === "primary") return this.#retryPrimary(this.#way.url)
    const { clock, options } = this.#context
    const passedMs = clock.monotonicMs() - this.#startMs
    if (passedMs >= Math.max(APPLICATION_MS_MAX, options.redirectTimeoutMs)) {
      const { host, port } = options.target
      const text = `Proxy error: the application at ${host}:${port}: ${messageOf(error)}\n`
      return this.#answer({ to: "answer", status: 502, text })
    }
    this.#cancelBackoff = clock.after(this.#backoffMs, () => this.#open())
    this.#backoffMs = Math.min(this.#backoffMs * 2, BACKOFF_MS_MAX)
  }

  #retryPrimary(url: string): void {
    this.#lostMs = undefined
    this.#connection?.destroy()
    this.#connection = undefined
    this.#route.retry(url, (way) => this.#go(way))
  }

  #keep(part: Uint8Array): void {
    if (this.#kept === undefined) return
    this.#keptSize += part.length
    if (this.#keptSize > KEPT_SIZE_MAX) this.#kept = undefined
    else this.#kept.push(part)
  }

  get #canSendAgain(): boolean {
    return !this.#hasBody || this.#kept !== undefined || this.receivedSize === 0
  }

  #isFromNoPrimary({ status, fields }: ResponseHead): boolean {
    return status === 503 && fields.some(({ key }) => key === NOT_PRIMARY_HEADER)
  }

  /** What a client is told of the databases here. */
  #positionFields(): [name: string, value: string][] {
    const { tracked, cluster } = this.#context
    if (this.#positions === undefined) return []
    // A token of what a failover has lost is of no use any more.
    const isLost = cluster.isPrimary && this.#route.isBehind
    const isNews = isLost || tracked.hasAdvanced(this.#positions)
    const { tellsPosition } = this.#route
    if (!isNews && !tellsPosition) return []
    const token = tracked.token()
    if (token === "") return []
    if (tellsPosition) return [["Litefs-Position", token]]
    return [
      ["Litefs-Position", token],
      ["Set-Cookie", setCookie(token, this.#origin.isSecure)],
    ]
  }

  #writeEnded(): void {
    this.#endWrite?.()
    this.#endWrite = undefined
  }

  #write(bytes: Uint8Array): void {
    const { tcp } = this.#client
    tcp.write(bytes)
    if (tcp.isCongested) this.#connection?.tcp.pause()
  }

  #answer(answer: Answer): void {
    this.#status = answer.status
    if (!this.#body.isWhole) this.#isLast = true
    this.#client.tcp.write(answerBytes(answer, this.method, this.#isLast))
    this.#end("answered")
  }

  #end(outcome: Outcome): void {
    const isLast = this.#isLast || !this.#body.isWhole
    const connection = this.#connection
    this.#connection = undefined
    if (connection !== undefined) {
      connection.tcp.resume()
      if (this.#body.isWhole) this.#upstream?.release(connection)
      else connection.destroy()
    }
    this.#finish(outcome)
    this.#client.exchangeEnded(isLast)
  }

  #finish(outcome: Outcome): void {
    this.#isOver = true
    this.#writeEnded()
    this.#route.cancel()
    this.#cancelBackoff?.()
    this.#connection?.destroy()
    this.#connection = undefined
    const durationMs = this.#context.clock.monotonicMs() - this.#startMs
    this.#context.counters.finished({
      method: this.method,
      target: this.#head.target,
      address: this.#client.address,
      status: this.#status,
      outcome,
      durationMs,
    })
  }
}

type TrackedPositions = TrackedDatabases["positions"] | undefined
