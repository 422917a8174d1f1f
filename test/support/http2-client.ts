/** A client that sends frames of HTTP/2 as a test makes them, and has what comes as lines. */
import { connect, type Socket } from "node:net"
import { FrameLines, HELLO } from "./http2-frames.ts"
import { until } from "./until.ts"

export class Http2Client {
  readonly socket: Socket
  readonly #heard = new FrameLines()
  isClosed = false

  constructor(socket: Socket) {
    this.socket = socket
    socket.on("data", (bytes: Buffer) => this.#heard.push(bytes))
    socket.on("error", () => {})
    socket.on("close", () => {
      this.isClosed = true
    })
  }

  /** Greets, unless it says something else. */
  static async connect(port: number, ...parts: readonly Uint8Array[]): Promise<Http2Client> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true })
    const client = new Http2Client(socket)
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", () => resolve())
      socket.once("error", reject)
    })
    return client.send(...(parts.length === 0 ? [HELLO] : parts))
  }

  send(...parts: readonly Uint8Array[]): this {
    for (const part of parts) this.socket.write(part)
    return this
  }

  /** Without what every session begins with. */
  get lines(): string[] {
    return this.#heard.lines.filter((line) => !/^(settings|window_update) 0/.test(line))
  }

  size(stream: number): number {
    return this.#heard.sizes.get(stream) ?? 0
  }

  async heard(line: string | RegExp): Promise<string[]> {
    const is = (each: string) => (typeof line === "string" ? each === line : line.test(each))
    await until(`the frame ${line}`, () => this.lines.some(is), {
      context: () => this.lines.slice(-20).join("\n"),
    })
    return this.lines
  }

  async closed(): Promise<string[]> {
    await until("the connection is closed", () => this.isClosed, {
      context: () => this.lines.slice(-20).join("\n"),
    })
    return this.lines
  }

  [Symbol.dispose](): void {
    this.socket.destroy()
  }
}
