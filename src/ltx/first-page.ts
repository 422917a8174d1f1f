/**
 * Whether the first page of a snapshot or a transaction is that of the database that it claims to be of.
 *
 * Every other page may be anything, and any bytes have a right checksum. But page 1 of a database identifies itself,
 * and bytes read from the wrong place, or from nowhere, do not.
 */
import { decodeDatabaseHeader } from "../sqlite/database-header.ts"

/** What is wrong with page 1, without a subject but "it"; undefined when nothing is. */
export function firstPageProblem(page: Uint8Array, pageSize: number): string | undefined {
  const header = decodeDatabaseHeader(page)
  if (header === undefined) return "its first page is not that of a SQLite database"
  if (header.pageSize === pageSize) return undefined
  return `its first page is of a database with pages of ${header.pageSize} bytes, its own have ${pageSize}`
}
