/**
 * Words of memory that threads share and that change together: a reader sees the result of one write, never half of it.
 * A sequence number guards them, and is odd while they change. One thread writes at a time, any thread may read.
 *
 * Words that a reader decides by are loaded and stored with Atomics. Plain accesses may reach other threads in another
 * order, as they do on arm64, and a reader would then take the words of two writes for one. Long data that is only
 * copied may be copied plainly: on both sides the copy lies between two changes of the sequence that read and write at
 * once (Atomics.add), and no access passes those in either direction.
 */
export function writeGuarded(words: Int32Array, sequence: number, write: () => void): void {
  Atomics.add(words, sequence, 1)
  try {
    write()
  } finally {
    Atomics.add(words, sequence, 1) // else every reader would wait for ever
  }
}

/** What `read` makes of the words. Calls it again until nothing changes meanwhile. */
export function readGuarded<T>(words: Int32Array, sequence: number, read: () => T): T {
  for (;;) {
    const seen = tryReadGuarded(words, sequence, read)
    if (seen !== CHANGED) return seen
  }
}

/** As readGuarded(), for a caller that does not wait. */
export function tryReadGuarded<T>(
  words: Int32Array,
  sequence: number,
  read: () => T,
): T | typeof CHANGED {
  const before = Atomics.load(words, sequence)
  if (before % 2 !== 0) return CHANGED
  const seen = read()
  return Atomics.add(words, sequence, 0) === before ? seen : CHANGED
}

export const CHANGED = Symbol("changed")

/** A number of 64 bits: its low half, then its high half. */
export function loadU64(words: Int32Array, at: number): bigint {
  const [low, high] = [Atomics.load(words, at), Atomics.load(words, at + 1)]
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)
}

export function storeU64(words: Int32Array, at: number, value: bigint): void {
  Atomics.store(words, at, lowHalf(value))
  Atomics.store(words, at + 1, highHalf(value))
}

function lowHalf(value: bigint): number {
  return Number(BigInt.asIntN(32, value))
}

function highHalf(value: bigint): number {
  return Number(BigInt.asIntN(32, value >> 32n))
}
