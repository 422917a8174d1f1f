/**
 * A thread of a simulated node, other than its main thread: it does one thing after the other, and waits for the disk
 * while nothing else goes on in it. What others see of its work they see when it is done.
 */
import { drainMicrotasks } from "bun:jsc"
import type { Message } from "../../src/lib/port.ts"
import type { Process } from "./scheduler.ts"

/** From one thread to another. */
const HOP_MS = 0.02

export class SimulatedThread {
  readonly process: Process
  readonly #queue: (() => void)[] = []
  #busyUntilMs = 0
  #aheadMs = 0
  #isRunning = false
  #isWaiting = false

  constructor(process: Process) {
    this.process = process
  }

  /** Its own time: while it is at work, it has waited for the disk. */
  get machineMs(): number {
    return this.process.machineMs + this.#aheadMs
  }

  /** When its present work is done, by the time of the simulation. */
  get doneAtMs(): number {
    return this.process.scheduler.nowMs + this.#aheadMs
  }

  /** The work that is under way takes so much longer. */
  takes(ms: number): void {
    this.#aheadMs += ms
  }

  /** After the work that came before. */
  deliver(work: () => void): void {
    this.#queue.push(work)
    this.#pump()
  }

  /** Others see it when the present work is done. */
  show(act: () => void): void {
    if (this.#aheadMs > 0) this.process.after(this.#aheadMs, act)
    else act()
  }

  #pump(): void {
    if (this.#isRunning || this.#isWaiting) return
    this.#isRunning = true
    while (this.#queue.length > 0) {
      const { nowMs } = this.process.scheduler
      if (nowMs < this.#busyUntilMs) {
        this.#isWaiting = true
        this.process.after(this.#busyUntilMs - nowMs, () => {
          this.#isWaiting = false
          this.#pump()
        })
        break
      }
      this.#aheadMs = 0
      ;(this.#queue.shift() as () => void)()
      this.#busyUntilMs = nowMs + this.#aheadMs
      this.#aheadMs = 0
    }
    this.#isRunning = false
  }
}

/** The way of messages to a thread of the same process. Those of one moment arrive one after the other. */
class Way {
  readonly #process: Process
  #together: (() => void)[] | undefined
  #sentMs = -1

  constructor(process: Process) {
    this.#process = process
  }

  send(arrive: () => void): void {
    const { nowMs } = this.#process.scheduler
    if (this.#together !== undefined && this.#sentMs === nowMs)
      return void this.#together.push(arrive)
    const together = [arrive]
    this.#together = together
    this.#sentMs = nowMs
    this.#process.after(HOP_MS, () => {
      if (this.#together === together) this.#together = undefined
      for (const each of together) {
        if (!this.#process.isAlive) return
        each()
        drainMicrotasks()
      }
    })
  }
}

/** A `Worker` as far as a port uses it. */
export class SimulatedWorker {
  onmessage: ((event: { readonly data: Message }) => void) | undefined
  onerror: unknown
  readonly #thread: SimulatedThread
  readonly #there: Way
  readonly #back: Way
  readonly #take: (message: Message) => void

  constructor(thread: SimulatedThread, take: (message: Message) => void) {
    this.#thread = thread
    this.#there = new Way(thread.process)
    this.#back = new Way(thread.process)
    this.#take = take
  }

  addEventListener(): void {}

  /** To the thread. */
  postMessage(message: Message): void {
    this.#there.send(() => this.#thread.deliver(() => this.#take(message)))
  }

  /** To the main thread, when the present work is done. */
  answer(message: Message): void {
    this.#thread.show(() => this.#back.send(() => this.onmessage?.({ data: message })))
  }
}
