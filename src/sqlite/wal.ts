/**
 * The write-ahead log: a header, then frames, each one version of one page. Big endian.
 *
 *     header, 32 bytes                            frame header, 24 bytes, then the page
 *      0  magic 377f0682, or …83: the checksum     0  u32 page number
 *         reads its words big endian               4  u32 commit: size of the database in pages
 *      4  format 3007000                              if this frame commits, else 0
 *      8  page size                                8  salts, as in the header
 *     12  checkpoint sequence number              16  checksum of bytes 0 to 7 and of the page,
 *     16  salt 1, salt 2                              going on from the frame before, the first
 *     24  checksum of bytes 0 to 23                   one from the header
 *
 * A frame is valid if and only if its salts are those of the header, its page number is not 0, and its checksum is
 * right. An invalid frame ends the log, whatever follows. A frame counts once a commit frame is valid at or after it.
 * The salts change when the log starts again from its beginning, which makes the old frames invalid. SQLite:
 * walDecodeFrame, walIndexRecover.
 */

import { assert } from "../lib/assert.ts"
import { readI32LE, readU32BE, writeU32BE } from "../lib/bytes.ts"
import { MIN_WORDS_SIZE, wordsOf } from "../lib/words.ts"
import { isPageSize } from "./page-size.ts"

export const WAL_HEADER_SIZE = 32
export const WAL_FRAME_HEADER_SIZE = 24

/** The only format. SQLite: WAL_MAX_VERSION. */
export const WAL_FORMAT = 3007000

/**
 * The checkpoint sequence number in a WAL that a replica has written ("LFXR"): LTX files hold all its commits. SQLite
 * counts in this field, and nobody reads it.
 */
export const REPLICA_WAL_SEQUENCE = 0x4c465852

const MAGIC = 0x377f0682
const HEADER_SUMMED_SIZE = 24
const FRAME_SUMMED_SIZE = 8

export interface WalHeader {
  /** SQLite takes the byte order of the machine that begins the WAL. */
  readonly bigEndianChecksum: boolean
  readonly pageSize: number
  readonly checkpointSequence: number
  readonly salt1: number
  readonly salt2: number
  /** The checksum of the first frame continues from this. */
  readonly checksum1: number
  readonly checksum2: number
}

export interface WalFrameHeader {
  readonly pgno: number
  /** The size of the database in pages if this frame ends a transaction, else 0. */
  readonly commit: number
  readonly salt1: number
  readonly salt2: number
  readonly checksum1: number
  readonly checksum2: number
}

/**
 * The checksum that chains the frames. For each pair of words x, y:
 *
 *     s0 += x + s1;   s1 += y + s0
 *
 * The state is two u32, kept in place so that summing allocates nothing. SQLite: walChecksumBytes.
 */
export class WalChecksum {
  #s0 = 0
  #s1 = 0

  get s0(): number {
    return this.#s0 >>> 0
  }

  get s1(): number {
    return this.#s1 >>> 0
  }

  /** Continues from this sum; without arguments, starts over. */
  set(s0 = 0, s1 = 0): this {
    this.#s0 = s0 | 0
    this.#s1 = s1 | 0
    return this
  }

  equals(s0: number, s1: number): boolean {
    return this.#s0 === (s0 | 0) && this.#s1 === (s1 | 0)
  }

  /** Sums `bytes[start, end)`, a multiple of 8. Fastest little endian, from a multiple of 4 on. */
  update(bytes: Uint8Array, start: number, end: number, bigEndian: boolean): this {
    assert((end - start) % 8 === 0, "The WAL checksum is over pairs of 32-bit words")
    assert(0 <= start && start <= end && end <= bytes.length, "WAL range is outside its bytes")
    const address = bytes.byteOffset + start
    if (!bigEndian && (address & 3) === 0 && end - start >= MIN_WORDS_SIZE) {
      this.#sumWords(wordsOf(bytes.buffer), address >>> 2, (bytes.byteOffset + end) >>> 2)
    } else {
      this.#sumBytes(bytes, start, end, bigEndian)
    }
    return this
  }

  #sumWords(words: Int32Array, start: number, end: number): void {
    let s0 = this.#s0
    let s1 = this.#s1
    for (let i = start; i < end; i += 2) {
      s0 = (s0 + (words[i] as number) + s1) | 0
      s1 = (s1 + (words[i + 1] as number) + s0) | 0
    }
    this.#s0 = s0
    this.#s1 = s1
  }

  #sumBytes(bytes: Uint8Array, start: number, end: number, bigEndian: boolean): void {
    const read = bigEndian ? readU32BE : readI32LE
    for (let i = start; i < end; i += 8) {
      this.#s0 = (this.#s0 + read(bytes, i) + this.#s1) | 0
      this.#s1 = (this.#s1 + read(bytes, i + 4) + this.#s0) | 0
    }
  }
}

const headerChecksum = new WalChecksum()

export function encodeWalHeader(h: Omit<WalHeader, "checksum1" | "checksum2">): Uint8Array {
  assert(isPageSize(h.pageSize), `Cannot encode WAL header: page size ${h.pageSize}`)
  const bytes = new Uint8Array(WAL_HEADER_SIZE)
  writeU32BE(bytes, 0, MAGIC | (h.bigEndianChecksum ? 1 : 0))
  writeU32BE(bytes, 4, WAL_FORMAT)
  writeU32BE(bytes, 8, h.pageSize)
  writeU32BE(bytes, 12, h.checkpointSequence)
  writeU32BE(bytes, 16, h.salt1)
  writeU32BE(bytes, 20, h.salt2)
  headerChecksum.set().update(bytes, 0, HEADER_SUMMED_SIZE, h.bigEndianChecksum)
  writeU32BE(bytes, 24, headerChecksum.s0)
  writeU32BE(bytes, 28, headerChecksum.s1)
  return bytes
}

/** The lowest bit tells the byte order of the checksums. */
export function isWalMagic(word: number): boolean {
  return word >>> 1 === MAGIC >>> 1
}

/** Undefined for an invalid header, which means to SQLite that the log is empty. */
export function decodeWalHeader(bytes: Uint8Array): WalHeader | undefined {
  if (bytes.length < WAL_HEADER_SIZE) return undefined
  const magic = readU32BE(bytes, 0)
  if (!isWalMagic(magic) || readU32BE(bytes, 4) !== WAL_FORMAT) return undefined
  const header: WalHeader = {
    bigEndianChecksum: (magic & 1) === 1,
    pageSize: readU32BE(bytes, 8),
    checkpointSequence: readU32BE(bytes, 12),
    salt1: readU32BE(bytes, 16),
    salt2: readU32BE(bytes, 20),
    checksum1: readU32BE(bytes, 24),
    checksum2: readU32BE(bytes, 28),
  }
  if (!isPageSize(header.pageSize)) return undefined
  headerChecksum.set().update(bytes, 0, HEADER_SUMMED_SIZE, header.bigEndianChecksum)
  return headerChecksum.equals(header.checksum1, header.checksum2) ? header : undefined
}

/** Writes a frame, header and page, at `offset` of `target`. `checksum` is that of the frame before, and moves on. */
export function encodeWalFrame(
  target: Uint8Array,
  offset: number,
  wal: WalHeader,
  checksum: WalChecksum,
  frame: Pick<WalFrameHeader, "pgno" | "commit">,
  page: Uint8Array,
): void {
  assert(frame.pgno > 0, "Cannot encode WAL frame: pgno is 0")
  assert(page.length === wal.pageSize, "Cannot encode WAL frame: the page has another size")
  const pageOffset = offset + WAL_FRAME_HEADER_SIZE
  target.set(page, pageOffset)
  writeU32BE(target, offset, frame.pgno)
  writeU32BE(target, offset + 4, frame.commit)
  writeU32BE(target, offset + 8, wal.salt1)
  writeU32BE(target, offset + 12, wal.salt2)
  checksum.update(target, offset, offset + FRAME_SUMMED_SIZE, wal.bigEndianChecksum)
  checksum.update(target, pageOffset, pageOffset + wal.pageSize, wal.bigEndianChecksum)
  writeU32BE(target, offset + 16, checksum.s0)
  writeU32BE(target, offset + 20, checksum.s1)
}

/** The fields as they are; `verifyWalFrame` tells whether to believe them. */
export function decodeWalFrameHeader(bytes: Uint8Array, offset = 0): WalFrameHeader {
  return {
    pgno: readU32BE(bytes, offset),
    commit: readU32BE(bytes, offset + 4),
    salt1: readU32BE(bytes, offset + 8),
    salt2: readU32BE(bytes, offset + 12),
    checksum1: readU32BE(bytes, offset + 16),
    checksum2: readU32BE(bytes, offset + 20),
  }
}

/**
 * Whether the frame at `offset` of `bytes`, header and page, is valid. `checksum` is that of the frame before, and
 * moves on only if the frame is valid. SQLite: walDecodeFrame.
 */
export function verifyWalFrame(
  bytes: Uint8Array,
  offset: number,
  wal: WalHeader,
  checksum: WalChecksum,
): boolean {
  if (readU32BE(bytes, offset) === 0) return false
  if (readU32BE(bytes, offset + 8) !== wal.salt1) return false
  if (readU32BE(bytes, offset + 12) !== wal.salt2) return false
  const { s0, s1 } = checksum
  const pageOffset = offset + WAL_FRAME_HEADER_SIZE
  checksum.update(bytes, offset, offset + FRAME_SUMMED_SIZE, wal.bigEndianChecksum)
  checksum.update(bytes, pageOffset, pageOffset + wal.pageSize, wal.bigEndianChecksum)
  if (checksum.equals(readU32BE(bytes, offset + 16), readU32BE(bytes, offset + 20))) return true
  checksum.set(s0, s1)
  return false
}

export function walFrameSize(pageSize: number): number {
  return WAL_FRAME_HEADER_SIZE + pageSize
}

/** The offset of the frame with this index. Indexes count from 0, SQLite's frame numbers from 1. */
export function walFrameOffset(index: number, pageSize: number): number {
  return WAL_HEADER_SIZE + index * walFrameSize(pageSize)
}

/** How many whole frames fit a WAL of this size, valid or not. */
export function walFrameCount(walSize: number, pageSize: number): number {
  return Math.max(0, Math.floor((walSize - WAL_HEADER_SIZE) / walFrameSize(pageSize)))
}
