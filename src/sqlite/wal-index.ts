/**
 * The head of the wal-index, which clients share through the `-shm` file. Native (little) endian.
 *
 *      0  WalIndexHdr
 *          0  u32 format 3007000
 *          4  u32 unused
 *          8  u32 change               counts transactions
 *         12  u8  initialised
 *         13  u8  big-endian checksum  of the WAL
 *         14  u16 page size            1 stands for 65536
 *         16  u32 frame count          of the WAL (mxFrame)
 *         20  u32 page count           of the database
 *         24  u32[2] checksum          of the last frame
 *         32  u8[8] salts              as bytes of the WAL
 *         40  u32[2] checksum          of bytes 0 to 39
 *     48  WalIndexHdr                  again
 *     96  WalCkptInfo
 *         96  u32 backfill             frames that have been copied into the database
 *        100  u32[5] read marks        the last frame for readers with lock READ0…READ4
 *        120  u8[8] lock bytes         never written
 *        128  u32 backfill attempted
 *        132  u32 unused
 *    136  page numbers of the first hash block: see `wal-index-block.ts`
 *
 * A transaction becomes visible when the header is written. Writers write the second copy first, readers read the first
 * one first, and believe the copies only if they are equal and the checksum is right. Readers therefore need no lock.
 * Every word is stored and loaded atomically, which orders the words on every CPU. SQLite: walIndexWriteHdr,
 * walIndexTryHdr.
 */

import { assert } from "../lib/assert.ts"
import { readU32BE, writeU32BE } from "../lib/bytes.ts"
import { wordsOf } from "../lib/words.ts"
import { WAL_FORMAT, WalChecksum } from "./wal.ts"

/** Bytes of one copy. */
export const WAL_INDEX_HEADER_SIZE = 48
export const WAL_INDEX_READ_MARK_COUNT = 5
export const WAL_INDEX_READ_MARK_UNUSED = 0xffffffff

const SUMMED_SIZE = 40
const SECOND_COPY_OFFSET = WAL_INDEX_HEADER_SIZE
const READ_MARKS_OFFSET = 100

/** Offsets of single words, for code that writes them one by one. */
export const WAL_INDEX_BACKFILL_OFFSET = 96
export const WAL_INDEX_BACKFILL_ATTEMPTED_OFFSET = 128
/** Headers and checkpoint info, before the first page numbers. */
export const WAL_INDEX_HEAD_SIZE = 136

export interface WalIndexHeader {
  /** Goes up by one with each transaction: readers see that there was one. */
  readonly change: number
  readonly bigEndianChecksum: boolean
  readonly pageSize: number
  /** How many frames of the WAL count. SQLite: mxFrame. */
  readonly frameCount: number
  /** The size of the database in pages. SQLite: nPage. */
  readonly pageCount: number
  /** The checksum of the next frame continues from this. */
  readonly frameChecksum1: number
  readonly frameChecksum2: number
  readonly salt1: number
  readonly salt2: number
}

const checksum = new WalChecksum()

/** Encodes one copy. */
export function encodeWalIndexHeader(h: WalIndexHeader): Uint8Array {
  const bytes = new Uint8Array(WAL_INDEX_HEADER_SIZE)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, WAL_FORMAT, true)
  view.setUint32(8, h.change, true)
  view.setUint8(12, 1)
  view.setUint8(13, h.bigEndianChecksum ? 1 : 0)
  view.setUint16(14, h.pageSize === 65536 ? 1 : h.pageSize, true)
  view.setUint32(16, h.frameCount, true)
  view.setUint32(20, h.pageCount, true)
  view.setUint32(24, h.frameChecksum1, true)
  view.setUint32(28, h.frameChecksum2, true)
  writeU32BE(bytes, 32, h.salt1)
  writeU32BE(bytes, 36, h.salt2)
  checksum.set().update(bytes, 0, SUMMED_SIZE, false)
  view.setUint32(40, checksum.s0, true)
  view.setUint32(44, checksum.s1, true)
  return bytes
}

/** Decodes one copy. Undefined when it is invalid. */
export function decodeWalIndexHeader(bytes: Uint8Array): WalIndexHeader | undefined {
  if (bytes.length < WAL_INDEX_HEADER_SIZE) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, WAL_INDEX_HEADER_SIZE)
  if (view.getUint32(0, true) !== WAL_FORMAT || view.getUint8(12) === 0) return undefined
  checksum.set().update(bytes, 0, SUMMED_SIZE, false)
  if (!checksum.equals(view.getUint32(40, true), view.getUint32(44, true))) return undefined
  const storedPageSize = view.getUint16(14, true)
  return {
    change: view.getUint32(8, true),
    bigEndianChecksum: view.getUint8(13) !== 0,
    pageSize: storedPageSize === 1 ? 65536 : storedPageSize,
    frameCount: view.getUint32(16, true),
    pageCount: view.getUint32(20, true),
    frameChecksum1: view.getUint32(24, true),
    frameChecksum2: view.getUint32(28, true),
    salt1: readU32BE(bytes, 32),
    salt2: readU32BE(bytes, 36),
  }
}

/** No version of SQLite knows this one: it says "unable to open database file" of such a wal-index. */
const BARRED_FORMAT = 0xffffffff

/** A valid header of that format, from one that is valid; `isBarred` false: the other way. */
export function barWalIndexHeader(header: Uint8Array, isBarred: boolean): Uint8Array {
  const bytes = header.slice(0, WAL_INDEX_HEADER_SIZE)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, isBarred ? BARRED_FORMAT : WAL_FORMAT, true)
  checksum.set().update(bytes, 0, SUMMED_SIZE, false)
  view.setUint32(40, checksum.s0, true)
  view.setUint32(44, checksum.s1, true)
  return bytes
}

export function isBarred(header: Uint8Array): boolean {
  return new DataView(header.buffer, header.byteOffset).getUint32(0, true) === BARRED_FORMAT
}

/** The header as a reader sees it. Undefined: a writer is changing it, or the index must be recovered. */
export function readWalIndexHeader(index: Uint8Array): WalIndexHeader | undefined {
  const words = wordsOf(index.buffer)
  const first = wordAt(index, 0)
  const second = wordAt(index, SECOND_COPY_OFFSET)
  const copy = new Int32Array(WAL_INDEX_HEADER_SIZE / 4)
  for (let i = 0; i < copy.length; i++) copy[i] = Atomics.load(words, first + i)
  for (let i = 0; i < copy.length; i++) {
    if (Atomics.load(words, second + i) !== copy[i]) return undefined
  }
  return decodeWalIndexHeader(new Uint8Array(copy.buffer))
}

/** Publishes a transaction. The caller holds the WRITE lock. */
export function writeWalIndexHeader(index: Uint8Array, header: WalIndexHeader): void {
  const words = wordsOf(index.buffer)
  const copy = new Int32Array(encodeWalIndexHeader(header).buffer)
  const first = wordAt(index, 0)
  const second = wordAt(index, SECOND_COPY_OFFSET)
  for (let i = 0; i < copy.length; i++) Atomics.store(words, second + i, copy[i] as number)
  for (let i = 0; i < copy.length; i++) Atomics.store(words, first + i, copy[i] as number)
}

/** How many frames have been copied into the database file: readers read those there. */
export function readBackfillCount(index: Uint8Array): number {
  return load(index, WAL_INDEX_BACKFILL_OFFSET)
}

/** The caller holds the CKPT lock. */
export function writeBackfillCount(index: Uint8Array, frameCount: number): void {
  store(index, WAL_INDEX_BACKFILL_OFFSET, frameCount)
}

/** Set before a checkpoint writes to the database file: after a crash the file may be newer, up to this frame. */
export function writeBackfillAttempted(index: Uint8Array, frameCount: number): void {
  store(index, WAL_INDEX_BACKFILL_ATTEMPTED_OFFSET, frameCount)
}

export function readReadMark(index: Uint8Array, mark: number): number {
  return load(index, walIndexReadMarkOffset(mark))
}

/** The caller holds the lock READ`mark` exclusively. Mark 0 is always 0: it reads no frames. */
export function writeReadMark(index: Uint8Array, mark: number, frameCount: number): void {
  store(index, walIndexReadMarkOffset(mark), frameCount)
}

export function walIndexReadMarkOffset(mark: number): number {
  assert(0 <= mark && mark < WAL_INDEX_READ_MARK_COUNT, `There is no read mark ${mark}`)
  return READ_MARKS_OFFSET + mark * 4
}

function load(index: Uint8Array, offset: number): number {
  return Atomics.load(wordsOf(index.buffer), wordAt(index, offset)) >>> 0
}

function store(index: Uint8Array, offset: number, value: number): void {
  Atomics.store(wordsOf(index.buffer), wordAt(index, offset), value)
}

/** The word at this offset, in the buffer below `index`. */
function wordAt(index: Uint8Array, offset: number): number {
  const address = index.byteOffset + offset
  assert(address % 4 === 0, "A wal-index starts at a multiple of 4 bytes")
  return address >>> 2
}
