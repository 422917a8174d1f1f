/**
 * Collects the garbage of a thread without an event loop. The engine collects in timers, which such a thread never
 * reaches, or when so much garbage is left that a process has twice the memory that it needs.
 *
 *   work ── worked() ──▶ due after INTERVAL_MS ── idle() ──▶ collected
 *                                 └── no pause for PATIENCE_MS ──▶ collected
 */
import { type Clock, every } from "../../lib/clock.ts"

const INTERVAL_MS = 5000
const PATIENCE_MS = 30_000
/** This long without work is a pause. */
const PAUSE_MS = 50
/** Processor time: less work leaves little garbage. */
const WORK_MS_MIN = 50
const PERIOD_MS = 10_000

export class Garbage {
  readonly #clock: Clock
  readonly #collect: () => void
  #collectedMs: number
  #hasWorked = false

  constructor(clock: Clock, collect = () => Bun.gc(true)) {
    this.#clock = clock
    this.#collect = collect
    this.#collectedMs = clock.monotonicMs()
  }

  /** Returns in how many milliseconds to call idle() if nothing happens until then; undefined: no call is needed. */
  worked(): number | undefined {
    this.#hasWorked = true
    const sinceMs = this.#clock.monotonicMs() - this.#collectedMs
    if (sinceMs < INTERVAL_MS) return INTERVAL_MS - sinceMs
    if (sinceMs >= PATIENCE_MS) this.#now()
    return PAUSE_MS
  }

  /** Nothing has happened. Returns as worked(). */
  idle(): number | undefined {
    if (!this.#hasWorked) return undefined
    const sinceMs = this.#clock.monotonicMs() - this.#collectedMs
    if (sinceMs < INTERVAL_MS) return INTERVAL_MS - sinceMs
    this.#now()
    return undefined
  }

  #now(): void {
    this.#collect()
    this.#collectedMs = this.#clock.monotonicMs()
    this.#hasWorked = false
  }
}

/**
 * The same for a thread with an event loop, until the returned function is called. The engine collects only young
 * objects there, and the allocator keeps freed memory: both are due to a collection of everything.
 */
export function collectWhenWorked(
  clock: Clock,
  collect = () => Bun.gc(true),
  cpuMs = threadCpuMs,
): () => void {
  let collectedMs = cpuMs()
  return every(clock, PERIOD_MS, () => {
    if (cpuMs() - collectedMs < WORK_MS_MIN) return
    collect()
    collectedMs = cpuMs()
  })
}

/** Processor time that the calling thread has used. */
function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}
