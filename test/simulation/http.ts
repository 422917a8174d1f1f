/**
 * HTTP over the simulated network, as far as nodes use it: what `node:http` gives a client and a handler, without
 * sockets. A connection has one request, and is closed after its answer.
 */
import { EventEmitter } from "node:events"
import type { ClientRequest, IncomingMessage, RequestOptions, ServerResponse } from "node:http"
import type { NodeRequest } from "../../src/cluster/node-request.ts"
import { Channel, type Network } from "./network.ts"
import type { Process } from "./scheduler.ts"

/** Bytes under way from which on a writer has to wait. */
const HIGH_WATER_SIZE = 64 * 1024

function failure(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}

/** At the server. */
function reset(): Error {
  return failure("ECONNRESET", "aborted")
}

/** At the client, which takes another code for a server that may speak TLS, and tries that over the real network. */
function aborted(): Error {
  return failure("ECONNABORTED", "aborted")
}

/** What has come of a body, and is read once. */
class Body extends EventEmitter {
  headers: Record<string, string> = {}
  rawHeaders: string[] = []
  method = ""
  url = ""
  statusCode = 0
  complete = false
  destroyed = false
  socket: object | undefined
  readonly #parts: Uint8Array[] = []
  readonly #break: (error: Error | undefined) => void
  #failure: Error | undefined
  #wake: (() => void) | undefined
  #hasClosed = false

  /** `onDestroy`: its reader wants no more of the connection. */
  constructor(onDestroy: (error: Error | undefined) => void) {
    super()
    this.#break = onDestroy
  }

  push(bytes: Uint8Array): void {
    this.#parts.push(bytes)
    this.#wake?.()
  }

  end(): void {
    this.complete = true
    this.#wake?.()
  }

  fail(error: Error): void {
    if (!this.complete) this.#failure ??= error
    this.destroyed = true
    this.#wake?.()
    this.closed()
  }

  closed(): void {
    if (this.#hasClosed) return
    this.#hasClosed = true
    queueMicrotask(() => this.emit("close"))
  }

  destroy(error?: Error): this {
    if (this.destroyed) return this
    this.destroyed = true
    this.#failure ??= error ?? (this.complete ? undefined : reset())
    this.#wake?.()
    this.#break(error)
    return this
  }

  resume(): this {
    return this
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure
      const part = this.#parts.shift()
      if (part !== undefined) yield part
      else if (this.complete) return
      else {
        const { promise, resolve } = Promise.withResolvers<void>()
        this.#wake = resolve
        await promise
      }
    }
  }
}

/** A connection of a client to a server, as both ends and the network see it. */
class Connection {
  readonly network: Network
  readonly client: Process
  server: Process | undefined
  readonly up: Channel
  readonly down: Channel
  onClient: { reset(error: Error): void; room(): void } | undefined
  onServer: { reset(): void; room(): void } | undefined

  constructor(network: Network, client: Process, [from, to]: readonly [string, string]) {
    this.network = network
    this.client = client
    this.up = new Channel(
      network,
      [from, to],
      () => this.atClient(() => this.onClient?.reset(failure("ETIMEDOUT", "timed out"))),
      () => this.atClient(() => this.onClient?.room()),
    )
    this.down = new Channel(
      network,
      [to, from],
      () => this.atServer(() => this.onServer?.reset()),
      () => this.atServer(() => this.onServer?.room()),
    )
  }

  atClient(act: () => void): void {
    this.client.run(act)
  }

  atServer(act: () => void): void {
    this.server?.run(act)
  }

  toClient(act: () => void, size = 0): void {
    this.down.send(() => {
      if (this.client.isAlive) return this.atClient(act)
      this.up.send(() => this.atServer(() => this.onServer?.reset()))
    }, size)
  }

  toServer(act: () => void, size = 0): void {
    this.up.send(() => {
      if (this.server?.isAlive) return this.atServer(act)
      this.down.send(() => this.atClient(() => this.onClient?.reset(aborted())))
    }, size)
  }
}

/** Every connection of a process ends with it. */
export class Connections {
  readonly #open = new Map<Connection, Process>()

  add(connection: Connection, process: Process): void {
    this.#open.set(connection, process)
  }

  delete(connection: Connection): void {
    this.#open.delete(connection)
  }

  /** The kernel tells the other ends, if the machine still can. */
  processEnded(process: Process): void {
    for (const [connection, owner] of [...this.#open]) {
      const isServer = connection.server === process
      if (owner !== process && !isServer) continue
      this.#open.delete(connection)
      if (isServer)
        connection.down.send(() => connection.atClient(() => connection.onClient?.reset(aborted())))
      else connection.up.send(() => connection.atServer(() => connection.onServer?.reset()))
    }
  }
}

/** As `ClientRequest`. */
class Request extends EventEmitter {
  destroyed = false
  readonly #connection: Connection
  readonly #connections: Connections
  readonly #url: URL
  readonly #options: RequestOptions
  #unsent: (() => void)[] | undefined = [] // before the connection is there
  #hasHead = false
  #response: Body | undefined
  #hasClosed = false

  constructor(
    network: Network,
    connections: Connections,
    client: Process,
    url: URL,
    options: RequestOptions,
  ) {
    super()
    this.#url = url
    this.#options = options
    this.#connections = connections
    const connection = new Connection(network, client, [client.name, url.hostname])
    this.#connection = connection
    connections.add(connection, client)
    connection.onClient = {
      reset: (error) => this.#broken(error),
      room: () => this.emit("drain"),
    }
    const { signal } = options
    const onAbort = () => this.destroy(signal?.reason)
    signal?.addEventListener("abort", onAbort, { once: true })
    this.once("close", () => signal?.removeEventListener("abort", onAbort))
    connection.up.send(() => this.#arrive())
  }

  /** At the server's host. */
  #arrive(): void {
    const connection = this.#connection
    const listener = connection.network.listener(this.#url.origin)
    if (listener === undefined) {
      const refused = failure("ECONNREFUSED", "connect ECONNREFUSED")
      return connection.toClient(() => this.#broken(refused))
    }
    connection.server = listener.process
    connection.toClient(() => {
      const unsent = this.#unsent ?? []
      this.#unsent = undefined
      for (const send of unsent) send()
    })
  }

  #send(act: () => void, size = 0): void {
    const send = () => this.#connection.toServer(act, size)
    if (this.#unsent === undefined) send()
    else this.#unsent.push(send)
  }

  #served: ServedRequest | undefined

  flushHeaders(): void {
    if (this.#hasHead) return
    this.#hasHead = true
    const connection = this.#connection
    this.#send(() => {
      const listener = connection.network.listener(this.#url.origin)
      if (listener === undefined || listener.process !== connection.server) return
      const served = new ServedRequest(connection, this.#connections, this.#url, this.#options, {
        head: (status, headers) => this.#answered(status, headers),
        part: (bytes) => this.#response?.push(bytes),
        end: () => this.#ended(),
      })
      this.#served = served
      listener.answer(
        served.request as unknown as IncomingMessage,
        served.response as unknown as ServerResponse,
      )
    })
  }

  setNoDelay(): void {}

  write(bytes: Uint8Array): boolean {
    this.flushHeaders()
    const copy = bytes.slice()
    this.#send(() => this.#served?.request.push(copy), copy.length)
    return this.#connection.up.size < HIGH_WATER_SIZE
  }

  end(bytes?: Uint8Array): void {
    this.flushHeaders()
    if (bytes !== undefined && bytes.length > 0) this.write(bytes)
    this.#send(() => this.#served?.request.end())
  }

  destroy(error?: Error): this {
    if (this.destroyed) return this
    this.#connection.up.send(() =>
      this.#connection.atServer(() => this.#connection.onServer?.reset()),
    )
    this.#broken(error ?? aborted())
    return this
  }

  #answered(status: number, headers: Record<string, string>): void {
    if (this.destroyed) return
    const response = new Body((error) => this.destroy(error))
    response.statusCode = status
    response.headers = headers
    this.#response = response
    this.emit("response", response)
  }

  #ended(): void {
    this.#response?.end()
    this.#response?.closed()
    this.#close()
  }

  #broken(error: Error): void {
    if (this.destroyed || this.#hasClosed) return
    this.destroyed = true
    if (this.#response !== undefined) this.#response.fail(error)
    else queueMicrotask(() => this.emit("error", error))
    this.#close()
  }

  #close(): void {
    if (this.#hasClosed) return
    this.#hasClosed = true
    this.destroyed = true
    this.#connections.delete(this.#connection)
    queueMicrotask(() => this.emit("close"))
  }
}

/** What the client hears. */
interface Answered {
  head(status: number, headers: Record<string, string>): void
  part(bytes: Uint8Array): void
  end(): void
}

/** A request and its response, as the handler has them. */
class ServedRequest {
  readonly request: Body
  readonly response: Response

  constructor(
    connection: Connection,
    connections: Connections,
    url: URL,
    { method = "GET", headers = {} }: RequestOptions,
    client: Answered,
  ) {
    const close = () => {
      connections.delete(connection)
      this.request.fail(reset())
      this.response.closed()
    }
    const breakOff = () => {
      if (this.response.destroyed) return
      connection.toClient(() => connection.onClient?.reset(aborted()))
      close()
    }
    this.request = new Body(breakOff)
    this.response = new Response(connection, client, breakOff, close)
    this.request.method = method
    this.request.url = url.pathname + url.search
    for (const [name, value] of Object.entries(headers)) {
      this.request.headers[name.toLowerCase()] = String(value)
    }
    this.request.socket = {
      remoteAddress: connection.client.name,
      localAddress: url.hostname,
      destroyed: false,
      destroy: breakOff,
    }
    connection.onServer = { reset: close, room: () => this.response.emit("drain") }
  }
}

/** As `ServerResponse`. */
class Response extends EventEmitter {
  statusCode = 200
  headersSent = false
  destroyed = false
  writableFinished = false
  readonly #connection: Connection
  readonly #client: Answered
  readonly #breakOff: () => void
  readonly #close: () => void
  readonly #headers: Record<string, string> = {}

  constructor(connection: Connection, client: Answered, breakOff: () => void, close: () => void) {
    super()
    this.#connection = connection
    this.#client = client
    this.#breakOff = breakOff
    this.#close = close
  }

  get writableNeedDrain(): boolean {
    return !this.destroyed && this.#connection.down.size >= HIGH_WATER_SIZE
  }

  setHeader(name: string, value: unknown): this {
    this.#headers[name.toLowerCase()] = String(value)
    return this
  }

  getHeader(name: string): string | undefined {
    return this.#headers[name.toLowerCase()]
  }

  writeHead(status: number, headers: Record<string, unknown> = {}): this {
    for (const [name, value] of Object.entries(headers)) this.setHeader(name, value)
    this.headersSent = true
    const sent = { ...this.#headers }
    if (!this.destroyed) this.#connection.toClient(() => this.#client.head(status, sent))
    return this
  }

  flushHeaders(): void {
    if (!this.headersSent) this.writeHead(this.statusCode)
  }

  write(part: Uint8Array | string): boolean {
    this.flushHeaders()
    if (this.destroyed) return false
    const bytes = Buffer.from(part as Uint8Array)
    this.#connection.toClient(() => this.#client.part(bytes), bytes.length)
    return !this.writableNeedDrain
  }

  end(part?: Uint8Array | string): this {
    if (this.destroyed) return this
    if (part !== undefined && part.length > 0) this.write(part)
    this.flushHeaders()
    this.writableFinished = true
    this.#connection.toClient(() => this.#client.end())
    this.#close()
    return this
  }

  destroy(): this {
    this.#breakOff()
    return this
  }

  closed(): void {
    if (this.destroyed) return
    this.destroyed = true
    queueMicrotask(() => this.emit("close"))
  }
}

/** How a process of the simulation makes requests. */
export function requestsOf(
  network: Network,
  connections: Connections,
  client: Process,
): NodeRequest {
  return (url, options) =>
    new Request(network, connections, client, url, options) as unknown as ClientRequest
}
