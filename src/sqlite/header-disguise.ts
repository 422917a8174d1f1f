/**
 * Counters in the header of a database, changed for the clients of a replica whose database has another history now.
 * Clients compare what they remember with these, and with nothing else:
 *
 *     24, 92  change counter, and its copy, which confirms the page count
 *     40      schema cookie
 *
 * A number drawn for the new history is added to each, for as long as the mount lives. A client that remembers the old
 * content finds other counters, and a later client finds them rising as usual. The replica keeps, sends and exports the
 * database as the primary made it.
 */
import { readU32BE, writeU32BE } from "../lib/bytes.ts"
import {
  CHANGE_COUNTER_OFFSET,
  DATABASE_HEADER_SIZE,
  SCHEMA_COOKIE_OFFSET,
  VERSION_VALID_FOR_OFFSET,
} from "./database-header.ts"

const OFFSETS = [CHANGE_COUNTER_OFFSET, SCHEMA_COOKIE_OFFSET, VERSION_VALID_FOR_OFFSET]

/** `bytes` begin at `offset` of the file. The kernel reads whole pages of memory, so a header comes in one piece. */
export function disguiseHeader(bytes: Uint8Array, offset: number, added: number): void {
  if (offset !== 0 || bytes.length < DATABASE_HEADER_SIZE) return
  for (const at of OFFSETS) writeU32BE(bytes, at, (readU32BE(bytes, at) + added) >>> 0)
}
