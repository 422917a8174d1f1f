/**
 * Bytes of a file that fcntl(2) locks, both ends included. Offsets are bigints: "to the end of the file" is OFFSET_MAX,
 * and a lock may begin beyond any size of our files.
 */
export interface LockRange {
  readonly start: bigint
  readonly end: bigint
}

/** The last byte that a Linux file can have: 2^63 - 1. */
export const OFFSET_MAX = (1n << 63n) - 1n

export function overlaps(a: LockRange, b: LockRange): boolean {
  return a.start <= b.end && b.start <= a.end
}

export function includes({ start, end }: LockRange, byte: number): boolean {
  return start <= byte && byte <= end
}

/** The intersection of two ranges that overlap. */
export function intersection(a: LockRange, b: LockRange): LockRange {
  const { start } = a.start > b.start ? a : b
  const { end } = a.end < b.end ? a : b
  return { start, end }
}

/** The parts of `range` that no range of `others` covers, in order. */
export function without(range: LockRange, others: readonly LockRange[]): LockRange[] {
  let parts: LockRange[] = [{ start: range.start, end: range.end }]
  for (const other of others) {
    parts = parts.flatMap((part) => {
      if (!overlaps(part, other)) return [part]
      const left = { start: part.start, end: other.start - 1n }
      const right = { start: other.end + 1n, end: part.end }
      return [left, right].filter(({ start, end }) => start <= end)
    })
  }
  return parts
}
