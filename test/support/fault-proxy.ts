/**
 * A TCP proxy in front of a node, which does to its connections what networks do: cut them, at a given byte or at
 * once, hold everything back, delay, throttle, or end one direction and leave the other open.
 *
 *     client ── up ──▶ proxy ── up ──▶ node
 *            ◀─ down ─      ◀─ down ──
 *
 * Delay, throttle and hold apply to connections that are up and to new ones, until they are lifted. A plan for a
 * byte is for the next connection only.
 */

import type { AddressInfo } from "node:net"
import { createServer, type Server, Socket } from "node:net"
import { Gate } from "../../src/lib/gate.ts"

/** What happens when so many bytes have come down: both sides reset, the client told it was all, or nothing more. */
export interface Plan {
  readonly byte: number
  readonly how: "cut" | "truncate" | "hold"
}

interface Link {
  readonly client: Socket
  readonly node: Socket
}

/** So many slices a second are let through a throttle. */
const SLICES_PER_S = 20

export class FaultProxy implements AsyncDisposable {
  /** Bytes per second in each direction; Infinity lets everything through. */
  bytesPerSecond = Number.POSITIVE_INFINITY
  delayMs = 0
  /** Bytes that came down, over all connections. */
  downSize = 0
  connectionCount = 0
  readonly #server: Server
  readonly #targetPort: number
  readonly #links = new Set<Link>()
  readonly #released = new Gate()
  #isHolding = false
  #isRefusing = false
  #plan: Plan | undefined

  static async start(targetPort: number): Promise<FaultProxy> {
    const proxy = new FaultProxy(targetPort)
    await new Promise<void>((done) => proxy.#server.listen(0, "127.0.0.1", done))
    return proxy
  }

  private constructor(targetPort: number) {
    this.#targetPort = targetPort
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#accept(client))
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** For the next connection. */
  plan(plan: Plan): void {
    this.#plan = plan
  }

  /** Breaks what is up. */
  cut(): void {
    for (const { client, node } of this.#links) {
      client.destroy()
      node.destroy()
    }
  }

  /** Nothing passes in either direction, and nobody is told. */
  hold(): void {
    this.#isHolding = true
  }

  /** New connections are accepted and broken at once. */
  refuse(): void {
    this.#isRefusing = true
  }

  /** Ends the direction and leaves the other as it is. */
  halfClose(way: "up" | "down"): void {
    for (const { client, node } of this.#links) (way === "up" ? node : client).end()
  }

  /** Lifts everything. */
  heal(): void {
    this.bytesPerSecond = Number.POSITIVE_INFINITY
    this.delayMs = 0
    this.#isHolding = false
    this.#isRefusing = false
    this.#plan = undefined
    this.#released.open()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.heal()
    this.cut()
    await new Promise<void>((done) => this.#server.close(() => done()))
  }

  #accept(client: Socket): void {
    this.connectionCount += 1
    client.on("error", () => {})
    if (this.#isRefusing) return void client.destroy()
    const plan = this.#plan
    this.#plan = undefined
    const node = new Socket({ allowHalfOpen: true })
    const link = { client, node }
    this.#links.add(link)
    const cut = () => {
      this.#links.delete(link)
      client.destroy()
      node.destroy()
      this.#released.open()
    }
    node.on("error", cut)
    node.on("close", () => client.end())
    client.on("close", cut)
    node.connect(this.#targetPort, "127.0.0.1")
    this.#pump("up", client, node, undefined).catch(cut)
    this.#pump("down", node, client, plan).catch(cut)
  }

  async #pump(way: "up" | "down", from: Socket, to: Socket, plan: Plan | undefined): Promise<void> {
    let passed = 0
    for await (const part of from as AsyncIterable<Buffer>) {
      const rest = plan === undefined ? part.length : plan.byte - passed
      const bytes = part.subarray(0, Math.max(0, rest))
      passed += bytes.length
      await this.#pass(bytes, to)
      if (way === "down") this.downSize += bytes.length
      if (plan === undefined || passed < plan.byte) continue
      switch (plan.how) {
        case "cut":
          throw new Error("cut")
        case "truncate":
          return void to.end()
        case "hold":
          while (!to.destroyed) await this.#released.wait()
          return
      }
    }
    to.end()
  }

  async #pass(bytes: Buffer, to: Socket): Promise<void> {
    if (this.delayMs > 0) await Bun.sleep(this.delayMs)
    for (let done = 0; done < bytes.length; ) {
      while (this.#isHolding && !to.destroyed) await this.#released.wait()
      if (to.destroyed) throw new Error("the other side is gone")
      const rate = this.bytesPerSecond
      const isThrottled = Number.isFinite(rate)
      const size = isThrottled ? Math.max(1, Math.floor(rate / SLICES_PER_S)) : bytes.length
      if (isThrottled) await Bun.sleep(1000 / SLICES_PER_S)
      const slice = bytes.subarray(done, done + size)
      done += slice.length
      await written(to, slice)
    }
  }
}

/** Resolves when there is room for more, or nobody to write to. */
async function written(to: Socket, bytes: Buffer): Promise<void> {
  if (to.write(bytes)) return
  await new Promise<void>((done) => {
    const wake = () => {
      to.off("drain", wake)
      to.off("close", wake)
      done()
    }
    to.on("drain", wake)
    to.on("close", wake)
    if (to.destroyed) wake()
  })
}
