/**
 * Two connections that have become one: bytes go both ways as they come, an end is passed on as an end, a break as a
 * break. A side that does not read makes the other side wait.
 */
import type { TcpConnection, TcpHandler } from "../sys/net/tcp.ts"

export function tunnel(left: TcpConnection, right: TcpConnection, onClosed: () => void): void {
  let openCount = 2
  const closed = () => {
    openCount -= 1
    if (openCount === 0) onClosed()
  }
  const leftSide = new TunnelSide(left, right, closed)
  const rightSide = new TunnelSide(right, left, closed)
  leftSide.other = rightSide
  rightSide.other = leftSide
  left.handler = leftSide
  right.handler = rightSide
  left.resume()
  right.resume()
}

class TunnelSide implements TcpHandler {
  readonly #from: TcpConnection
  readonly #to: TcpConnection
  readonly #onClosed: () => void
  other: TunnelSide | undefined
  hasEnded = false

  constructor(from: TcpConnection, to: TcpConnection, onClosed: () => void) {
    this.#from = from
    this.#to = to
    this.#onClosed = onClosed
  }

  data(bytes: Uint8Array): void {
    this.#to.write(bytes)
    if (this.#to.isCongested) this.#from.pause()
  }

  drained(): void {
    this.#to.resume()
  }

  ended(): void {
    this.hasEnded = true
    this.#to.end()
  }

  closed(): void {
    // After both ends only what the kernel has not taken is left to send.
    if (!this.hasEnded || this.other?.hasEnded !== true) this.#to.destroy()
    this.#onClosed()
  }
}
