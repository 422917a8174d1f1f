/**
 * Time and chance, as a value from outside: a test can own both.
 *
 * Nothing else in `src` reads a clock or rolls dice (`test/tidy.test.ts` enforces this).
 */
export interface Clock {
  /** Milliseconds since 1970, for what people and other nodes read. It can jump. */
  wallMs(): number
  /** Milliseconds since some moment, with fractions, for measuring. It never goes backwards. */
  monotonicMs(): number
  /**
   * As `wallMs` when the process began; nobody sets it afterwards. Threads that measure together tell each other this
   * time, since each has a `monotonicMs` of its own.
   */
  steadyMs(): number
  /** A number in [0, 1), for jitter and for ids that may be guessed. */
  random(): number
  /** Calls back once after `delayMs`, unless the returned function is called before. */
  after(delayMs: number, callback: () => void): () => void
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  steadyMs: () => performance.timeOrigin + performance.now(),
  random: () => Math.random(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs)
    return () => clearTimeout(timer)
  },
}

/** Resolves after `delayMs`; rejects with the signal's reason when the signal is aborted before. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  if (signal?.aborted) {
    reject(signal.reason)
    return promise
  }
  const onAbort = () => {
    cancel()
    reject(signal?.reason)
  }
  const cancel = clock.after(delayMs, () => {
    signal?.removeEventListener("abort", onAbort)
    resolve()
  })
  signal?.addEventListener("abort", onAbort, { once: true })
  return promise
}

/** Calls back repeatedly, with the time since the beginning, until the returned function is called. */
export function every(clock: Clock, periodMs: number, callback: (ms: number) => void): () => void {
  const startMs = clock.monotonicMs()
  let cancel = () => {}
  const next = () => {
    cancel = clock.after(periodMs, () => {
      next()
      callback(clock.monotonicMs() - startMs)
    })
  }
  next()
  return () => cancel()
}

/** Keeps the process alive until the returned function is called. Otherwise it ends when it has nothing to wait for. */
export function keepAlive(clock: Clock): () => void {
  let cancel = clock.after(HOUR_MS, () => {
    cancel = keepAlive(clock)
  })
  return () => cancel()
}

const HOUR_MS = 3_600_000

/** Of two waits; undefined is none. */
export function earlier(waitMs: number | undefined, other: number | undefined): number | undefined {
  return waitMs === undefined || other === undefined ? (waitMs ?? other) : Math.min(waitMs, other)
}
