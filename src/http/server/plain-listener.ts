/**
 * The API without TLS: HTTP/1.1, and HTTP/2 for who begins with its preface, as the original does among its nodes.
 *
 *   connection ── the first bytes ──▶ not those of the preface ──▶ the HTTP/1.1 server, which never listens itself
 *                     │        └ so far they are, and no more: within the time for a head (connections.ts)
 *                     └ the preface ──▶ a session ──▶ each stream is a request like any other
 *
 * An HTTP/2 connection counts as one connection, in the same room as the others. It is told to go before it is closed
 * for doing nothing.
 */
import type { Server as HttpServer, RequestListener } from "node:http"
import { createServer, type Server, type Socket } from "node:net"
import type { Clock } from "../../lib/clock.ts"
import { PREFACE } from "../../wire/http2/frames.ts"
import type { RequestHead } from "../../wire/http2/messages.ts"
import { Http2Session, type Http2Stream, type SessionLimits } from "../../wire/http2/session.ts"
import type { Connections } from "./connections.ts"
import { joinWrites, piecesOf, takeInPieces } from "./handed-over.ts"
import { exchangeOf } from "./http2-exchange.ts"
import { RequestLog, senderOf } from "./request-log.ts"

const KIB = 1024
const LIMITS: SessionLimits = {
  streamCountMax: 64,
  streamWindow: 128 * KIB,
  window: 512 * KIB,
}

export interface PlainListenerOptions {
  readonly http: HttpServer
  readonly connections: Connections
  /** May return a promise, which resolves when the request is no longer worked on. */
  answer(...exchange: Parameters<RequestListener>): unknown
  readonly clock: Clock
}

export class PlainListener {
  readonly server: Server
  readonly #options: PlainListenerOptions
  readonly #log: RequestLog
  readonly #sockets = new Set<Socket>()

  constructor(options: PlainListenerOptions) {
    this.#options = options
    this.#log = new RequestLog("http", options.clock)
    this.server = createServer({ noDelay: true }, (socket) => this.#begin(socket))
  }

  /** Breaks remaining connections. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #begin(socket: Socket): void {
    this.#sockets.add(socket)
    socket.once("close", () => this.#sockets.delete(socket))
    joinWrites(socket)
    const onError = () => socket.destroy()
    socket.on("error", onError)
    let begun: Buffer = Buffer.alloc(0)
    const onData = (bytes: Buffer) => {
      begun = begun.length === 0 ? bytes : Buffer.concat([begun, bytes])
      const isPreface = PREFACE.subarray(0, begun.length).equals(begun.subarray(0, PREFACE.length))
      if (isPreface && begun.length < PREFACE.length) return
      socket.off("data", onData)
      if (isPreface) return this.#speakHttp2(socket, begun)
      socket.off("error", onError)
      takeInPieces(socket)
      this.#options.http.emit("connection", socket)
      for (const piece of piecesOf(begun)) if (!socket.destroyed) socket.emit("data", piece)
    }
    socket.on("data", onData)
  }

  #speakHttp2(socket: Socket, begun: Buffer): void {
    const { clock, connections } = this.#options
    const session = new Http2Session("server", LIMITS, {
      nowMs: () => clock.monotonicMs(),
      send: (bytes) => socket.destroyed || socket.write(bytes),
      onRequest: (stream, head) => this.#serve(socket, stream, head),
      onOver: (problem) => {
        if (problem === undefined) return void socket.end()
        this.#log.say("warn", `closed a connection: ${problem}`, senderOf({ headers: {}, socket }))
        socket.destroySoon()
      },
    })
    connections.multiplex(socket, session)
    socket.on("data", (bytes: Buffer) => session.receive(bytes))
    socket.on("drain", () => session.drained())
    socket.on("end", () => socket.end())
    socket.once("close", () => session.closed())
    session.receive(begun)
  }

  #serve(socket: Socket, stream: Http2Stream, head: RequestHead): void {
    const { answer, connections, clock } = this.#options
    const { request, response } = exchangeOf(stream, head, socket, clock)
    connections.shares(socket, request.socket)
    const closed = new Promise<void>((resolve) => response.once("close", () => resolve()))
    void Promise.allSettled([closed, answer(request, response)]).then(() => stream.leave())
  }
}
