/**
 * A server that takes requests: the application, or the proxy of the primary. Connections to it are kept and reused,
 * the last used first.
 *
 *   connecting ──▶ busy ── response whole, release() ──▶ idle ── take() ──▶ busy
 *                   └── broken, or not to be used again ──▶ closed ◀── closed by the server, or too old
 */
import type { Clock } from "../lib/clock.ts"
import { LitefsError } from "../lib/errors.ts"
import { inTime } from "../lib/until.ts"
import { type TcpAddress, TcpConnection } from "../sys/net/tcp.ts"
import { UpstreamConnection } from "./upstream-connection.ts"

const CONNECT_MS_MAX = 3000
const IDLE_COUNT_MAX = 128

export class Upstream {
  readonly address: TcpAddress
  readonly #clock: Clock
  readonly #idle: UpstreamConnection[] = []
  readonly #all = new Set<UpstreamConnection>()
  #isClosed = false

  constructor(address: TcpAddress, clock: Clock) {
    this.address = address
    this.#clock = clock
  }

  /** A connection that is already open. */
  take(): UpstreamConnection | undefined {
    const nowMs = this.#clock.monotonicMs()
    for (;;) {
      const connection = this.#idle.pop()
      if (connection === undefined) return undefined
      if (connection.isUsable && nowMs < connection.usableUntilMs) return connection
      connection.close()
    }
  }

  /** Rejects when nobody listens there, or nobody answers in time. */
  async connect(): Promise<UpstreamConnection> {
    const { host, port } = this.address
    const late = () => {
      return new LitefsError("unavailable", `Cannot connect to ${host}:${port}: no answer`)
    }
    const connecting = TcpConnection.connect(this.address)
    try {
      const limit = { clock: this.#clock, limitMs: CONNECT_MS_MAX }
      return this.#add(await inTime(connecting, limit, late))
    } catch (error) {
      connecting.then((tcp) => tcp.destroy()).catch(() => {})
      throw error
    }
  }

  /** Takes back a connection on which a response has ended. */
  release(connection: UpstreamConnection): void {
    if (this.#isClosed || !connection.isUsable || this.#idle.length >= IDLE_COUNT_MAX) {
      connection.close()
      return
    }
    connection.usableUntilMs = this.#clock.monotonicMs() + connection.keepAliveMs
    this.#idle.push(connection)
  }

  close(): void {
    this.#isClosed = true
    for (const connection of [...this.#all]) connection.close()
  }

  #add(tcp: TcpConnection): UpstreamConnection {
    const connection = new UpstreamConnection(tcp, () => this.#all.delete(connection))
    this.#all.add(connection)
    if (this.#isClosed) connection.destroy()
    return connection
  }
}
