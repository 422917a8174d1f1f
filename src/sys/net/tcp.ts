/**
 * TCP as events: a connection passes on what arrives, and keeps what the kernel does not take.
 *
 *   open ── end(): when all is written, our side is closed ──▶ ending ── theirs too ──▶ closed
 *     └──────────── destroy(), or the other side broke it ───────────────────────────────▲
 *
 * 1. `closed()` comes once, also after destroy(), and nothing comes after it.
 * 2. When the other side closes, ours stays open to write (half-open), until we end() or destroy().
 * 3. A paused connection does not notice that the other side has gone. Whoever pauses it must resume it.
 * 4. Bytes that are handed on belong to the receiver.
 */
import type { Socket } from "bun"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { systemProblem } from "../errno.ts"

const log = logger("tcp")

export interface TcpHandler {
  data(bytes: Uint8Array): void
  /** The kernel has taken everything that was written. */
  drained(): void
  /** The other side will send nothing more. */
  ended(): void
  closed(): void
}

export interface TcpAddress {
  readonly host: string
  readonly port: number
}

const NOBODY: TcpHandler = { data() {}, drained() {}, ended() {}, closed() {} }

/** Silence before the kernel asks whether the other side still exists. */
const KEEP_ALIVE_MS = 15_000

export class TcpConnection {
  handler: TcpHandler = NOBODY
  readonly #socket: Socket<TcpConnection | undefined>
  #waiting: Uint8Array[] = []
  #sentSize = 0
  #isEnding = false // ours
  #hasEnded = false // theirs
  #isClosed = false

  private constructor(socket: Socket<TcpConnection | undefined>) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.setKeepAlive(true, KEEP_ALIVE_MS)
  }

  /** For the events of this file only. */
  static of(socket: Socket<TcpConnection | undefined>): TcpConnection {
    socket.data ??= new TcpConnection(socket)
    return socket.data
  }

  /** Rejects when the connection fails. `code` of the error says why: ECONNREFUSED. */
  static async connect({ host, port }: TcpAddress): Promise<TcpConnection> {
    const socket = await Bun.connect<TcpConnection | undefined>({
      hostname: host,
      port,
      allowHalfOpen: true,
      socket: EVENTS,
    })
    return TcpConnection.of(socket)
  }

  get remoteAddress(): string {
    // A connection that broke at once has none.
    const address: string | undefined = this.#socket.remoteAddress
    return (address ?? "").replace(/^::ffff:(?=[\d.]+$)/, "")
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Whether the kernel has not taken everything yet: wait for drained(). */
  get isCongested(): boolean {
    return this.#waiting.length > 0
  }

  write(bytes: Uint8Array): void {
    if (this.#isClosed || this.#isEnding || bytes.length === 0) return
    if (this.#waiting.length > 0) {
      this.#waiting.push(bytes)
      return
    }
    const count = this.#send(bytes)
    if (count < bytes.length) this.#waiting.push(count === 0 ? bytes : bytes.subarray(count))
  }

  /** Returns how many of the bytes the kernel has taken: none when it knows that the connection is broken. */
  #send(bytes: Uint8Array): number {
    const count = Math.max(0, this.#socket.write(bytes))
    this.#sentSize += count
    return count
  }

  /** Bytes that the kernel has ever taken. */
  get sentSize(): number {
    return this.#sentSize
  }

  /** Written bytes that the kernel has not taken. */
  get waitingSize(): number {
    return this.#waiting.reduce((size, { length }) => size + length, 0)
  }

  pause(): void {
    if (!this.#isClosed) this.#socket.pause()
  }

  resume(): void {
    if (!this.#isClosed) this.#socket.resume()
  }

  /** Closes our side when everything is written. The connection is closed when the other side is too. */
  end(): void {
    if (this.#isClosed || this.#isEnding) return
    this.#isEnding = true
    if (this.#waiting.length === 0) this.#socket.shutdown()
  }

  /** After end(): no longer waits for the other side. The kernel still delivers what it has taken. */
  letGo(): void {
    if (!this.#isClosed) this.#socket.end()
  }

  /** Breaks the connection. The other side sees that it did not end regularly. */
  destroy(): void {
    if (!this.#isClosed) this.#socket.terminate()
  }

  // --- events of the socket ---

  flush(): void {
    while (this.#waiting.length > 0) {
      const bytes = this.#waiting[0] as Uint8Array
      const count = this.#send(bytes)
      if (count < bytes.length) {
        this.#waiting[0] = bytes.subarray(count)
        return
      }
      this.#waiting.shift()
    }
    if (this.#isEnding) this.#socket.shutdown()
    else this.handler.drained()
  }

  endReceived(): void {
    if (this.#hasEnded || this.#isClosed) return
    this.#hasEnded = true
    this.handler.ended()
  }

  close(isBroken: boolean): void {
    if (this.#isClosed) return
    // After our side has ended, the end of theirs comes as this alone.
    if (!isBroken && this.#isEnding) this.endReceived()
    if (this.#isClosed) return
    this.#isClosed = true
    this.#waiting = []
    const { handler } = this
    this.handler = NOBODY
    handler.closed()
  }
}

/** Accepts connections until it is closed. Existing connections stay. */
export class TcpListener {
  readonly #stop: () => void
  readonly port: number

  /** An empty host is every interface. Port 0: the system chooses. */
  constructor(
    { host, port }: TcpAddress,
    accept: (connection: TcpConnection) => void,
    advice = "choose another address",
  ) {
    const listen = (hostname: string) =>
      Bun.listen<TcpConnection | undefined>({
        hostname,
        port,
        allowHalfOpen: true,
        socket: { ...EVENTS, open: (socket) => accept(TcpConnection.of(socket)) },
      })
    try {
      const listener = host === "" ? listenEverywhere(listen) : listen(host)
      this.port = listener.port
      this.#stop = () => listener.stop()
    } catch (error) {
      const problem = `Cannot listen on ${host}:${port}: ${listenReason(host, error)}, ${advice}`
      throw new LitefsError("unavailable", problem, { cause: error })
    }
  }

  close(): void {
    this.#stop()
  }
}

type Listen = (hostname: string) => { readonly port: number; stop(): void }

/** Why the runtime cannot listen there. For a name that it cannot resolve it has various errors, or one without a code. */
export function listenReason(host: string, error: unknown): string {
  const { code } = error as NodeJS.ErrnoException
  if (isUsed(error)) return "the port is in use"
  if (code === "EACCES") return "the port may not be used"
  if (code === "EADDRNOTAVAIL") return "this machine does not have the address"
  if (host !== "" && !/^[\d.]+$|:/.test(host)) return "nobody knows the name"
  return systemProblem(error) ?? messageOf(error)
}

/** Why a connection has not come about. */
export function connectReason(host: string, error: unknown): string {
  const { code } = error as NodeJS.ErrnoException
  if (code === "ECONNREFUSED") return "nothing listens there"
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") return `nobody knows the name "${host}"`
  return systemProblem(error) ?? messageOf(error)
}

function isUsed(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === "EADDRINUSE"
}

/** IPv6 and IPv4, or only IPv4 on a machine without IPv6. */
function listenEverywhere(listen: Listen) {
  try {
    return listen("::")
  } catch (error) {
    if (isUsed(error)) throw error
    return listen("0.0.0.0")
  }
}

const EVENTS = {
  data(socket: Socket<TcpConnection | undefined>, bytes: Uint8Array) {
    TcpConnection.of(socket).handler.data(bytes)
  },
  drain(socket: Socket<TcpConnection | undefined>) {
    TcpConnection.of(socket).flush()
  },
  end(socket: Socket<TcpConnection | undefined>) {
    TcpConnection.of(socket).endReceived()
  },
  close(socket: Socket<TcpConnection | undefined>, error?: Error) {
    TcpConnection.of(socket).close(error !== undefined && error !== null)
  },
  /** A handler has thrown, which is a bug: the state of the connection is unknown. */
  error(socket: Socket<TcpConnection | undefined>, error: Error) {
    if (!("syscall" in error)) log.error("connection failed", { error })
    TcpConnection.of(socket).destroy()
  },
  connectError() {}, // the promise is rejected with it
}
