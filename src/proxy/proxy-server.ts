/**
 * The proxy of a node: an HTTP/1.1 server in front of the application. A client reads its own writes on whichever node
 * it lands, and can write on any.
 *
 *   client ──▶ ClientConnection ──▶ Exchange ── Route ──▶ application (Upstream)
 *                                                   └──▶ proxy of the primary (Upstream)
 *
 * The proxy speaks HTTP itself, without a library: bodies then only have to be framed. They pass through as bytes, with
 * their chunks, trailers and compression, and anything doubtful is refused before somebody can read it in another way.
 * The connections of clients share one timer and one room (sys/net/connection-room.ts).
 */
import type { Clock } from "../lib/clock.ts"
import { logger } from "../lib/log.ts"
import type { MetricFamily } from "../lib/metrics.ts"
import type { ProxyOptions } from "../litefs-options.ts"
import { ConnectionRoom } from "../sys/net/connection-room.ts"
import { type TcpConnection, TcpListener } from "../sys/net/tcp.ts"
import { ClientConnection } from "./client-connection.ts"
import type { ProxyCluster } from "./cluster.ts"
import type { ProxyContext } from "./context.ts"
import { PathPatterns } from "./path-pattern.ts"
import { PositionWaiters } from "./position-waiters.ts"
import { ProxyCounters } from "./proxy-counters.ts"
import { RunningWrites } from "./running-writes.ts"
import { TrackedDatabases } from "./tracked-databases.ts"
import { Upstream } from "./upstream.ts"

const log = logger("proxy")

/** Of clients. WebSockets may be many. */
const CONNECTION_COUNT_MAX = 16_384
/** For the node itself, and for its API. */
const DESCRIPTORS_LEFT = 64

export class ProxyServer {
  readonly port: number
  readonly #listener: TcpListener
  readonly #context: ProxyContext
  readonly #connections: ConnectionRoom<ClientConnection>
  readonly #proxies = new Map<string, Upstream>()
  #isClosing = false
  #isApplicationMissing = false

  constructor(
    options: ProxyOptions,
    cluster: ProxyCluster,
    clock: Clock,
    countMax = CONNECTION_COUNT_MAX,
  ) {
    const counters = new ProxyCounters(options.isDebugging)
    this.#context = {
      clock,
      cluster,
      options,
      tracked: new TrackedDatabases(options.databases, cluster),
      waiters: new PositionWaiters(cluster, clock),
      writes: new RunningWrites(clock),
      passthrough: new PathPatterns(options.passthrough),
      alwaysForward: new PathPatterns(options.alwaysForward),
      counters,
      application: new Upstream(options.target, clock),
      proxyAt: (url) => this.#proxyAt(url),
      isClosing: () => this.#isClosing,
      noteApplication: (answers) => this.#noteApplication(answers),
      countRefusal: (...refusal) => counters.refused(...refusal),
    }
    const room = { countMax, descriptorsLeft: DESCRIPTORS_LEFT, takesLast: false, sparesBusy: true }
    const connections = new ConnectionRoom<ClientConnection>({ ...room, clock, log })
    this.#connections = connections
    const accept = (tcp: TcpConnection) => {
      const connection = new ClientConnection(tcp, this.#context, () =>
        connections.leave(connection),
      )
      if (!connections.enter(connection, connection.address)) tcp.destroy()
    }
    this.#listener = new TcpListener(options.address, accept, "choose another --proxy-addr")
    this.port = this.#listener.port
    connections.watch((nowMs) => {
      for (const connection of [...connections]) connection.checkDeadline(nowMs)
    })
  }

  *families(): Generator<MetricFamily> {
    const { counters, waiters } = this.#context
    yield* counters.families(this.#connections.size, waiters.count)
  }

  /** Resolves when the application does no write, or after the limit, with how many it still does. */
  settled(limitMs: number): Promise<number> {
    return this.#context.writes.settled(limitMs)
  }

  /** Breaks remaining connections. */
  close(): void {
    this.#isClosing = true
    this.#connections.close()
    this.#listener.close()
    for (const { tcp } of [...this.#connections]) tcp.destroy()
    this.#context.waiters.close()
    this.#context.application.close()
    for (const upstream of this.#proxies.values()) upstream.close()
  }

  /** One line per change. */
  #noteApplication(answers: boolean): void {
    if (answers !== this.#isApplicationMissing) return
    this.#isApplicationMissing = !answers
    const { host, port } = this.#context.options.target
    if (answers) log.info(`the application answers again at ${host}:${port}`)
    else log.warn(`the application does not answer at ${host}:${port}, see --proxy-target`)
  }

  #proxyAt(url: string): Upstream {
    const known = this.#proxies.get(url)
    if (known !== undefined) return known
    const { hostname, port } = new URL(url)
    const host = hostname.replace(/^\[(.*)\]$/, "$1")
    const upstream = new Upstream({ host, port: Number(port || 80) }, this.#context.clock)
    this.#proxies.set(url, upstream)
    return upstream
  }
}
