/**
 * Other counters in the header of a database than it has, for the clients of a replica whose database has got another
 * history. They compare what they remember with these, and with nothing else:
 *
 *     24, 92  change counter, and the copy of it that says that the page count is right
 *     40      schema cookie
 *
 * A number that was drawn for the new history is added to each, for as long as the mount lives: whoever remembers
 * the old content finds other counters, and whoever comes later finds them rising as they do. What the replica
 * keeps, sends and exports is as the primary made it.
 */
import { readU32BE, writeU32BE } from "../lib/bytes.ts"
import {
  CHANGE_COUNTER_OFFSET,
  DATABASE_HEADER_SIZE,
  SCHEMA_COOKIE_OFFSET,
  VERSION_VALID_FOR_OFFSET,
} from "../sqlite/database-header.ts"

const OFFSETS = [CHANGE_COUNTER_OFFSET, SCHEMA_COOKIE_OFFSET, VERSION_VALID_FOR_OFFSET]

/** `bytes` begin at `offset` of the file. The kernel reads whole pages of memory, so a header is in one piece. */
export function disguiseHeader(bytes: Uint8Array, offset: number, added: number): void {
  if (offset !== 0 || bytes.length < DATABASE_HEADER_SIZE) return
  for (const at of OFFSETS) writeU32BE(bytes, at, (readU32BE(bytes, at) + added) >>> 0)
}
