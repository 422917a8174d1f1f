/**
 * The connections of the API's listeners:
 *
 *   idle ── a request ──▶ asking ── keep(): it has a place of its own (crowd.ts) ──▶ kept
 *    ▲ └── HEAD_MS_MAX, KEEP_ALIVE_MS ──▶ broken                                       │
 *    └──────────────────────── the response is whole ─────────────────────────────────┘
 *
 * When there are too many, idle ones give way to who comes, and then those that have asked for the longest; those that
 * are kept never. All places of the crowd together are fewer than the connections: who comes has a place, and keeps it
 * for as long as a cheap answer takes. The Unix socket has places of its own.
 *
 * A connection has one request under way at most. The library hands on every request that has come, whether or not
 * anybody reads the answers: who pipelines could have thousands of answers made, and kept in memory. No client in use
 * does so, and a server may close such a connection (RFC 9112, 9.3.2). A session of HTTP/2 has bounds of its own.
 */
import type { IncomingMessage, ServerResponse } from "node:http"
import type { Server, Socket } from "node:net"
import type { Clock } from "../../lib/clock.ts"
import { logger } from "../../lib/log.ts"
import { ConnectionRoom } from "../../sys/net/connection-room.ts"
import type { Guest } from "../../sys/net/room.ts"
import { RequestLog, senderOf } from "./request-log.ts"

const log = logger("http")

export const CONNECTION_COUNT_MAX = 2048
const DESCRIPTORS_LEFT = 8

/** Until the head of the first request is there, after the connection, and its handshake. */
const HEAD_MS_MAX = 10_000
export const KEEP_ALIVE_MS = 30_000
/** Who was told to go has so long to do so. */
const LEAVING_MS = 5000
/** Who is answered later than this waits for something, and gives way before who has just connected. */
const ASKING_MS = 10_000

export class Connections {
  readonly #room: ConnectionRoom<Connection>
  readonly #connections = new WeakMap<Socket, Connection>()
  readonly #clock: Clock
  readonly #pipelined: RequestLog

  constructor(clock: Clock, countMax = CONNECTION_COUNT_MAX) {
    this.#clock = clock
    this.#pipelined = new RequestLog("http", clock)
    const room = { countMax, descriptorsLeft: DESCRIPTORS_LEFT, takesLast: true, sparesBusy: false }
    this.#room = new ConnectionRoom({ ...room, clock, log })
  }

  /** Of a server that has not begun to listen. */
  watch(server: Server): void {
    this.#room.watch((nowMs) => {
      for (const connection of [...this.#room]) connection.check(nowMs)
    })
    server.on("connection", (socket: Socket) => {
      const connection = new Connection(socket, this.#clock)
      const { from } = senderOf({ headers: {}, socket })
      if (!this.#room.enter(connection, from)) return void socket.destroy()
      this.#connections.set(socket, connection)
      socket.once("close", () => this.#room.leave(connection))
    })
  }

  /**
   * A request has come. Returns whether it may be served: not when its client has gone, and not before the answer to
   * the last one is whole, for which its connection is broken.
   */
  requested(request: IncomingMessage, response: ServerResponse): boolean {
    const { socket } = request
    if (!socket || socket.destroyed) return false
    const connection = this.#connections.get(socket)
    if (connection === undefined) return true
    if (connection.isAsking) {
      const problem = "it sent a request before the last one was answered"
      this.#pipelined.say("warn", `closed a connection: ${problem}`, senderOf(request))
      socket.destroy()
      return false
    }
    connection.began(response)
    response.once("close", () => connection.answered())
    return true
  }

  /** What comes over this connection from now on are the streams of a session. */
  multiplex(socket: Socket, session: Session): void {
    this.#connections.get(socket)?.multiplex(session)
  }

  /** A stream has a socket of its own, which stands for that of the connection. */
  shares(socket: Socket, ofStream: Socket): void {
    const connection = this.#connections.get(socket)
    if (connection !== undefined) this.#connections.set(ofStream, connection)
  }

  keep({ socket }: IncomingMessage): void {
    this.#connections.get(socket)?.keep()
  }

  close(): void {
    this.#room.close()
  }
}

/** Several requests at a time, over one connection. */
interface Session {
  /** Ends what hangs. */
  check(): void
  /** Ends when its streams have. */
  leave(): void
}

class Connection implements Guest {
  readonly #socket: Socket
  readonly #clock: Clock
  #sinceMs: number // of what it does
  #requestCount = 0 // that are not answered
  #hasAsked = false
  #response: ServerResponse | undefined // the last one
  #hasTurned = true // the event loop, since the last request
  #isKept = false
  #session: Session | undefined

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

  multiplex(session: Session): void {
    this.#session = session
  }

  check(nowMs: number): void {
    this.#session?.check()
    const limitMs = this.#hasAsked ? KEEP_ALIVE_MS : HEAD_MS_MAX
    const overMs = nowMs - this.#sinceMs - limitMs
    if (this.#requestCount > 0 || overMs <= 0) return
    this.#session?.leave()
    if (this.#session === undefined || overMs > LEAVING_MS) this.#socket.destroy()
  }

  /**
   * The last byte of an answer can be taken, and the next request be here, before the library tells of the end. Two
   * requests in one turn of the event loop have come together, even if the first one is answered at once.
   */
  get isAsking(): boolean {
    if (this.#session !== undefined) return false
    if (!this.#hasTurned) return true
    return this.#requestCount > 0 && this.#response?.writableFinished !== true
  }

  began(response: ServerResponse): void {
    this.#hasAsked = true
    this.#response = response
    this.#hasTurned = false
    setImmediate(() => {
      this.#hasTurned = true
    })
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
