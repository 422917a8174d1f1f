/**
 * What SQLite writes at the beginning of the files beside a database. A program that puts something else there copies a
 * file, and takes no part in SQLite's locking.
 *
 *   -wal       the header, 32 bytes, and nothing with it           wal.c: walFrames
 *   -journal   the header of a segment, a sector at the most;      pager.c: writeJournalHdr
 *              its magic and record count may still be zero
 *              the magic and the record count, 12 bytes            pager.c: syncJournal
 *              28 zeros, which end the journal                     pager.c: zeroJournalHdr
 *
 * The following records and frames are always separate writes. A copy of a file comes in larger parts.
 */
import { isZero, readU32BE } from "../lib/bytes.ts"
import { isSectorSize, JOURNAL_HEADER_SIZE, JOURNAL_MAGIC, startsWithMagic } from "./journal.ts"
import { isPageSize } from "./page-size.ts"
import { isWalMagic, WAL_HEADER_SIZE } from "./wal.ts"

/**
 *   sqlite    SQLite writes this
 *   copy      a file of SQLite's, as a copy: its header and what follows
 *   foreign   nothing of SQLite's
 */
export type Writer = "sqlite" | "copy" | "foreign"

const SYNCED_SIZE = JOURNAL_MAGIC.length + 4
const SECTOR_SIZE_OFFSET = 20
const PAGE_SIZE_OFFSET = 24

/** Who writes this to a WAL. The checksums of frames are checked elsewhere. */
export function writerOfWal(offset: number, bytes: Uint8Array): Writer {
  if (offset >= WAL_HEADER_SIZE) return "sqlite"
  const isMagic = offset > 0 || (bytes.length >= 4 && isWalMagic(readU32BE(bytes, 0)))
  if (!isMagic) return "foreign"
  return offset + bytes.length <= WAL_HEADER_SIZE ? "sqlite" : "copy"
}

/** Who writes this to a rollback journal. */
export function writerOfJournal(offset: number, bytes: Uint8Array): Writer {
  if (offset !== 0) return "sqlite"
  const size = bytes.length
  if (size === SYNCED_SIZE) return startsWithMagic(bytes) ? "sqlite" : "foreign"
  if (size < JOURNAL_HEADER_SIZE) return "foreign"
  if (size === JOURNAL_HEADER_SIZE && isZero(bytes)) return "sqlite"
  const sectorSize = readU32BE(bytes, SECTOR_SIZE_OFFSET)
  if (!isSectorSize(sectorSize) || !isPageSize(readU32BE(bytes, PAGE_SIZE_OFFSET))) return "foreign"
  if (!startsWithMagic(bytes) && !isZero(bytes.subarray(0, SYNCED_SIZE))) return "foreign"
  return size <= sectorSize ? "sqlite" : "copy"
}
