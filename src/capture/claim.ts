/**
 * Checks a client's statement about the size of a database, four bytes in page 1 or in a frame of the WAL, against what
 * the client has written. A mere statement must not cause work.
 */
import { LitefsError } from "../lib/errors.ts"
import { lockPgno } from "../ltx/checksum.ts"
import type { History } from "./history.ts"

/**
 * How far a transaction may claim that a database has grown. A new page that nobody has written is zero, and still
 * costs work, memory and room on every node, for a claim of four bytes.
 *
 * SQLite leaves few such pages: pages that were taken and given back in one transaction, and never left the memory of
 * its process.
 */
export const UNWRITTEN_SIZE_MAX = 256 * 1024 * 1024

export interface Claim {
  readonly pageSize: number // bytes
  readonly commit: number // pages
  /** Size of the database file, bytes; undefined when the new pages are elsewhere. */
  readonly fileSize?: number
  /** Pages of the database file, where it may be longer than the database (SQLITE_FCNTL_CHUNK_SIZE). */
  readonly roomForPages?: number
  /** How many bytes of the database were written from there on. */
  writtenSize(from: number): number
}

/** Throws when the claim cannot be true. `refused` hears of it first. */
export function checkClaim(
  claim: Claim,
  history: History,
  refused: (message: string) => void,
): void {
  const problem = problemOf(claim, history)
  if (problem === undefined) return
  const message = `Cannot commit to database "${history.name}": ${problem}`
  refused(message)
  throw new LitefsError("damaged", message)
}

function problemOf(claim: Claim, history: History): string | undefined {
  const { pageSize, commit, fileSize } = claim
  // Before a commit SQLite makes the file as large (pager.c: pager_truncate), but for a lock page at its end.
  const last = commit === lockPgno(pageSize) ? commit - 1 : commit
  if (fileSize !== undefined && last > Math.ceil(fileSize / pageSize)) {
    return `page 1 says that the database has ${commit} pages, and its file has ${fileSize} bytes`
  }
  const known = pageSize === history.pageSize ? history.commit : 0
  const before = Math.max(known, claim.roomForPages ?? 0)
  const size = (commit - before) * pageSize
  if (size <= UNWRITTEN_SIZE_MAX) return undefined
  const writtenSize = claim.writtenSize(before * pageSize)
  if (size - writtenSize <= UNWRITTEN_SIZE_MAX) return undefined
  const came = `${before} and ${Math.ceil(writtenSize / pageSize)} came`
  return `it says that the database has ${commit} pages, and there were ${came}`
}
