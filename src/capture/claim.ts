/**
 * What a client says of the size of a database, four bytes that it writes into page 1 or into a frame of the WAL, against
 * what it has written. Nothing is done for a size that is only said.
 */
import { LitefsError } from "../lib/errors.ts"
import { growthProblem } from "./growth.ts"
import type { History } from "./history.ts"

export interface Claim {
  readonly pageSize: number // bytes
  readonly commit: number // pages
  /** Of the database file, bytes; undefined when the new pages are elsewhere. */
  readonly fileSize?: number
  /** Pages of the database file, where it may be longer than the database (SQLITE_FCNTL_CHUNK_SIZE). */
  readonly roomForPages?: number
  /** How much was written of the database from there on, bytes. */
  writtenSize(from: number): number
}

/** Throws when it cannot be so. `refused` hears of it first. */
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
  if (fileSize !== undefined && commit > Math.ceil(fileSize / pageSize) + 1) {
    return `page 1 says that the database has ${commit} pages, and its file has ${fileSize} bytes`
  }
  const known = pageSize === history.pageSize ? history.commit : 0
  const before = Math.max(known, claim.roomForPages ?? 0)
  const writtenSize = () => claim.writtenSize(before * pageSize)
  return growthProblem({ pageSize, before, commit, writtenSize })
}
