/**
 * The API of a node: HTTP/1.1, with TLS when there is a certificate, else beside HTTP/2 (plain-listener.ts); one table
 * of routes.
 *
 *   connection ─▶ TLS handshake ─▶ request ─▶ no web page ─▶ token ─▶ route ─▶ handler
 *   Unix socket ─────────────────────────────────▲    │        └ not asked for: the file's permissions are the door
 *                                                     └ a browser opens the status page, which holds nothing of a node
 *
 * A request without the token of the node learns nothing else, not even which routes exist. Handlers throw; an error becomes
 * a status and a line of text here. After a handler has begun its response, an error can only break the connection.
 */
import { rmSync } from "node:fs"
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http"
import type { AddressInfo, Socket } from "node:net"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import type { ListenAddress } from "../../litefs-options.ts"
import { bindPrivately } from "../../sys/net/local-socket.ts"
import { listenReason } from "../../sys/net/tcp.ts"
import { Connections, KEEP_ALIVE_MS } from "./connections.ts"
import { Crowd } from "./crowd.ts"
import { holdBack } from "./handed-over.ts"
import { PlainListener } from "./plain-listener.ts"
import { RequestLog, senderOf } from "./request-log.ts"
import { answerOf, statusOf } from "./status.ts"
import type { TlsFiles } from "./tls-files.ts"
import { TlsListener } from "./tls-listener.ts"
import { TokenDoor } from "./token-door.ts"
import { opensPage, refuseWebPage } from "./web-page.ts"

export type Handler = (
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
) => void | Promise<void>

export type Routes = Record<string, Partial<Record<string, Handler>>> // path → method → handler

export interface ApiServerOptions {
  /** Headers of every response. */
  readonly headers: Record<string, string>
  /** Headers of every response, evaluated when it begins: its handler may have waited long. */
  changingHeaders?(): Record<string, string>
  /** An authorized request has come to a path, from an address. */
  onRequest?(headers: IncomingHttpHeaders, path: string, from: string | undefined): void
  /** Whether a request for a host of this name, in lower case, means this node. */
  isOwnName?(name: string): boolean
  /** Answers a browser that opens the status page, which has not shown the token; undefined: there is no such page. */
  answerPage?(response: ServerResponse): void
  /** The token that every request has to show; undefined: none. */
  readonly authToken: string | undefined
  readonly tls: TlsFiles | undefined
  readonly clock: Clock
}

const log = logger("http")

const LINGER_MS = 2000

export class ApiServer {
  /** Has a request answered, as if it had come over a connection. */
  readonly answer: RequestListener
  readonly #listener: PlainListener | TlsListener
  readonly #local: Server
  readonly #connections: Connections
  readonly #localConnections: Connections
  #localPath: string | undefined

  constructor(routes: Routes, options: ApiServerOptions) {
    const { tls, clock, authToken } = options
    const door = authToken === undefined ? undefined : new TokenDoor(authToken, clock)
    const connections = new Connections(clock)
    const localConnections = new Connections(clock)
    const crowd = new Crowd(clock)
    const failures = new RequestLog("http", clock)
    this.#connections = connections
    this.#localConnections = localConnections
    const answer = listenerOf(routes, options, { connections, crowd, failures, door })
    this.answer = answer
    const http = serverOf((request, response) => {
      holdBack(request, response)
      void answer(request, response)
    })
    const local = { connections: localConnections, crowd, failures, door: undefined }
    this.#local = serverOf(listenerOf(routes, options, local))
    this.#listener = tls?.hasCertificate
      ? new TlsListener(tls, clock, http)
      : new PlainListener({ http, connections, answer, clock })
  }

  /** Returns the port, which the system chooses for port 0. */
  async listen({ host, port }: ListenAddress): Promise<number> {
    const listener = this.#listener.server
    this.#connections.watch(listener)
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    listener.once("error", reject)
    if (host === "") listener.listen(port, resolve)
    else listener.listen(port, host, resolve)
    try {
      await promise
    } catch (error) {
      throw new LitefsError(
        "unavailable",
        `Cannot listen on ${host}:${port}: ${listenReason(host, error)}, choose another --http-addr`,
        { cause: error },
      )
    }
    listener.removeAllListeners("error")
    listener.on("error", (error) => log.error("server", { error }))
    return (listener.address() as AddressInfo).port
  }

  /** Listens at a Unix socket too, for processes of this user, without TLS and without a token. */
  async listenLocally(path: string): Promise<void> {
    this.#localConnections.watch(this.#local)
    await bindPrivately(path, async (bound) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      this.#local.once("error", reject)
      this.#local.listen(bound, resolve)
      await promise
      this.#local.removeAllListeners("error")
    })
    this.#localPath = path
  }

  /** Breaks remaining connections. */
  async close(): Promise<void> {
    this.#connections.close()
    this.#localConnections.close()
    if (this.#localPath !== undefined) {
      rmSync(this.#localPath, { force: true })
      await closeServer(this.#local)
    }
    await this.#listener.close()
  }
}

/** What a request passes before it comes to its handler, and where its failure is told. */
interface Way {
  readonly connections: Connections
  readonly crowd: Crowd
  readonly failures: RequestLog
  readonly door: TokenDoor | undefined
}

/** Resolves when a request is no longer worked on. */
type Answer = (...exchange: Parameters<RequestListener>) => Promise<void>

function listenerOf(routes: Routes, options: ApiServerOptions, way: Way): Answer {
  const { headers, clock } = options
  return async (request, response) => {
    if (!way.connections.requested(request, response)) return
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
    const { socket } = request // undefined once its client has gone
    const sender = senderOf(request)
    await dispatch(routes, options, way, request, response).catch((error) => {
      if (!request.complete) dropBody(request, socket, clock)
      // Who has the beginning of an answer cannot be told any more, and looks here.
      if (isDefect(error) || (response.headersSent && socket?.destroyed === false)) {
        const path = request.url?.replace(/\?.*/, "").slice(0, 100)
        way.failures.say("error", "request failed", sender, { path, error })
      }
      fail(response, error)
    })
  }
}

function serverOf(answer: RequestListener): Server {
  const server = createServer(answer)
  server.keepAliveTimeout = KEEP_ALIVE_MS
  server.requestTimeout = 0 // a stream's request is over long before its response
  return server
}

async function closeServer(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeAllConnections()
  await closed
}

async function dispatch(
  routes: Routes,
  { changingHeaders, onRequest, isOwnName = () => false, answerPage }: ApiServerOptions,
  { connections, crowd, door }: Way,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.httpVersion === "1.1" && request.headers.host === undefined) {
    return answer(response, 400, "bad request: there is no Host")
  }
  refuseWebPage(request, isOwnName)
  const page = opensPage(request) ? answerPage : undefined
  if (page === undefined) await door?.enter(request)
  if (!isReadable(request.headers)) {
    response.setHeader("Connection", "close") // the end of the request is unknown
    return answer(response, 501, "the only Transfer-Encoding understood here is chunked")
  }
  if (page !== undefined) return page(response)
  const url = urlOf(request.url ?? "/")
  // Refused clients, too, learn who is the primary.
  if (changingHeaders !== undefined) beginWith(response, changingHeaders)
  onRequest?.(request.headers, url.pathname, senderOf(request).from)
  const methods = routes[url.pathname]
  if (methods === undefined) return answer(response, 404, notFound(url.pathname))
  const handler = methods[request.method ?? ""]
  if (handler === undefined) {
    response.setHeader("Allow", Object.keys(methods).join(", "))
    return answer(response, 405, "method not allowed")
  }
  if (crowd.enter(url.pathname, request, response)) connections.keep(request)
  await handler(request, response, url)
}

/** The status page is for browsers only. */
function notFound(path: string): string {
  const rest = path === "/" ? ": open it in a browser, or get /info or /health" : ""
  return `404 page not found${rest}`
}

/** Every way to begin a response leads through writeHead(), also an implicit one. */
function beginWith(response: ServerResponse, headers: () => Record<string, string>): void {
  const writeHead = response.writeHead.bind(response) as (...words: unknown[]) => ServerResponse
  response.writeHead = (...words: unknown[]) => {
    for (const [name, value] of Object.entries(headers())) response.setHeader(name, value)
    return writeHead(...words)
  }
}

/** Throws for text that is not UTF-8, in which the library replaces characters: a name would become another. */
function urlOf(target: string): URL {
  if (!target.startsWith("/") || !URL.canParse(`http://node${target}`)) {
    throw new LitefsError("usage", "bad request")
  }
  for (const [encoded] of target.matchAll(/(?:%[0-9a-f]{2})+/gi)) {
    try {
      decodeURIComponent(encoded)
    } catch {
      const problem = "it is not UTF-8, names in a URL are UTF-8 text, percent-encoded"
      throw new LitefsError("usage", `Cannot use ${encoded.slice(0, 60)}: ${problem}`)
    }
  }
  return new URL(`http://node${target}`)
}

/** The library passes requests on even if it cannot read their bodies. */
function isReadable(headers: IncomingHttpHeaders): boolean {
  const encoding = headers["transfer-encoding"]
  return encoding === undefined || encoding.toLowerCase() === "chunked"
}

function fail(response: ServerResponse, error: unknown): void {
  const status = statusOf(error)
  if (response.headersSent) return void response.destroy()
  if (status === 401) response.setHeader("WWW-Authenticate", "Bearer")
  answer(response, status, answerOf(error))
}

/** Whether the log must tell it: not when the client broke the connection before its request was complete. */
function isDefect(error: unknown): boolean {
  if ((error as NodeJS.ErrnoException | undefined)?.code === "ECONNRESET") return false
  return statusOf(error) === 500 || (statusOf(error) > 500 && answerOf(error) !== messageOf(error))
}

/** Unread data causes a reset, which could overtake the response. A client that sends on and on gets one. */
function dropBody(request: IncomingMessage, socket: Socket, clock: Clock): void {
  request.resume()
  clock.after(LINGER_MS, () => {
    if (!request.complete) socket.destroy()
  })
}

function answer(response: ServerResponse, status: number, text: string): void {
  response.statusCode = status
  response.setHeader("Content-Type", "text/plain; charset=utf-8")
  response.end(`${text}\n`)
}
