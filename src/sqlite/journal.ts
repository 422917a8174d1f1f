/**
 * The rollback journal: the pages that a transaction has overwritten, to put them back. Big endian.
 *
 *     segment: header, padded to the sector size     record
 *      0  magic d9d505f920a163d7                      0       u32 page number
 *      8  u32 record count; ffffffff: up to the       4       the page before the transaction
 *         end of the file; 0: not yet synced          4+size  u32 checksum
 *     12  u32 nonce of the checksums
 *     16  u32 size of the database before the        super-journal name, at the end of the file
 *         transaction, in pages                       u32 lock page, name, u32 size of the name,
 *     20  u32 sector size                             u32 sum of its bytes, magic
 *     24  u32 page size
 *
 * Each sync of the journal ends a segment; the next begins at the next sector. Sector size, page size and database size
 * count only in the first header. The first record that is not whole ends the journal: it was not synced, so the page
 * that it saves has not been overwritten yet.
 *
 * A journal is hot, and must be played back before anybody reads the database, if the database has a page, no process
 * holds RESERVED, the journal's first byte is not 0, and the super-journal that it names, if any, still exists. The
 * caller checks what the journal's bytes do not tell. SQLite: hasHotJournal, pager_playback.
 */

import type { ByteSource } from "../lib/byte-source.ts"
import { readU32BE } from "../lib/bytes.ts"
import { PENDING_BYTE } from "./lock-bytes.ts"
import { isPageSize } from "./page-size.ts"

export const JOURNAL_HEADER_SIZE = 28
export const JOURNAL_MAGIC = Uint8Array.of(0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7)

/** Stands for a record count: as many as there are. */
const COUNT_TO_END = 0xffffffff

const MIN_SECTOR_SIZE = 32
const MAX_SECTOR_SIZE = 65536
/** The sector size that SQLite assumes before it has read the first header. */
const ASSUMED_SECTOR_SIZE = 512

/** The checksum adds up the bytes of a page this far apart, from the end. */
const CHECKSUM_STEP = 200

const SUPER_JOURNAL_TAIL_SIZE = 16
const MAX_SUPER_JOURNAL_NAME_SIZE = 4096

export interface JournalHeader {
  /** The count of this segment, as stored. */
  readonly recordCount: number
  readonly nonce: number
  /** A rollback truncates the database to this, even without a record to put back. */
  readonly initialPageCount: number
  readonly sectorSize: number
  readonly pageSize: number
}

export interface JournalRecord {
  readonly pgno: number
  /** Borrowed: valid until the next record is asked for. */
  readonly page: Uint8Array
}

/** The fields of a segment's header; undefined when it does not begin with the magic. */
export function decodeJournalHeader(bytes: Uint8Array): JournalHeader | undefined {
  if (bytes.length < JOURNAL_HEADER_SIZE || !startsWithMagic(bytes)) return undefined
  return {
    recordCount: readU32BE(bytes, 8),
    nonce: readU32BE(bytes, 12),
    initialPageCount: readU32BE(bytes, 16),
    sectorSize: readU32BE(bytes, 20),
    pageSize: readU32BE(bytes, 24),
  }
}

/**
 * The first header; undefined when there is nothing to play back: SQLite then leaves the database as it is. SQLite:
 * readJournalHdr.
 */
export function readJournalHeader(source: ByteSource): JournalHeader | undefined {
  if (source.size < ASSUMED_SECTOR_SIZE) return undefined
  const header = readHeaderAt(source, 0)
  if (header === undefined || !isPageSize(header.pageSize)) return undefined
  return isSectorSize(header.sectorSize) ? header : undefined
}

/** Whether SQLite would look further than the first byte: a 0 there ends a journal. */
export function isJournalActive(source: ByteSource): boolean {
  const first = new Uint8Array(1)
  return source.readAt(0, first) === 1 && first[0] !== 0
}

/** How far a reader has come in a journal that is still being written. */
export interface JournalPlace {
  /** Where its segment begins, bytes. */
  segment: number
  /** Records of that segment that were read. */
  count: number
}

export function startOfJournal(): JournalPlace {
  return { segment: 0, count: 0 }
}

/**
 * The pages to put back, in order, up to the first invalid record. SQLite: pager_playback. `place` moves on with what is
 * read: with it, another call goes on there.
 */
export function* readJournal(
  source: ByteSource,
  place = startOfJournal(),
): Generator<JournalRecord, void, void> {
  const first = readJournalHeader(source)
  if (first === undefined) return
  const { pageSize, sectorSize, initialPageCount } = first
  const lockPgno = PENDING_BYTE / pageSize + 1
  const record = new Uint8Array(4 + pageSize + 4)
  const page = record.subarray(4, 4 + pageSize)

  let header = place.segment === 0 ? first : readHeaderAt(source, place.segment)
  while (header !== undefined && place.segment + sectorSize <= source.size) {
    const start = place.segment + sectorSize
    const recordsToEnd = Math.floor((source.size - start) / record.length)
    const count = header.recordCount === COUNT_TO_END ? recordsToEnd : header.recordCount
    while (place.count < count) {
      if (source.readAt(start + place.count * record.length, record) < record.length) return
      const pgno = readU32BE(record, 0)
      if (pgno === 0 || pgno === lockPgno) return
      // A larger one: the transaction made the database larger. Truncating it undoes that.
      const isSaved = pgno <= initialPageCount
      if (isSaved && journalChecksum(header.nonce, page) !== readU32BE(record, 4 + pageSize)) return
      place.count += 1
      if (isSaved) yield { pgno, page }
    }
    const next = Math.ceil((start + count * record.length) / sectorSize) * sectorSize
    header = readHeaderAt(source, next)
    if (header === undefined) return
    place.segment = next
    place.count = 0
  }
}

/** SQLite: pager_cksum. */
export function journalChecksum(nonce: number, page: Uint8Array): number {
  let sum = nonce
  for (let i = page.length - CHECKSUM_STEP; i > 0; i -= CHECKSUM_STEP) sum += page[i] as number
  return sum >>> 0
}

/**
 * The path of the super-journal of a transaction over several databases. While that file exists none of them has
 * committed. SQLite: readSuperJournal.
 */
export function readSuperJournalName(source: ByteSource): string | undefined {
  const tailAt = source.size - SUPER_JOURNAL_TAIL_SIZE
  const tail = new Uint8Array(SUPER_JOURNAL_TAIL_SIZE)
  if (tailAt < 0 || source.readAt(tailAt, tail) < tail.length) return undefined
  const size = readU32BE(tail, 0)
  if (!startsWithMagic(tail, 8)) return undefined
  if (size === 0 || size > tailAt || size > MAX_SUPER_JOURNAL_NAME_SIZE) return undefined
  const name = new Uint8Array(size)
  if (source.readAt(tailAt - size, name) < size) return undefined
  return isNameSum(name, readU32BE(tail, 4)) ? new TextDecoder().decode(name) : undefined
}

/** SQLite sums `char`s, which are signed on x86 and unsigned on ARM. Either sum is right. */
function isNameSum(name: Uint8Array, sum: number): boolean {
  let signed = 0
  let unsigned = 0
  for (const byte of name) {
    signed += (byte << 24) >> 24
    unsigned += byte
  }
  return sum === signed >>> 0 || sum === unsigned >>> 0
}

function readHeaderAt(source: ByteSource, offset: number): JournalHeader | undefined {
  const bytes = new Uint8Array(JOURNAL_HEADER_SIZE)
  return source.readAt(offset, bytes) < bytes.length ? undefined : decodeJournalHeader(bytes)
}

export function startsWithMagic(bytes: Uint8Array, offset = 0): boolean {
  return JOURNAL_MAGIC.every((byte, i) => bytes[offset + i] === byte)
}

export function isSectorSize(size: number): boolean {
  return size >= MIN_SECTOR_SIZE && size <= MAX_SECTOR_SIZE && (size & (size - 1)) === 0
}
