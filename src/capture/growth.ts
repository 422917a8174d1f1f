/**
 * How far a transaction may claim that a database has grown. A new page that nobody has written is zero, and still
 * costs work, memory and room on every node, for a claim of four bytes.
 *
 * SQLite leaves few such pages: pages that were taken and given back in one transaction, and never left the memory of
 * its process.
 */
const UNWRITTEN_SIZE_MAX = 256 * 1024 * 1024

export interface Growth {
  readonly pageSize: number // bytes
  /** Pages before; 0 when none of them stays. */
  readonly before: number
  /** Pages afterwards. */
  readonly commit: number
  /** Bytes of pages beyond `before` that were written. Called only when it matters. */
  writtenSize(): number
}

/** Why the database cannot have grown that much; undefined when it can. */
export function growthProblem(growth: Growth): string | undefined {
  const { pageSize, before, commit } = growth
  const size = (commit - before) * pageSize
  if (size <= UNWRITTEN_SIZE_MAX) return undefined
  const writtenSize = growth.writtenSize()
  if (size - writtenSize <= UNWRITTEN_SIZE_MAX) return undefined
  const came = `${before} and ${Math.ceil(writtenSize / pageSize)} came`
  return `it says that the database has ${commit} pages, and there were ${came}`
}
