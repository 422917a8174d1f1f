/** Waiting until something is so, for no longer than one can. Both resolve with whether it is so in the end. */
import { type Clock, sleep } from "./clock.ts"

export interface ToldWait {
  readonly clock: Clock
  readonly limitMs: number
  /** Calls back whenever it may have become so, until the returned function is called. */
  onChange(listener: () => void): () => void
}

/** Of what tells when it changes. */
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

/** Of what nobody tells of, and has to be looked at again and again. */
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
