/**
 * The body of a response that is long, or has no end. It is written in pieces, each when the other side has taken the
 * last one: of who does not read, a piece is in memory and as little as can be in the kernel.
 *
 *   write() ── taken ──▶ write() …
 *      ├── nothing is taken for `stallMs` ──▶ onCut()
 *      └── little is taken, and another wants the place (sys/net/room.ts) ──▶ onCut()
 *
 * When the connection is closed, what is written goes nowhere.
 */
import type { ServerResponse } from "node:http"
import type { Socket } from "node:net"
import type { Clock } from "../../lib/clock.ts"
import { Gate } from "../../lib/gate.ts"
import { limitStall, type Ports, silenceOf } from "../../sys/net/socket.ts"

const PIECE_SIZE = 64 * 1024

/** Whom others wait for is given so long for a portion. */
export const PATIENCE_MS = 5000
/** Less than PATIENCE_MS for so much at a time is fast enough. */
const PORTION_SIZE = 256 * 1024
/** Who has had nothing to take for so long, had taken all. */
const REST_MS = 5000

/** The kernel ends who is gone. Who is there is ended here, and told of, before. */
const KERNEL_LATER_MS = 5000

export interface BodyWriterOptions {
  readonly clock: Clock
  /** How long the other side may take nothing of what is there. */
  readonly stallMs: number
  /** Called before it is cut off, with why. */
  onCut(problem: string): void
}

const writers = new WeakMap<ServerResponse, BodyWriter>()

/** Undefined for a response that has no such body, or not yet. */
export function writerOf(response: ServerResponse): BodyWriter | undefined {
  return writers.get(response)
}

export class BodyWriter {
  readonly #response: ServerResponse
  readonly #options: BodyWriterOptions
  readonly #news = new Gate() // room to write, or a closed connection
  #isClosed = false
  readonly #ports: Ports
  #fd: number | undefined // of the connection, when it was looked for
  #waitSinceMs: number | undefined // that it may take what is there
  #takenMs = 0 // when it had taken all, the last time
  /** Of the portion that is being taken: the bytes, and how long they were waited for. */
  #portionSize = 0
  #waitedMs = 0

  /** `socket` is that of the request, which has it no more when its client has gone. */
  constructor(response: ServerResponse, socket: Socket | undefined, options: BodyWriterOptions) {
    this.#response = response
    this.#options = options
    response.on("drain", () => this.#news.open())
    response.on("close", () => {
      this.#isClosed = true
      this.#news.open()
    })
    this.#ports = { localPort: socket?.localPort, remotePort: socket?.remotePort }
    if (socket !== undefined) limitStall(socket, options.stallMs + KERNEL_LATER_MS)
    writers.set(response, this)
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** For how long the other side's kernel has said nothing, as silenceOf() tells; undefined when that is not known. */
  get silentMs(): number | undefined {
    const silence = silenceOf(this.#ports, this.#fd)
    this.#fd = silence?.fd
    return silence?.ms
  }

  onClose(listener: () => void): void {
    this.#response.on("close", listener)
  }

  /** For a Room: the time that it was waited for, as if that had been just now. Undefined when it has taken all. */
  get idleSinceMs(): number | undefined {
    if (this.#waitSinceMs === undefined) return undefined
    return this.#waitSinceMs - this.#waitedMs
  }

  giveWay(): void {
    this.#cut("others want its place")
  }

  #cut(problem: string): void {
    if (this.#isClosed) return
    this.#options.onCut(problem)
    this.breakOff()
  }

  /** Breaks the connection, without a word. */
  breakOff(): void {
    this.#isClosed = true
    this.#response.destroy()
    this.#news.open()
  }

  /** Resolves when enough of it is taken that there can be more. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length && !this.#isClosed; at += PIECE_SIZE) {
      const piece = bytes.subarray(at, at + PIECE_SIZE)
      this.#response.write(piece)
      if (this.#response.writableNeedDrain) await this.#taken()
      this.#portionSize += piece.length
      if (this.#portionSize >= PORTION_SIZE) this.#beginPortion()
    }
  }

  end(): void {
    this.#response.end()
  }

  async #taken(): Promise<void> {
    const { clock, stallMs } = this.#options
    const startMs = clock.monotonicMs()
    if (startMs - this.#takenMs >= REST_MS) this.#beginPortion()
    this.#waitSinceMs = startMs
    const cancel = clock.after(stallMs, () => this.#cut(`it takes nothing for ${stallMs} ms`))
    while (this.#response.writableNeedDrain && !this.#isClosed) await this.#news.wait()
    cancel()
    this.#waitSinceMs = undefined
    this.#takenMs = clock.monotonicMs()
    this.#waitedMs += this.#takenMs - startMs
  }

  #beginPortion(): void {
    this.#portionSize = 0
    this.#waitedMs = 0
  }
}
