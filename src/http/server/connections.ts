/**
 * The connections of the API's listeners:
 *
 *   idle ── a request ──▶ asking ── keep(): it has a place of its own (crowd.ts) ──▶ kept
 *    ▲ └── HEAD_MS_MAX, KEEP_ALIVE_MS ──▶ broken                                       │
 *    └──────────────────────── the response is whole ─────────────────────────────────┘
 *
 * When there are too many, idle ones give way to who comes, and then those that have asked for ASKING_MS; those that
 * are kept never. All places of the crowd together are fewer than the connections.
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import type { Server, Socket } from "node:net"
import type { Clock } from "../../lib/clock.ts"
import { logger } from "../../lib/log.ts"
import { ConnectionRoom } from "../../sys/net/connection-room.ts"
import type { Guest } from "../../sys/net/room.ts"
import { senderOf } from "./request-log.ts"

const log = logger("http")

export const CONNECTION_COUNT_MAX = 2048
const DESCRIPTORS_LEFT = 8

/** Until the head of the first request is there, after the connection, and its handshake. */
const HEAD_MS_MAX = 10_000
export const KEEP_ALIVE_MS = 30_000
/** Who is answered later than this waits for something. */
const ASKING_MS = 10_000

export class Connections {
  readonly #room: ConnectionRoom<Connection>
  readonly #connections = new WeakMap<Socket, Connection>()
  readonly #clock: Clock

  constructor(clock: Clock, countMax = CONNECTION_COUNT_MAX) {
    this.#clock = clock
    const room = { countMax, descriptorsLeft: DESCRIPTORS_LEFT, takesLast: true, clock, log }
    this.#room = new ConnectionRoom(room)
    this.#room.watch((nowMs) => {
      for (const connection of [...this.#room]) connection.check(nowMs)
    })
  }

  /** Of a server that has not begun to listen. */
  watch(server: Server): void {
    server.on("connection", (socket: Socket) => {
      const connection = new Connection(socket, this.#clock)
      const { from } = senderOf({ headers: {}, socket })
      if (!this.#room.enter(connection, from)) return void socket.destroy()
      this.#connections.set(socket, connection)
      socket.once("close", () => this.#room.leave(connection))
    })
  }

  requested({ socket }: IncomingMessage, response: ServerResponse): void {
    const connection = this.#connections.get(socket)
    connection?.began()
    response.once("close", () => connection?.answered())
  }

  keep({ socket }: IncomingMessage): void {
    this.#connections.get(socket)?.keep()
  }

  close(): void {
    this.#room.close()
  }
}

class Connection implements Guest {
  readonly #socket: Socket
  readonly #clock: Clock
  #sinceMs: number // of what it does
  #requestCount = 0 // that are not answered
  #hasAsked = false
  #isKept = false

  constructor(socket: Socket, clock: Clock) {
    this.#socket = socket
    this.#clock = clock
    this.#sinceMs = clock.monotonicMs()
  }

  get idleSinceMs(): number | undefined {
    if (this.#isKept) return undefined
    return this.#requestCount === 0 ? this.#sinceMs : this.#sinceMs + ASKING_MS
  }

  giveWay(): void {
    this.#socket.destroy()
  }

  check(nowMs: number): void {
    const limitMs = this.#hasAsked ? KEEP_ALIVE_MS : HEAD_MS_MAX
    if (this.#requestCount === 0 && nowMs - this.#sinceMs > limitMs) this.#socket.destroy()
  }

  began(): void {
    this.#hasAsked = true
    this.#requestCount += 1
    this.#sinceMs = this.#clock.monotonicMs()
  }

  keep(): void {
    this.#isKept = true
  }

  answered(): void {
    this.#requestCount -= 1
    this.#isKept &&= this.#requestCount > 0
    this.#sinceMs = this.#clock.monotonicMs()
  }
}
