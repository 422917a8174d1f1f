/**
 * One connection of a client. Requests come one after the other, and each is answered before the next is read.
 *
 *           first byte            empty line                     response whole
 *   idle ───────────────▶ head ───────────────▶ exchange ─────────────────────────────▶ idle
 *                          │ malformed              │ the last one, or body not whole
 *                          ▼                        ▼
 *                       answered ───────────────▶ lingering ── they end, or some seconds ──▶ closed
 *
 * A client that ends or breaks the connection during a response is gone: the work for it stops at once. Every state has
 * a limit for making no progress, except waiting for an application.
 */
import type { Guest } from "../sys/net/room.ts"
import type { TcpConnection, TcpHandler } from "../sys/net/tcp.ts"
import { answerBytes } from "./answer.ts"
import { bodyOfRequest } from "./body.ts"
import type { ProxyContext } from "./context.ts"
import { Exchange, type ExchangeClient } from "./exchange.ts"
import { BadMessage, HEAD_SIZE_MAX, parseRequestHead } from "./message-head.ts"

/** Bytes of data that comes before it is wanted. */
const UNREAD_SIZE_MAX = 64 * 1024

export const IDLE_MS_MAX = 75_000
export const HEAD_MS_MAX = 10_000
export const STALL_MS_MAX = 60_000
const LINGER_MS_MAX = 5000
/** Of no progress in an exchange, before the client counts as one that does nothing. */
const PATIENCE_MS = 5000

const NOTHING = Buffer.alloc(0)

export class ClientConnection implements TcpHandler, ExchangeClient, Guest {
  readonly tcp: TcpConnection
  readonly address: string
  readonly #context: ProxyContext
  readonly #onClosed: () => void
  #sinceMs: number // of its state, or of its last progress
  #unread: Buffer = NOTHING
  #exchange: Exchange | undefined
  #state: "idle" | "head" | "exchange" | "tunnel" | "lingering" = "idle"
  #isPaused = false
  #deadlineMs: number
  /** The progress of a stalled exchange at the last check. */
  #lastProgress: string | undefined

  constructor(tcp: TcpConnection, context: ProxyContext, onClosed: () => void) {
    this.tcp = tcp
    this.address = tcp.remoteAddress
    this.#context = context
    this.#onClosed = onClosed
    this.#sinceMs = context.clock.monotonicMs()
    this.#deadlineMs = this.#sinceMs + IDLE_MS_MAX
    tcp.handler = this
  }

  /** Others may have its place: it waits for nobody but its client. */
  get idleSinceMs(): number | undefined {
    if (this.#state === "tunnel") return undefined
    if (this.#state !== "exchange") return this.#sinceMs
    return this.#lastProgress === undefined ? undefined : this.#sinceMs + PATIENCE_MS
  }

  giveWay(): void {
    this.tcp.destroy()
  }

  data(bytes: Uint8Array): void {
    if (this.#state === "lingering") return
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    this.#unread = this.#unread.length === 0 ? buffer : Buffer.concat([this.#unread, buffer])
    this.#advance()
  }

  drained(): void {
    if (this.#exchange === undefined) this.#advance()
    else this.#exchange.clientDrained()
  }

  ended(): void {
    if (this.#state === "lingering") return
    if (this.#state === "exchange") this.tcp.destroy()
    else this.tcp.end()
  }

  closed(): void {
    const exchange = this.#exchange
    this.#exchange = undefined
    this.#unread = NOTHING // nobody wants the rest any more
    exchange?.abandon()
    this.#onClosed()
  }

  flowChanged(): void {
    this.#advance()
  }

  exchangeEnded(isLast: boolean): void {
    this.#exchange = undefined
    if (isLast || this.#context.isClosing()) return this.linger()
    this.#state = "idle"
    this.#setDeadline(IDLE_MS_MAX)
    // Not in the stack of the response: a client that has sent thousands of requests would overflow it.
    if (this.#unread.length > 0 || this.#isPaused) queueMicrotask(() => this.#advance())
  }

  /** Sends what is written, and the end. Reads no further data: a reset could overtake the response. */
  linger(): void {
    this.#exchange = undefined
    this.#state = "lingering"
    this.#unread = NOTHING
    this.#setDeadline(LINGER_MS_MAX)
    this.#setPaused(false)
    this.tcp.end()
  }

  detach(): { readonly unread: Uint8Array; readonly closed: () => void } {
    this.#exchange = undefined
    this.#state = "tunnel"
    const unread = this.#unread
    this.#unread = NOTHING
    return { unread, closed: this.#onClosed }
  }

  /** Called now and then: ends connections that make no progress. */
  checkDeadline(nowMs: number): void {
    if (this.#state === "exchange") {
      this.#exchange?.checkPrimary(nowMs)
      return this.#checkProgress(nowMs)
    }
    if (this.tcp.isCongested) return this.#checkProgress(nowMs)
    if (nowMs < this.#deadlineMs || this.#state === "tunnel") return
    if (this.#state === "head")
      return this.#refuse(new BadMessage(408, "the request took too long"))
    if (this.#state === "lingering") this.tcp.letGo()
    else this.linger()
  }

  #advance(): void {
    while (this.#state !== "lingering" && this.#unread.length > 0) {
      if (this.#exchange === undefined) {
        // A client that does not read its responses gets no more.
        if (this.tcp.isCongested || !this.#takeHead()) break
      } else {
        let count: number
        try {
          count = this.#exchange.takeBody(this.#unread)
        } catch (error) {
          return this.#breakOff(error)
        }
        if (count === 0) break
        this.#unread = this.#unread.subarray(count)
      }
    }
    const isFull =
      this.#unread.length >= UNREAD_SIZE_MAX && (this.#state === "exchange" || this.tcp.isCongested)
    this.#setPaused(isFull || this.#exchange?.isCongested === true)
  }

  /** Begins an exchange when the head of a request is complete. */
  #takeHead(): boolean {
    while (this.#unread.length >= 2 && this.#unread[0] === 0x0d && this.#unread[1] === 0x0a) {
      this.#unread = this.#unread.subarray(2) // RFC 9112, 2.2: empty lines before a request
    }
    if (this.#unread.length === 0) return false
    if (this.#state === "idle") {
      this.#state = "head"
      this.#setDeadline(HEAD_MS_MAX)
    }
    try {
      const end = this.#unread.indexOf("\r\n\r\n")
      if (end < 0 || end > HEAD_SIZE_MAX) {
        checkUnfinished(this.#unread)
        return false
      }
      const head = parseRequestHead(this.#unread.toString("latin1", 0, end))
      const body = bodyOfRequest(head)
      this.#unread = this.#unread.subarray(end + 4)
      this.#state = "exchange"
      this.#lastProgress = undefined
      this.#exchange = new Exchange(this.#context, this, head, body)
      this.#exchange.start()
      return true
    } catch (error) {
      if (!(error instanceof BadMessage)) throw error
      this.#refuse(error)
      return false
    }
  }

  #refuse({ status, message }: BadMessage): void {
    this.#context.countRefusal(status, this.address, message)
    const text = `Cannot read the request: ${message}\n`
    this.tcp.write(answerBytes({ to: "answer", status, text }, "", true))
    this.linger()
  }

  /** A body is malformed after its start: the response may already be under way. */
  #breakOff(error: unknown): void {
    if (!(error instanceof BadMessage)) throw error
    const exchange = this.#exchange
    this.#exchange = undefined
    const hasAnswered = exchange?.hasAnswered === true
    exchange?.abandon()
    if (hasAnswered) this.tcp.destroy()
    else this.#refuse(error)
  }

  /** Whatever waits for the client has to move: bytes of its body, or its reading of the response. */
  #checkProgress(nowMs: number): void {
    const { waitingSize } = this.tcp
    const wantsBody = this.#exchange?.isWaitingForClient === true
    if (waitingSize === 0 && !wantsBody) {
      this.#lastProgress = undefined
      return
    }
    const progress = `${waitingSize} ${this.#exchange?.receivedSize}`
    if (progress !== this.#lastProgress) {
      this.#lastProgress = progress
      this.#setDeadline(STALL_MS_MAX)
    } else if (nowMs >= this.#deadlineMs) {
      this.tcp.destroy()
    }
  }

  #setDeadline(limitMs: number): void {
    this.#sinceMs = this.#context.clock.monotonicMs()
    this.#deadlineMs = this.#sinceMs + limitMs
  }

  #setPaused(isPaused: boolean): void {
    if (isPaused === this.#isPaused) return
    this.#isPaused = isPaused
    if (isPaused) this.tcp.pause()
    else this.tcp.resume()
  }
}

/** Throws when the bytes so far can never become a head. */
function checkUnfinished(bytes: Buffer): void {
  for (let at = bytes.indexOf(0x0a); at >= 0; at = bytes.indexOf(0x0a, at + 1)) {
    if (at === 0 || bytes[at - 1] !== 0x0d) throw new BadMessage(400, "a line ends in a bare LF")
    if (at > HEAD_SIZE_MAX) break
  }
  if (bytes.length <= HEAD_SIZE_MAX) return
  const isInFirstLine = bytes.subarray(0, HEAD_SIZE_MAX).indexOf(0x0a) < 0
  throw new BadMessage(isInFirstLine ? 414 : 431, "the head of the request is too large")
}
