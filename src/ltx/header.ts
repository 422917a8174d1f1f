/**
 * The header of an LTX file. Big endian.
 *
 *      0  magic "LTX1"
 *      4  u32 flags              bit 0: the page block is one LZ4 frame
 *      8  u32 page size
 *     12  u32 commit             size of the database after the transaction, in pages; 0: deleted
 *     16  u64 min TXID           1: a snapshot, which holds every page
 *     24  u64 max TXID
 *     32  i64 timestamp          Unix milliseconds
 *     40  u64 pre-apply checksum of the database; 0 in a snapshot and only there
 *     48  i64 WAL offset         the frames it was made from, 0 for a rollback journal
 *     56  i64 WAL size
 *     64  u32 WAL salt 1
 *     68  u32 WAL salt 2
 *     72  u64 node ID            of the node that made it, 0 if unknown
 *     80  zero
 */

import { assert } from "../lib/assert.ts"
import { ByteReader, ByteWriter, isZero } from "../lib/bytes.ts"
import { isPageSize } from "../sqlite/page-size.ts"
import { CHECKSUM_FLAG } from "./checksum.ts"
import { type Checksum, TXID_MAX, type Txid } from "./pos.ts"

export const LTX_HEADER_SIZE = 100

export const LTX_FLAG_COMPRESSED = 1

const MAGIC = 0x4c545831
const KNOWN_FLAGS = LTX_FLAG_COMPRESSED
const RESERVED_SIZE = 20
/** The first and the last moment that a Date can be, either side of 1970. */
const TIMESTAMP_MS_MAX = 8.64e15

export interface LtxHeader {
  readonly flags: number
  readonly pageSize: number
  readonly commit: number
  readonly minTxid: Txid
  readonly maxTxid: Txid
  readonly timestampMs: number
  readonly preApplyChecksum: Checksum
  readonly walOffset: number
  readonly walSize: number
  readonly walSalt1: number
  readonly walSalt2: number
  readonly nodeId: bigint
}

/** The WAL fields of a file that is not the image of one stretch of a WAL. */
export const NO_WAL = { walOffset: 0, walSize: 0, walSalt1: 0, walSalt2: 0 } as const

export function encodeLtxHeader(h: LtxHeader): Uint8Array {
  const problem = ltxHeaderProblem(h)
  assert(problem === undefined, `Cannot encode LTX header: ${problem}`)
  const w = new ByteWriter(LTX_HEADER_SIZE)
  w.u32(MAGIC)
  w.u32(h.flags)
  w.u32(h.pageSize)
  w.u32(h.commit)
  w.u64(h.minTxid)
  w.u64(h.maxTxid)
  w.i64(BigInt(h.timestampMs))
  w.u64(h.preApplyChecksum)
  w.i64(BigInt(h.walOffset))
  w.i64(BigInt(h.walSize))
  w.u32(h.walSalt1)
  w.u32(h.walSalt2)
  w.u64(h.nodeId)
  w.bytes(new Uint8Array(RESERVED_SIZE))
  assert(w.size === LTX_HEADER_SIZE, "An LTX header is 100 bytes")
  return w.finish()
}

/** Throws a RangeError unless the bytes are a valid header. */
export function decodeLtxHeader(bytes: Uint8Array): LtxHeader {
  const r = new ByteReader(bytes, "LTX header")
  const magic = r.u32()
  if (magic !== MAGIC) {
    throw new RangeError(`Cannot decode LTX header: it starts with 0x${hex8(magic)}, not "LTX1"`)
  }
  const header: LtxHeader = {
    flags: r.u32(),
    pageSize: r.u32(),
    commit: r.u32(),
    minTxid: r.u64(),
    maxTxid: r.u64(),
    timestampMs: r.safeI64(),
    preApplyChecksum: r.u64(),
    walOffset: r.safeI64(),
    walSize: r.safeI64(),
    walSalt1: r.u32(),
    walSalt2: r.u32(),
    nodeId: r.u64(),
  }
  const reserved = r.bytes(RESERVED_SIZE)
  r.end()
  const problem = isZero(reserved) ? ltxHeaderProblem(header) : "bytes 80 to 99 are not zero"
  if (problem !== undefined) throw new RangeError(`Cannot decode LTX header: ${problem}`)
  return header
}

/** The condition that this LTX header fails to meet, if any. */
function ltxHeaderProblem(h: LtxHeader): string | undefined {
  if ((h.flags & ~KNOWN_FLAGS) !== 0) return `flags 0x${hex8(h.flags)} has unknown bits`
  if (!isPageSize(h.pageSize)) return `page size ${h.pageSize} is not one SQLite has`
  if (h.minTxid === 0n) return "min TXID is 0"
  if (h.maxTxid < h.minTxid) return `max TXID ${h.maxTxid} is below min TXID ${h.minTxid}`
  if (h.maxTxid > TXID_MAX) return `max TXID ${h.maxTxid} is above ${TXID_MAX}`
  if (Math.abs(h.timestampMs) > TIMESTAMP_MS_MAX) return `timestamp ${h.timestampMs} is not a time`
  if (h.walOffset < 0) return `WAL offset ${h.walOffset} is negative`
  if (h.walSize < 0) return `WAL size ${h.walSize} is negative`
  if (h.walOffset === 0) {
    if (h.walSize !== 0) return "WAL size is set and WAL offset is not"
    if (h.walSalt1 !== 0 || h.walSalt2 !== 0) return "WAL salt is set and WAL offset is not"
  }
  if (isSnapshot(h)) {
    if (h.preApplyChecksum !== 0n) return "pre-apply checksum of a snapshot is not 0"
  } else if ((h.preApplyChecksum & CHECKSUM_FLAG) === 0n) {
    return "pre-apply checksum has no checksum flag"
  }
  return undefined
}

/** Whether the file holds every page of the database: it starts at the first transaction. */
export function isSnapshot(header: Pick<LtxHeader, "minTxid">): boolean {
  return header.minTxid === 1n
}

export function isCompressed(header: Pick<LtxHeader, "flags">): boolean {
  return (header.flags & LTX_FLAG_COMPRESSED) !== 0
}

/** Eight digits, as for salts. */
export function hex8(value: number): string {
  return value.toString(16).padStart(8, "0")
}
