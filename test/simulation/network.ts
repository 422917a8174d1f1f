/**
 * Simulated hosts and the links between them. A link goes one way, takes time, loses packets, and can be cut.
 *
 * Connections are those of TCP: what is sent arrives whole and in order, or not at all. A lost packet comes again later,
 * and holds up what follows on it; what is sent over a cut link waits until the link is whole again. Different
 * connections overtake each other. A process that has ended answers with a reset, if its host is up and is reached.
 */
import type { RequestListener } from "node:http"
import type { Random } from "../support/random.ts"
import type { Process, Scheduler } from "./scheduler.ts"

/** A sender gives a connection up whose data is not taken for so long (TCP_USER_TIMEOUT). */
const STALL_MS_MAX = 30_000
/** Until a lost packet is sent again, and until data is tried again that a cut link has held up. */
const RESEND_MS = [200, 1000] as const

export interface Conditions {
  readonly latencyMs: readonly [least: number, most: number]
  /** Of the packets. */
  readonly lossRate: number
}

export interface Listener {
  readonly process: Process
  readonly answer: RequestListener
}

export class Network {
  readonly scheduler: Scheduler
  readonly random: Random
  conditions: Conditions = { latencyMs: [0.2, 2], lossRate: 0 }
  readonly #cut = new Set<string>()
  readonly #down = new Set<string>()
  readonly #listeners = new Map<string, Listener>()
  /** Resolved when a link may be whole again. */
  #held = new Set<() => void>()

  constructor(scheduler: Scheduler, random: Random) {
    this.scheduler = scheduler
    this.random = random
  }

  cut(from: string, to: string): void {
    this.#cut.add(`${from} ${to}`)
  }

  mend(from: string, to: string): void {
    this.#cut.delete(`${from} ${to}`)
    this.#tryAgain()
  }

  mendAll(): void {
    this.#cut.clear()
    this.#tryAgain()
  }

  /** Whether the machine has power. */
  setUp(host: string, isUp: boolean): void {
    if (isUp) this.#down.delete(host)
    else this.#down.add(host)
    if (isUp) this.#tryAgain()
  }

  /** Whether a packet gets there now. */
  leads(from: string, to: string): boolean {
    return !this.#cut.has(`${from} ${to}`) && !this.#down.has(from) && !this.#down.has(to)
  }

  listen(origin: string, listener: Listener | undefined): void {
    if (listener === undefined) this.#listeners.delete(origin)
    else this.#listeners.set(origin, listener)
  }

  listener(origin: string): Listener | undefined {
    const found = this.#listeners.get(origin)
    return found?.process.isAlive ? found : undefined
  }

  /** Time for a packet, with the time for those that were lost before it. */
  get packetMs(): number {
    const { latencyMs, lossRate } = this.conditions
    let ms = this.#between(latencyMs)
    while (this.random.u32() < lossRate * 2 ** 32) ms += RESEND_MS[0]
    return ms
  }

  #between([least, most]: readonly [number, number]): number {
    return least + ((most - least) * this.random.u32()) / 2 ** 32
  }

  /** Calls back once when it may be worth a try. */
  whenMended(act: () => void): void {
    this.#held.add(act)
  }

  #tryAgain(): void {
    const held = this.#held
    this.#held = new Set()
    for (const act of held) this.scheduler.after(this.#between(RESEND_MS), act)
  }
}

/** One direction of a connection. */
export class Channel {
  readonly #network: Network
  readonly #from: string
  readonly #to: string
  readonly #onStall: () => void
  readonly #onRoom: () => void
  /** What is under way: what happens when it arrives, and its size in bytes. */
  readonly #queue: { readonly arrive: () => void; readonly size: number }[] = []
  #size = 0
  #lastMs = 0
  #isHeld = false
  #isClosed = false

  /** `onStall`: nothing was taken for too long. `onRoom`: all was taken. */
  constructor(
    network: Network,
    [from, to]: readonly [string, string],
    onStall: () => void,
    onRoom: () => void,
  ) {
    this.#network = network
    this.#from = from
    this.#to = to
    this.#onStall = onStall
    this.#onRoom = onRoom
  }

  /** Bytes that have not arrived. */
  get size(): number {
    return this.#size
  }

  send(arrive: () => void, size = 0): void {
    if (this.#isClosed) return
    this.#queue.push({ arrive, size })
    this.#size += size
    const { scheduler, packetMs } = this.#network
    this.#lastMs = Math.max(this.#lastMs, scheduler.nowMs + packetMs)
    scheduler.after(this.#lastMs - scheduler.nowMs, () => this.#arrive())
  }

  /** What is under way does not arrive. */
  close(): void {
    this.#isClosed = true
    this.#queue.length = 0
  }

  #arrive(): void {
    if (this.#isHeld || this.#queue.length === 0) return
    if (!this.#network.leads(this.#from, this.#to)) return this.#hold()
    const { arrive, size } = this.#queue.shift() as { arrive: () => void; size: number }
    this.#size -= size
    arrive()
    if (size > 0 && this.#size === 0) this.#onRoom()
  }

  #hold(): void {
    const { scheduler } = this.#network
    this.#isHeld = true
    const cancel = scheduler.after(STALL_MS_MAX, () => {
      if (this.#isClosed) return
      this.close()
      this.#onStall()
    })
    this.#network.whenMended(() => {
      cancel()
      this.#isHeld = false
      const count = this.#queue.length
      for (let each = 0; each < count && !this.#isHeld; each++) this.#arrive()
    })
  }
}
