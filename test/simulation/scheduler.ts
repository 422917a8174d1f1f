/**
 * Simulated time. There is one queue of events, ordered by their times, and among those of one time by when they were
 * made. Between two events every promise that can go on does so: nothing happens but in an event, or because of one.
 */
import { drainMicrotasks } from "bun:jsc"
import type { Clock } from "../../src/lib/clock.ts"
import type { Random } from "../support/random.ts"

interface Event {
  readonly atMs: number
  readonly order: number
  act: (() => void) | undefined // undefined: it was cancelled
}

export class Scheduler {
  nowMs = 0
  eventCount = 0
  readonly #heap: Event[] = []
  #order = 0

  /** Returns how to cancel it. */
  after(delayMs: number, act: () => void): () => void {
    const event: Event = { atMs: this.nowMs + Math.max(0, delayMs), order: this.#order++, act }
    this.#push(event)
    return () => {
      event.act = undefined
    }
  }

  /** Runs what falls due until then, or until `isOver`. */
  run(untilMs: number, isOver: () => boolean = () => false): void {
    drainMicrotasks()
    for (;;) {
      const next = this.#heap[0]
      if (next === undefined || next.atMs > untilMs || isOver()) break
      this.#pop()
      if (next.act === undefined) continue
      this.nowMs = next.atMs
      this.eventCount += 1
      next.act()
      drainMicrotasks()
    }
    if (!isOver()) this.nowMs = Math.max(this.nowMs, untilMs)
  }

  #push(event: Event): void {
    const heap = this.#heap
    let at = heap.push(event) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(event, heap[parent] as Event)) break
      heap[at] = heap[parent] as Event
      at = parent
    }
    heap[at] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop() as Event
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let child = at * 2 + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) {
        child += 1
      }
      if (!isBefore(heap[child] as Event, last)) break
      heap[at] = heap[child] as Event
      at = child
    }
    heap[at] = last
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}

/** When the simulation begins, by clocks that are right: 2026-01-01. */
const EPOCH_MS = 1_767_225_600_000

/**
 * A process of the simulation, as far as time concerns it. What is due while it is stopped (SIGSTOP) comes when it goes
 * on; what is due after its end never comes.
 */
export class Process {
  /** That something has happened to last: for the log. */
  static current: Process | undefined
  readonly name: string
  readonly scheduler: Scheduler
  readonly random: Random
  /** How fast its machine's clock goes: 1 is right. */
  readonly rate: number
  /** What somebody has set the wall clock of its machine by. */
  wallOffsetMs = 0
  #isAlive = true
  #isStopped = false
  #due: (() => void)[] = []

  constructor(name: string, scheduler: Scheduler, random: Random, rate: number) {
    this.name = name
    this.scheduler = scheduler
    this.random = random
    this.rate = rate
  }

  get isAlive(): boolean {
    return this.#isAlive
  }

  get isStopped(): boolean {
    return this.#isStopped
  }

  end(): void {
    this.#isAlive = false
    this.#due = []
  }

  stop(): void {
    this.#isStopped = true
  }

  goOn(): void {
    this.#isStopped = false
    const due = this.#due
    this.#due = []
    for (const act of due) this.after(0, act)
  }

  /** Does it now, or when the process goes on. */
  run(act: () => void): void {
    if (!this.#isAlive) return
    if (this.#isStopped) this.#due.push(act)
    else this.#act(act)
  }

  #act(act: () => void): void {
    Process.current = this
    act()
  }

  /** Something that concerns the process happens. */
  after(delayMs: number, act: () => void): () => void {
    let isCancelled = false
    const run = () => {
      if (!this.#isAlive || isCancelled) return
      if (this.#isStopped) this.#due.push(run)
      else this.#act(act)
    }
    const cancel = this.scheduler.after(delayMs, run)
    return () => {
      isCancelled = true
      cancel()
    }
  }

  /** Resolves when what takes so long is over. */
  waits(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.after(ms, resolve)
    return promise
  }

  /** Of its machine: it goes on while the process is stopped. */
  get machineMs(): number {
    return 1000 + this.scheduler.nowMs * this.rate
  }

  readonly clock: Clock = {
    wallMs: () => Math.floor(EPOCH_MS + this.machineMs + this.wallOffsetMs),
    monotonicMs: () => this.machineMs,
    steadyMs: () => EPOCH_MS + this.machineMs,
    random: () => this.random.u32() / 2 ** 32,
    // As setTimeout() has it: a whole number of milliseconds, one at least.
    after: (delayMs, callback) =>
      this.after(Math.max(1, Math.trunc(delayMs)) / this.rate, callback),
  }
}
