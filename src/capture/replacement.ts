/**
 * A whole database in a file that will replace another database's content, with the LTX file that says so. Both are
 * made before anybody is locked out (peer/serve/import-preparation.ts).
 *
 * Its pages stay as they are, except for the first bytes: clients that have the old content open compare them with what
 * they know, and must see that everything is different now.
 *
 *     18, 19  journal mode         that of the old content: it is the one that open clients are in
 *     24, 92  change counter       another than that of the old content
 *     28      page count           that of the file, since 92 says now that it is right
 *     40      schema cookie        another than that of the old content
 *
 * Between the preparation and the replacement the old content goes on counting, so both numbers jump ahead.
 */
import { readU32BE, writeU32BE } from "../lib/bytes.ts"
import {
  CHANGE_COUNTER_OFFSET,
  decodeDatabaseHeader,
  PAGE_COUNT_OFFSET,
  READ_VERSION_OFFSET,
  SCHEMA_COOKIE_OFFSET,
  VERSION_VALID_FOR_OFFSET,
  WRITE_VERSION_OFFSET,
} from "../sqlite/database-header.ts"
import type { PageChecksums } from "./page-checksums.ts"

export interface Replacement {
  /** The database file, which is moved. */
  readonly path: string
  /** Where the file that it replaces goes. */
  readonly oldPath: string
  /** The LTX file of all its pages, which is moved too. */
  readonly ltxPath: string
  readonly pageSize: number
  readonly commit: number // pages
  readonly isWalMode: boolean
  readonly sums: PageChecksums
}

/** More transactions than there can be while a file is prepared. */
const JUMP = 0x100000

/** The first bytes of the new content. `old` are those of the content that goes; undefined when there is none. */
export function adaptHeader(
  bytes: Uint8Array,
  old: Uint8Array | undefined,
  pageCount: number,
): Uint8Array {
  const header = bytes.slice()
  const change = countedOn(bytes, old, CHANGE_COUNTER_OFFSET)
  writeU32BE(header, CHANGE_COUNTER_OFFSET, change)
  writeU32BE(header, VERSION_VALID_FOR_OFFSET, change)
  writeU32BE(header, PAGE_COUNT_OFFSET, pageCount)
  writeU32BE(header, SCHEMA_COOKIE_OFFSET, countedOn(bytes, old, SCHEMA_COOKIE_OFFSET))
  if (old === undefined || decodeDatabaseHeader(old) === undefined) return header
  for (const offset of [WRITE_VERSION_OFFSET, READ_VERSION_OFFSET]) {
    header[offset] = old[offset] as number
  }
  return header
}

/** Whether clients of the old content, as it is now, will see that the new one differs. */
export function isFitFor(header: Uint8Array, old: Uint8Array): boolean {
  const isSame = (offset: number) => readU32BE(header, offset) === readU32BE(old, offset)
  if (isSame(CHANGE_COUNTER_OFFSET) || isSame(SCHEMA_COOKIE_OFFSET)) return false
  if (decodeDatabaseHeader(old) === undefined) return true
  return (
    header[READ_VERSION_OFFSET] === old[READ_VERSION_OFFSET] &&
    header[WRITE_VERSION_OFFSET] === old[WRITE_VERSION_OFFSET]
  )
}

function countedOn(bytes: Uint8Array, old: Uint8Array | undefined, offset: number): number {
  const before = old === undefined ? 0 : readU32BE(old, offset)
  return (Math.max(readU32BE(bytes, offset), before) + JUMP) >>> 0
}
