/**
 * What SQLite writes at the beginning of the files beside a database. Who puts something else there copies a file, and
 * does not take part in SQLite's locking.
 *
 *   -wal       the header, 32 bytes, and nothing with it           wal.c: walFrames
 *   -journal   the header of a segment, a sector at the most;      pager.c: writeJournalHdr
 *              its magic and record count may still be zero
 *              the magic and the record count, 12 bytes            pager.c: syncJournal
 *              28 zeros, which end the journal                     pager.c: zeroJournalHdr
 *
 * The records and frames that follow are always writes of their own. A file that is copied comes in larger parts.
 */
import { isZero, readU32BE } from "../lib/bytes.ts"
import { isPageSize } from "../lib/page-size.ts"
import { isSectorSize, JOURNAL_HEADER_SIZE, JOURNAL_MAGIC } from "./journal.ts"
import { decodeWalHeader, WAL_HEADER_SIZE } from "./wal.ts"

const SYNCED_SIZE = JOURNAL_MAGIC.length + 4
const SECTOR_SIZE_OFFSET = 20
const PAGE_SIZE_OFFSET = 24

/** Whether SQLite may write these bytes at this offset of a WAL. Frames are judged by their checksums, elsewhere. */
export function isWriteToWal(offset: number, bytes: Uint8Array): boolean {
  if (offset >= WAL_HEADER_SIZE) return true
  const isHeader = offset === 0 && bytes.length === WAL_HEADER_SIZE
  return isHeader && decodeWalHeader(bytes) !== undefined
}

/** Whether SQLite may write these bytes at this offset of a rollback journal. */
export function isWriteToJournal(offset: number, bytes: Uint8Array): boolean {
  if (offset !== 0) return true
  const size = bytes.length
  if (size === SYNCED_SIZE) return hasMagic(bytes)
  if (size < JOURNAL_HEADER_SIZE) return false
  if (size === JOURNAL_HEADER_SIZE && isZero(bytes)) return true
  const sectorSize = readU32BE(bytes, SECTOR_SIZE_OFFSET)
  if (!isSectorSize(sectorSize) || size > sectorSize) return false
  if (!isPageSize(readU32BE(bytes, PAGE_SIZE_OFFSET))) return false
  return hasMagic(bytes) || isZero(bytes.subarray(0, SYNCED_SIZE))
}

function hasMagic(bytes: Uint8Array): boolean {
  return JOURNAL_MAGIC.every((byte, index) => bytes[index] === byte)
}
