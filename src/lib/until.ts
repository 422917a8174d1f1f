/** Waits, with a limit. The functions for conditions resolve with whether the condition holds in the end. */
import { type Clock, sleep } from "./clock.ts"

export interface ToldWait {
  readonly clock: Clock
  readonly limitMs: number
  /** Calls back whenever the condition may have become true, until the returned function is called. */
  onChange(listener: () => void): () => void
}

/** For a condition whose changes are announced. */
export async function until(
  isSo: () => boolean,
  { clock, limitMs, onChange }: ToldWait,
): Promise<boolean> {
  if (isSo()) return true
  if (limitMs <= 0) return false
  const { promise, resolve } = Promise.withResolvers<void>()
  const unsubscribe = onChange(() => isSo() && resolve())
  const cancel = clock.after(limitMs, resolve)
  await promise
  cancel()
  unsubscribe()
  return isSo()
}

export interface SeenWait {
  readonly clock: Clock
  readonly limitMs: number
  readonly pauseMs: number
}

/** For a condition whose changes nobody announces: it is checked again and again. */
export async function untilSeen(
  isSo: () => boolean,
  { clock, limitMs, pauseMs }: SeenWait,
): Promise<boolean> {
  const endMs = clock.monotonicMs() + limitMs
  while (!isSo()) {
    if (clock.monotonicMs() >= endMs) return false
    await sleep(clock, pauseMs)
  }
  return true
}

/** The result of the work. Rejects with `late` when the work takes longer than the limit, and goes on without us. */
export async function inTime<T>(
  work: Promise<T>,
  { clock, limitMs }: Pick<SeenWait, "clock" | "limitMs">,
  late: () => Error,
): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const cancel = clock.after(limitMs, () => reject(late()))
  try {
    return await Promise.race([work, promise])
  } finally {
    cancel()
  }
}
