/**
 * Where a request is to go.
 *
 *   passthrough ────────────────────────────────────────────────────────────▶ application
 *   read        on the primary, or this node has what the client has seen ──▶ application
 *               waits for that ── reached ──────────────────────────────────▶ application
 *                              └─ late ──▶ like a write, but 504 in its end
 *   write       on the primary ─────────────────────────────────────────────▶ application
 *               on a replica ───────────────────────────────────────────────▶ proxy of the primary, or fly-replay
 *               no primary, or about to hand over ── there is one ──────────▶ as above
 *                                                 └─ late ──────────────────▶ 503
 *
 * A client that has seen a newer primary does not accept this node as the primary, unless the other nodes confirm it.
 *
 * A request from another proxy is not sent on again: this node says that it is not the primary, and the other proxy
 * asks again, wherever the primary then is.
 */
import type { Answer } from "./answer.ts"
import type { ProxyContext } from "./context.ts"
import { type RequestHead, valuesOf } from "./message-head.ts"
import { FORWARDED_BY_HEADER } from "./passed-on.ts"
import { pathOf } from "./path-pattern.ts"
import { POSITION_HEADER, type TokenEntry, tokenInCookies } from "./position-token.ts"

export type Way =
  | { readonly to: "application"; readonly isTracked: boolean }
  | { readonly to: "primary"; readonly url: string }
  | Answer

const READS = new Set(["GET", "HEAD", "OPTIONS"])

const HEALTH_PATH = "/litefs/health"

/** Pause before a primary that did not answer is tried again. */
const RETRY_MS = 100

export class Route {
  /** A read may be repeated when the first attempt has come to nothing. */
  readonly isSafe: boolean
  /** Any node may do it. */
  readonly isRead: boolean
  readonly tellsPosition: boolean
  readonly #context: ProxyContext
  readonly #path: string
  readonly #isForwarded: boolean
  readonly #wanted: readonly TokenEntry[]
  readonly #arrivedMs: number
  #cancel: (() => void) | undefined

  constructor(context: ProxyContext, head: RequestHead) {
    const { method, target, fields } = head
    this.#context = context
    this.#path = pathOf(target)
    this.#arrivedMs = context.clock.monotonicMs()
    this.isSafe = READS.has(method)
    this.isRead = this.isSafe && !context.alwaysForward.matches(this.#path)
    this.#isForwarded = valuesOf(fields, FORWARDED_BY_HEADER).length > 0
    const [told] = valuesOf(fields, POSITION_HEADER) // clients send one
    this.tellsPosition = told !== undefined
    const cookie = tokenInCookies(valuesOf(fields, "cookie"))
    const tokens = [told, cookie].filter((token) => token !== undefined)
    this.#wanted = tokens.length === 0 ? [] : context.tracked.wanted(tokens)
  }

  /** Whether the client asks for something that this node lacks. */
  get isBehind(): boolean {
    return this.#wanted.length > 0 && !this.#context.tracked.has(this.#wanted)
  }

  find(then: (way: Way) => void): void {
    const { passthrough } = this.#context
    if (passthrough.matches(this.#path)) return then({ to: "application", isTracked: false })
    if (this.isSafe && this.#path === HEALTH_PATH) return then(this.#health())
    this.#askIfDoubtful()
    if (!this.isRead) return this.#findPrimary(then)
    if (this.#canReadHere()) return then(APPLICATION)
    if (this.#isForwarded) return then(NOT_PRIMARY)
    this.#wait(
      () => this.#canReadHere(),
      this.#context.options.readTimeoutMs,
      "position",
      (isSo) => {
        if (isSo || this.#isPrimary) then(APPLICATION)
        else this.#findPrimary(then)
      },
    )
  }

  /** The primary was not reached, or is no primary: asks again in a moment, or at once when something changes. */
  retry(failedUrl: string, then: (way: Way) => void): void {
    const restMs = this.#restMs()
    if (restMs <= 0) return then(this.#unavailable())
    const { cluster } = this.#context
    const isOther = () =>
      this.#isPrimary ||
      (cluster.primaryProxyUrl !== undefined && cluster.primaryProxyUrl !== failedUrl)
    this.#wait(isOther, Math.min(restMs, RETRY_MS), "primary", () => this.#findPrimary(then))
  }

  cancel(): void {
    this.#cancel?.()
    this.#cancel = undefined
  }

  #findPrimary(then: (way: Way) => void): void {
    const { cluster, options } = this.#context
    if (this.takesItHere) return then(APPLICATION)
    if (this.#isForwarded) return then(NOT_PRIMARY)
    const { isPrimary, primaryName, primaryProxyUrl } = cluster
    if (!isPrimary && options.mode === "fly-replay" && primaryName !== undefined) {
      return then(flyReplay(primaryName))
    }
    if (!isPrimary && primaryProxyUrl !== undefined) {
      return then({ to: "primary", url: primaryProxyUrl })
    }
    const isThere = () =>
      this.takesItHere || (!cluster.isPrimary && cluster.primaryProxyUrl !== undefined)
    this.#wait(isThere, this.#restMs(), "primary", (isSo) => {
      if (isSo) this.#findPrimary(then)
      else then(this.#unavailable())
    })
  }

  /** Whether the application here may do what is meant for the primary, or is good enough for it. */
  get takesItHere(): boolean {
    const { isHandingOff } = this.#context.cluster
    return this.isRead ? this.#canReadHere() : this.#isPrimary && !isHandingOff
  }

  #canReadHere(): boolean {
    return this.#isPrimary || !this.isBehind
  }

  /** Whether this node is the primary, and its client has seen no newer one. */
  get #isPrimary(): boolean {
    const { cluster } = this.#context
    return cluster.isPrimary && (!this.#hasSeenNewer || cluster.isConfirmed)
  }

  get #hasSeenNewer(): boolean {
    return this.#wanted.length > 0 && this.#context.tracked.isNewer(this.#wanted)
  }

  #askIfDoubtful(): void {
    const { cluster } = this.#context
    if (cluster.isPrimary && this.#hasSeenNewer && !cluster.isConfirmed) cluster.askOthers()
  }

  #restMs(): number {
    const { clock, options } = this.#context
    const limitMs = options.redirectTimeoutMs + (this.isRead ? options.readTimeoutMs : 0)
    return Math.max(0, this.#arrivedMs + limitMs - clock.monotonicMs())
  }

  #wait(
    isSo: () => boolean,
    limitMs: number,
    reason: "position" | "primary",
    then: (isSo: boolean) => void,
  ): void {
    const { waiters, clock, counters } = this.#context
    const startMs = clock.monotonicMs()
    this.#cancel = waiters.wait(isSo, limitMs, (outcome) => {
      this.#cancel = undefined
      counters.waited(reason, outcome, clock.monotonicMs() - startMs)
      then(outcome === "reached")
    })
  }

  #unavailable(): Answer {
    const { cluster } = this.#context
    const isUnreachable = cluster.primaryName !== undefined && !cluster.isPrimary
    const isDoubtful = cluster.isPrimary && !this.#isPrimary
    if (isUnreachable && cluster.primaryProxyUrl === undefined) {
      const text = `Proxy error: the primary, ${cluster.primaryName}, has no proxy, start it with --proxy-addr\n`
      return { to: "answer", status: 502, text }
    }
    const problem = isDoubtful
      ? "there is a newer primary, which this node does not know"
      : isUnreachable
        ? "the primary's proxy does not answer"
        : "no primary available"
    const status = this.isRead ? 504 : 503
    const text = `Proxy error: ${problem}\n`
    return { to: "answer", status, text, fields: [["Retry-After", "1"]] }
  }

  #health(): Answer {
    const { cluster, options } = this.#context
    const { lagMs } = cluster
    if (lagMs === undefined) return { to: "answer", status: 503, text: "Not in sync yet\n" }
    if (options.maxLagMs > 0 && lagMs > options.maxLagMs) {
      return { to: "answer", status: 503, text: "Replication lag exceeded\n" }
    }
    return { to: "answer", status: 200, text: "OK\n" }
  }
}

const APPLICATION: Way = { to: "application", isTracked: true }

const NOT_PRIMARY: Answer = {
  to: "answer",
  status: 503,
  text: "Proxy error: this node is not the primary\n",
  fields: [
    ["Litefs-Not-Primary", "1"],
    ["Retry-After", "1"],
  ],
}

/** For Fly.io's own proxy, which then asks that machine. To anybody else it says that nothing was done. */
function flyReplay(primary: string): Answer {
  const fields = [["fly-replay", `instance=${primary}`]] as const
  return { to: "answer", status: 409, text: "", fields }
}
