/** Sockets of tests that care for single bytes: a client, and a server that answers as it is told. */
import { connect, createServer, type Socket } from "node:net"

const LIMIT_MS = 20_000

/** Text is one character per byte. */
export class RawSocket {
  readonly socket: Socket
  text = ""
  hasEnded = false
  isClosed = false
  error: Error | undefined
  readonly #listeners = new Set<() => void>()

  constructor(socket: Socket) {
    this.socket = socket
    const tell = () => {
      for (const listener of [...this.#listeners]) listener()
    }
    socket.setNoDelay(true)
    socket.on("data", (bytes) => {
      this.text += bytes.toString("latin1")
      tell()
    })
    socket.on("end", () => {
      this.hasEnded = true
      tell()
    })
    socket.on("error", (error) => {
      this.error = error
    })
    socket.on("close", () => {
      this.isClosed = true
      tell()
    })
  }

  static async connect(port: number): Promise<RawSocket> {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true })
    const raw = new RawSocket(socket)
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", () => resolve())
      socket.once("error", reject)
    })
    return raw
  }

  write(text: string): this {
    this.socket.write(Buffer.from(text, "latin1"))
    return this
  }

  /** Resolves with what has come when it is as wanted. */
  async until(what: string | RegExp | (() => boolean)): Promise<string> {
    const isSo = () => {
      if (typeof what === "function") return what()
      return typeof what === "string" ? this.text.includes(what) : what.test(this.text)
    }
    const end = Date.now() + LIMIT_MS
    while (!isSo()) {
      if (Date.now() > end) throw new Error(`no ${what} in ${LIMIT_MS} ms:\n${this.text}`)
      if (this.isClosed) throw new Error(`closed without ${what}:\n${this.text}`)
      await this.#news()
    }
    return this.text
  }

  /** Resolves with all that came when the other side has ended or broken the connection. */
  async ended(): Promise<string> {
    const end = Date.now() + LIMIT_MS
    while (!this.hasEnded && !this.isClosed) {
      if (Date.now() > end) throw new Error(`still open after ${LIMIT_MS} ms:\n${this.text}`)
      await this.#news()
    }
    return this.text
  }

  #news(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer)
        this.#listeners.delete(done)
        resolve()
      }
      const timer = setTimeout(done, 1000)
      this.#listeners.add(done)
    })
  }

  destroy(): void {
    this.socket.destroy()
  }
}

export class RawServer implements AsyncDisposable {
  readonly connections: RawSocket[] = []
  readonly #server
  #waiting: (() => void)[] = []

  private constructor(serve: (connection: RawSocket) => void) {
    this.#server = createServer({ allowHalfOpen: true }, (socket) => {
      const connection = new RawSocket(socket)
      this.connections.push(connection)
      serve(connection)
      for (const wake of this.#waiting.splice(0)) wake()
    })
  }

  static async listen(
    serve: (connection: RawSocket) => void = () => {},
    port = 0,
  ): Promise<RawServer> {
    const server = new RawServer(serve)
    await new Promise<void>((done) => server.#server.listen(port, "127.0.0.1", done))
    return server
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port
  }

  /** The connection with this index, when it is there. */
  async connection(index: number): Promise<RawSocket> {
    for (;;) {
      const found = this.connections[index]
      if (found !== undefined) return found
      await new Promise<void>((wake) => this.#waiting.push(wake))
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.connections) connection.destroy()
    await new Promise((done) => this.#server.close(done))
  }
}

/** Answers every request without a body, or with one of a known size, in the same way. */
export function answering(
  response: string | ((request: string) => string),
): (connection: RawSocket) => void {
  return (connection) => {
    connection.socket.on("data", () => {
      for (;;) {
        const end = connection.text.indexOf("\r\n\r\n")
        if (end < 0) return
        const size = Number(
          /\r\ncontent-length: (\d+)/i.exec(connection.text.slice(0, end))?.[1] ?? 0,
        )
        if (connection.text.length < end + 4 + size) return
        const request = connection.text.slice(0, end + 4 + size)
        connection.text = connection.text.slice(end + 4 + size)
        connection.write(typeof response === "string" ? response : response(request))
      }
    })
  }
}

export function ok(text: string, ...fields: string[]): string {
  return ["HTTP/1.1 200 OK", ...fields, `Content-Length: ${text.length}`, "", text].join("\r\n")
}
