/**
 * Following a primary: connect, tell it our positions, hand on what it sends, and again when that ends.
 *
 *   connecting ── response ──▶ catching up ── Ready, all applied ──▶ live
 *       ▲                          │                                  │
 *       └──── pause, with jitter ──┴──── disconnected, or silent ─────┘
 *
 * The state changes are logged once each: a primary that stays away, or a transaction that cannot be applied however
 * often it comes, is not reported again every second.
 */
import { request as httpRequest, type IncomingMessage } from "node:http"
import { request as httpsRequest } from "node:https"
import { type Clock, sleep } from "../lib/clock.ts"
import { LitefsError, messageOf } from "../lib/errors.ts"
import { Gate } from "../lib/gate.ts"
import { logger } from "../lib/log.ts"
import type { Pos } from "../ltx/pos.ts"
import type { Frame } from "../wire/frame.ts"
import { encodePositionMap } from "../wire/position-map.ts"
import { StreamDecoder } from "../wire/stream-decoder.ts"

const log = logger("replica")

const RECONNECT_MS = 1000

/** A primary sends a heartbeat every second; without one for so long it is taken for gone. */
const SILENCE_MS_MAX = 5000

/** So many bytes may be with the peer thread before the network has to wait. */
const IN_FLIGHT_SIZE_MAX = 8 * 1024 * 1024

/** Where LTX files go. Implemented by the peer thread. */
export interface LtxSink {
  /** A part of a file. `taken` is called when it is off our hands. */
  write(file: number, database: string, bytes: Uint8Array, isLast: boolean, taken: () => void): void
  /** To be called before the first part. Resolves when the file is applied; rejects when it is refused. */
  applied(file: number): Promise<void>
  abort(file: number): void
}

/** As `node:tls` takes it. Without `ca` the authorities of the system are believed. */
export interface TlsMaterial {
  readonly cert?: string
  readonly key?: string
  readonly ca?: string
}

export interface ReplicaOptions {
  readonly primaryUrl: string
  readonly headers: Record<string, string>
  /** For an https URL: what this node shows, and what it believes. Asked for at every connection. */
  tls?(): TlsMaterial
  readonly clock: Clock
  readonly sink: LtxSink
  positions(): ReadonlyMap<string, Pos>
  /** A connection is up, or has ended: then the name is undefined. */
  onPrimary(name: string | undefined): void
  /** Checks and keeps the cluster id of the primary. Throws when it is another cluster. */
  onClusterId(id: string): void
}

export class Replica {
  readonly #options: ReplicaOptions
  readonly #ready = Promise.withResolvers<void>()
  readonly #abort = new AbortController()
  readonly #done: Promise<void>
  #lastProblem: string | undefined
  #isAnnounced = false // that there is a connection

  constructor(options: ReplicaOptions) {
    this.#options = options
    this.#done = this.#run()
  }

  /** Resolves when this node has been where its primary was, once. */
  get ready(): Promise<void> {
    return this.#ready.promise
  }

  async close(): Promise<void> {
    this.#abort.abort()
    await this.#done
  }

  async #run(): Promise<void> {
    const { clock } = this.#options
    const { signal } = this.#abort
    while (!signal.aborted) {
      try {
        await this.#follow(signal)
        this.#report("the primary ended the stream")
      } catch (error) {
        if (!signal.aborted) this.#report(messageOf(error))
      }
      this.#options.onPrimary(undefined)
      const pauseMs = RECONNECT_MS * (0.5 + clock.random())
      await sleep(clock, pauseMs, signal).catch(() => {})
    }
  }

  #report(problem: string): void {
    if (problem === this.#lastProblem) return
    this.#lastProblem = problem
    this.#isAnnounced = false
    log.warn("not connected to the primary, trying again", {
      url: this.#options.primaryUrl,
      problem,
    })
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const response = await this.#connect(signal)
    const connection = new Connection(this.#options, () => {
      this.#lastProblem = undefined
      this.#ready.resolve()
    })
    try {
      const clusterId = header(response, "litefs-cluster-id")
      if (clusterId !== undefined) this.#options.onClusterId(clusterId)
      const name = header(response, "litefs-hostname") ?? new URL(this.#options.primaryUrl).hostname
      if (!this.#isAnnounced) {
        log.info("connected to the primary", { url: this.#options.primaryUrl, primary: name })
      }
      this.#isAnnounced = true
      this.#options.onPrimary(name)
      await connection.read(response)
    } finally {
      connection.close()
      response.destroy()
    }
  }

  async #connect(signal: AbortSignal): Promise<IncomingMessage> {
    const { primaryUrl, headers, tls, clock } = this.#options
    const body = encodePositionMap(this.#options.positions())
    const url = new URL("/stream", primaryUrl)
    const isSecure = url.protocol === "https:"
    const makeRequest = isSecure ? httpsRequest : httpRequest
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
    const request = makeRequest(url, {
      ...(isSecure ? tls?.() : undefined),
      method: "POST",
      headers: { ...headers, "Content-Length": body.length },
      signal,
      agent: false,
    })
    const cancel = clock.after(SILENCE_MS_MAX, () => request.destroy(silence()))
    request.on("response", resolve)
    request.on("error", reject)
    request.end(body)
    const response = await promise.finally(cancel)
    if (response.statusCode === 200) return response
    const text = await readText(response)
    throw new LitefsError("unavailable", `it answered ${response.statusCode}: ${text}`)
  }
}

/** One stream from the primary. */
class Connection {
  readonly #options: ReplicaOptions
  readonly #onReady: () => void
  readonly #decoder: StreamDecoder
  readonly #taken = new Gate()
  #response: IncomingMessage | undefined
  #failure: Error | undefined
  #inFlight = 0
  #file: { number: number; database: string; parts: Uint8Array[]; size: number } | undefined
  #lastApplied: Promise<void> = Promise.resolve()
  #hasEnded = false

  constructor(options: ReplicaOptions, onReady: () => void) {
    this.#options = options
    this.#onReady = onReady
    this.#decoder = new StreamDecoder({
      frame: (frame) => this.#handleFrame(frame),
      ltxData: (bytes) => this.#handleData(bytes),
      ltxEnd: () => this.#sendParts(true),
    })
  }

  /**
   * Reads until the stream ends. What goes wrong elsewhere destroys the response, which ends the loop: a race
   * against a promise that lives as long as the connection would keep every part that won it.
   */
  async read(response: IncomingMessage): Promise<void> {
    const { clock } = this.#options
    this.#response = response
    const watch = () => clock.after(SILENCE_MS_MAX, () => this.#fail(silence()))
    let stopWatch = watch()
    try {
      for await (const part of response) {
        stopWatch()
        if (this.#failure !== undefined) break
        this.#decoder.push(part as Uint8Array)
        if (this.#hasEnded) return
        while (this.#inFlight > IN_FLIGHT_SIZE_MAX && this.#failure === undefined) {
          await this.#taken.wait()
        }
        stopWatch = watch()
      }
    } catch (error) {
      throw this.#failure ?? error
    } finally {
      stopWatch()
    }
    if (this.#failure !== undefined) throw this.#failure
    this.#decoder.end()
  }

  #fail(error: Error): void {
    this.#failure ??= error
    this.#response?.destroy(error)
    this.#taken.open()
  }

  /** A file that has not come to its end never will. */
  close(): void {
    if (this.#file !== undefined) this.#options.sink.abort(this.#file.number)
  }

  #handleFrame(frame: Frame): void {
    switch (frame.type) {
      case "ltx":
        return this.#startFile(frame.database)
      case "ready":
        this.#lastApplied.then(this.#onReady, () => {})
        return
      case "end":
        this.#hasEnded = true
        return
      case "dropDb":
        log.warn("the primary does not have a database that is here", { db: frame.database })
        return
      case "handoff":
      case "hwm":
      case "heartbeat":
        return
    }
  }

  #startFile(database: string): void {
    const number = nextFile++
    this.#file = { number, database, parts: [], size: 0 }
    this.#lastApplied = this.#options.sink.applied(number)
    this.#lastApplied.catch((error) => this.#fail(error))
  }

  #handleData(bytes: Uint8Array): void {
    const file = this.#file
    if (file === undefined) return
    file.parts.push(bytes.slice()) // the decoder's bytes are borrowed
    file.size += bytes.length
    if (file.size >= PART_SIZE) this.#sendParts(false)
  }

  #sendParts(isLast: boolean): void {
    const file = this.#file
    if (file === undefined) return
    const bytes =
      file.parts.length === 1 ? (file.parts[0] as Uint8Array) : Buffer.concat(file.parts)
    file.parts = []
    file.size = 0
    this.#inFlight += bytes.length
    const { sink } = this.#options
    if (isLast) this.#file = undefined
    sink.write(file.number, file.database, bytes, isLast, () => {
      this.#inFlight -= bytes.length
      this.#taken.open()
    })
  }
}

function silence(): LitefsError {
  return new LitefsError("unavailable", `no sign of life for ${SILENCE_MS_MAX / 1000} s`)
}

const PART_SIZE = 256 * 1024

let nextFile = 1

function header(response: IncomingMessage, name: string): string | undefined {
  const value = response.headers[name]
  return typeof value === "string" ? value : undefined
}

const ERROR_SIZE_MAX = 4096

async function readText(response: IncomingMessage): Promise<string> {
  let text = ""
  for await (const part of response) {
    text += String(part)
    if (text.length > ERROR_SIZE_MAX) break
  }
  return text.trim()
}
