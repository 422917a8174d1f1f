/**
 * Following a primary: connect, tell it our positions, hand on what it sends, and start again when that ends.
 *
 *   connecting ── response ──▶ catching up ── Ready, all applied ──▶ live
 *       ▲                          │                                  │
 *       └──── settle, pause ───────┴──── disconnected, or silent ─────┘
 *
 * Before it tells the positions again, whole files that are still on their way to the database settle: otherwise the
 * primary would send them a second time. The pause has jitter, and grows up to a limit while connections bring nothing
 * new.
 *
 * A primary that wants HTTP/2, as the original does, answers so each time (426 Upgrade Required): it may be one of ours
 * the next time.
 *
 * Each change of state is logged once: a primary that stays away, or a transaction that is refused however often it
 * comes, is not reported every second.
 */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http"
import { sleep } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import type { Pos } from "../../ltx/pos.ts"
import { DatabaseFilter } from "../../wire/database-filter.ts"
import { encodePositionMap } from "../../wire/position-map.ts"
import {
  ACKNOWLEDGE_HEADER,
  ADVERTISE_URL_HEADER,
  CATALOGUE_HEADER,
  COMPACTED_LTX_HEADER,
  DATABASES_HEADER,
  encodeLeftOut,
  HEADS_HEADER,
  headerOf,
  LEFT_OUT_HEADER,
  PROTOCOL,
  PROTOCOL_HEADER,
  PROXY_HEADER,
  protocolProblem,
  proxyUrlOf,
} from "../../wire/protocol.ts"
import {
  connectProblem,
  firstContactProblem,
  foreignProblem,
  noAnswer,
} from "../connect-problem.ts"
import { http2Request } from "../http2-request.ts"
import { BAD_DATA, CANNOT_TAKE } from "../node-problems.ts"
import { type NodeRequest, nodeRequest, type TlsMaterial } from "../node-request.ts"
import { Acknowledger, type Durable } from "./acknowledger.ts"
import { type CutOffSnapshot, extraHeaders } from "./cut-off-snapshot.ts"
import { IncomingStream, type IncomingStreamOptions, SILENCE_MS_MAX } from "./incoming-stream.ts"

const log = logger("replica")

const UPGRADE_REQUIRED = 426

const RECONNECT_MS = 500
const RECONNECT_MS_MAX = 4000

export interface ReplicaOptions extends IncomingStreamOptions {
  readonly primaryUrl: string
  readonly headers: Record<string, string>
  /**
   * For an https URL: the certificate that this node shows, and the authorities that it trusts. Read for every
   * connection.
   */
  tls?(): TlsMaterial
  /** Undefined: over the network. */
  readonly request?: NodeRequest
  /** Databases that take nothing for now. */
  leftOut?(): readonly string[]
  positions(): ReadonlyMap<string, Pos>
  /** For a primary that wants to know; it need not be where readers are. */
  readonly durable?: Durable
  /** A connection is up, or has ended: the name is then undefined. */
  onPrimary(name: string | undefined): void
  /** Told before onPrimary(): the URL at which others reach the primary. */
  onUrl?(url: string): void
  /** Told before onPrimary(): the URL of the primary's proxy; undefined when it has none. */
  onProxy?(url: string | undefined): void
  /** A node has answered, with a stream or with something else. Throws when this node must not follow it. */
  onAnswer?(headers: IncomingHttpHeaders, isStream: boolean): void
  /** Why this node is not connected to `url`, or cannot go on; undefined when it is where the primary is. */
  onProblem?(problem: string | undefined, url: string): void
  /** An attempt to reach `primaryUrl` has failed: the next one may go elsewhere. */
  moveOn?(): void
  /** Checks and keeps the cluster id of the primary. Throws when it belongs to another cluster. */
  onClusterId(id: string): void
}

export class Replica {
  readonly #options: ReplicaOptions
  readonly #ready = Promise.withResolvers<void>()
  readonly #abort = new AbortController()
  readonly #done: Promise<void>
  #response: IncomingMessage | undefined
  /** By the URL, since this node was where the primary was; errors as they were thrown. */
  readonly #problems = new Map<string, string>()
  readonly #errors = new Map<string, string>()
  #answered: string | undefined // the last URL at which LiteFS has answered
  #failureCount = 0 // since a connection brought something
  #isAnnounced = false // whether the connection was announced
  /** A snapshot that a broken connection has cut off. */
  #cutOff: CutOffSnapshot | undefined

  constructor(options: ReplicaOptions) {
    this.#options = options
    this.#done = this.#run()
  }

  /** Resolves when this node has been where its primary was. */
  get ready(): Promise<void> {
    return this.#ready.promise
  }

  /** Tells the primary anew where this node is. */
  reconnect(): void {
    this.#response?.destroy(new LitefsError("unavailable", "connecting anew"))
  }

  async close(): Promise<void> {
    this.#abort.abort()
    await this.#done
    if (this.#cutOff !== undefined) this.#options.sink.abort(this.#cutOff.file)
  }

  async #run(): Promise<void> {
    const { clock } = this.#options
    const { signal } = this.#abort
    while (!signal.aborted) {
      const url = this.#options.primaryUrl
      try {
        await this.#follow(signal)
        this.#report(url, new LitefsError("unavailable", "the primary ended the stream"))
      } catch (error) {
        const isSentOn = this.#options.primaryUrl !== url
        if (!signal.aborted && !isSentOn) void this.#explain(url, error) // the next attempt does not wait for it
      }
      this.#options.onPrimary(undefined)
      if (this.#options.primaryUrl !== url) continue // it has told where to go
      this.#options.moveOn?.()
      const longestMs = Math.min(RECONNECT_MS * 2 ** this.#failureCount, RECONNECT_MS_MAX)
      this.#failureCount += 1
      const pauseMs = longestMs * (0.5 + clock.random())
      await sleep(clock, pauseMs, signal).catch(() => {})
    }
  }

  /** Does not examine the same error again. */
  async #explain(url: string, error: unknown): Promise<void> {
    const message = messageOf(error)
    if (message === this.#errors.get(url)) return
    remember(this.#errors, url, message)
    const isKnown = this.#answered === url
    const explain = isKnown ? connectProblem : firstContactProblem
    const problem = await explain(url, error)
    // Unless it is connected by now, or there is another problem, or it no longer follows.
    if (this.#errors.get(url) === message && !this.#abort.signal.aborted) this.#report(url, problem)
  }

  #report(url: string, error: LitefsError): void {
    const problem = error.message
    if (problem === this.#problems.get(url)) return
    remember(this.#problems, url, problem)
    this.#isAnnounced = false
    const what = isOurs(error)
      ? CANNOT_TAKE
      : isBadData(error)
        ? `the primary ${BAD_DATA}`
        : "not connected to the primary"
    const who = isBadData(error) ? `the primary at ${url} ${BAD_DATA}` : what
    this.#options.onProblem?.(`${who}: ${problem}`, url)
    // A problem that only a setting solves is an error.
    log[error.code === "usage" ? "error" : "warn"](`${what}, trying again`, {
      url,
      problem,
    })
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const response = await this.#connect(signal)
    this.#response = response
    const connection = new IncomingStream(this.#options, this.#cutOff, {
      onApplied: () => {
        this.#failureCount = 0
      },
      onReady: () => {
        this.#failureCount = 0
        this.#problems.clear()
        this.#options.onProblem?.(undefined, this.#options.primaryUrl)
        this.#errors.clear()
        this.#ready.resolve()
      },
    })
    this.#cutOff = undefined
    let acknowledger: Acknowledger | undefined
    try {
      const clusterId = headerOf(response.headers, "litefs-cluster-id")
      if (clusterId !== undefined) this.#options.onClusterId(clusterId)
      const name = hostnameOf(response) ?? new URL(this.#options.primaryUrl).hostname
      if (!this.#isAnnounced) {
        log.info("connected to the primary", { url: this.#options.primaryUrl, primary: name })
      }
      this.#isAnnounced = true
      const { primaryUrl, onProxy, onUrl } = this.#options
      onUrl?.(headerOf(response.headers, ADVERTISE_URL_HEADER) ?? primaryUrl)
      onProxy?.(proxyUrlOf(headerOf(response.headers, PROXY_HEADER), primaryUrl))
      this.#options.onPrimary(name)
      acknowledger = this.#acknowledge(response)
      await connection.read(response)
    } catch (error) {
      // Bytes that cannot be decoded.
      if (!(error instanceof RangeError)) throw error
      throw new LitefsError("invalid", error.message, { cause: error })
    } finally {
      acknowledger?.close()
      this.#cutOff = connection.close()
      response.destroy()
      await connection.settled(signal)
    }
  }

  /** Undefined when the primary does not wait for replicas. */
  #acknowledge({ headers: answered }: IncomingMessage): Acknowledger | undefined {
    const { durable, primaryUrl, headers, tls, request, clock } = this.#options
    const token = headerOf(answered, ACKNOWLEDGE_HEADER)
    if (token === undefined || durable === undefined) return undefined
    return new Acknowledger({
      ...{ clock, primaryUrl, token, headers, durable },
      ...(tls === undefined ? {} : { tls: () => tls() }),
      ...(request === undefined ? {} : { request }),
    })
  }

  async #connect(signal: AbortSignal): Promise<IncomingMessage> {
    const { primaryUrl, clock, request = nodeRequest } = this.#options
    const response = await this.#request(signal, request)
    const wantsHttp2 = response.statusCode === UPGRADE_REQUIRED && primaryUrl.startsWith("http:")
    if (!wantsHttp2) return this.#accept(response)
    response.destroy()
    return this.#accept(
      await this.#request(signal, (url, options) => http2Request(url, options, clock)),
    )
  }

  async #request(signal: AbortSignal, makeRequest: NodeRequest): Promise<IncomingMessage> {
    const { primaryUrl, headers, tls, clock, leftOut } = this.#options
    const databases = this.#options.databases ?? DatabaseFilter.all
    const positions = [...this.#options.positions()].filter(([name]) => databases.matches(name))
    const body = encodePositionMap(new Map(positions))
    const url = new URL("/stream", primaryUrl)
    if (databases.names !== undefined) url.searchParams.set("filter", databases.names.join(","))
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
    const allHeaders = {
      ...headers,
      ...wantsHeaders(databases, leftOut?.() ?? []),
      ...extraHeaders(this.#cutOff),
      "Content-Length": body.length,
    }
    const options = { method: "POST", headers: allHeaders, signal, agent: false }
    const request = makeRequest(url, options, url.protocol === "https:" ? tls?.() : undefined)
    const cancel = clock.after(SILENCE_MS_MAX, () => request.destroy(noAnswer(url)))
    request.on("response", resolve)
    request.on("error", reject)
    request.end(body)
    return promise.finally(cancel)
  }

  /** Throws for a response that is no stream. */
  async #accept(response: IncomingMessage): Promise<IncomingMessage> {
    const { primaryUrl } = this.#options
    try {
      const foreign = foreignProblem(response.headers, response.statusCode ?? 0)
      if (foreign !== undefined) throw foreign
      this.#answered = primaryUrl
      this.#options.onAnswer?.(response.headers, response.statusCode === 200)
    } catch (error) {
      response.destroy()
      throw error
    }
    if (response.statusCode === 200) {
      const problem = protocolProblem(headerOf(response.headers, PROTOCOL_HEADER))
      if (problem === undefined) return response
      response.destroy()
      throw new LitefsError("unavailable", problem)
    }
    const text = await this.#readText(response)
    const problem =
      text === "lease expired"
        ? "it is a replica, and not connected to a primary itself"
        : `it answered ${response.statusCode}: ${text}`
    throw new LitefsError("unavailable", problem)
  }

  /** What has come when the answer ends, is too long, or has taken too long: nobody has to end it. */
  async #readText(response: IncomingMessage): Promise<string> {
    let text = ""
    const cancel = this.#options.clock.after(SILENCE_MS_MAX, () => response.destroy())
    try {
      for await (const part of response) {
        text += String(part)
        if (text.length > ERROR_SIZE_MAX) break
      }
    } catch {
      // The status has come.
    } finally {
      cancel()
    }
    return text.slice(0, ERROR_SIZE_MAX).trim()
  }
}

const ERROR_SIZE_MAX = 4096

const REMEMBERED_MAX = 64

/** Other nodes tell this one URLs, of which there may be any number. */
function remember(texts: Map<string, string>, url: string, text: string): void {
  if (texts.size >= REMEMBERED_MAX) texts.clear()
  texts.set(url, text)
}

/** Whether the fault lies with this node, while its link to the primary is well. */
function isOurs({ code }: LitefsError): boolean {
  return code === "no-space" || code === "io"
}

/** Whether the primary was reached, and has sent bytes that cannot be right. */
function isBadData({ code }: LitefsError): boolean {
  return code === "invalid" || code === "name-invalid" || code === "position-mismatch"
}

/** What this node understands, and which databases it wants. */
function wantsHeaders(
  databases: DatabaseFilter,
  leftOut: readonly string[],
): Record<string, string> {
  return {
    [PROTOCOL_HEADER]: PROTOCOL,
    [COMPACTED_LTX_HEADER]: "1",
    [HEADS_HEADER]: "1",
    [CATALOGUE_HEADER]: "1",
    ...(leftOut.length === 0 ? {} : { [LEFT_OUT_HEADER]: encodeLeftOut(leftOut) }),
    ...(databases.isAll ? {} : { [DATABASES_HEADER]: databases.encode() }),
  }
}

/** The content of `.primary`, a file of one line. */
function hostnameOf(response: IncomingMessage): string | undefined {
  const name = headerOf(response.headers, "litefs-hostname")
  return name !== undefined && /^[^\s\p{Cc}]{1,255}$/u.test(name) ? name : undefined
}
