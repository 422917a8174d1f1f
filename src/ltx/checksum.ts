/**
 * Checksums of pages and of databases.
 *
 *     page      1<<63 | CRC64(u32 pgno, big endian ‖ page)
 *     database  1<<63 | XOR of the checksums of all its pages but the lock page
 *     file      1<<63 | CRC64(header ‖ uncompressed page block ‖ post-apply checksum)
 *
 * The flag tells a checksum of nothing from no checksum. XOR undoes itself, so the checksum of a database follows a
 * transaction at the cost of the changed pages: take the old page sums out, put the new ones in. Hot paths work on two
 * u32 halves and allocate nothing.
 */

import { u64 } from "../lib/bytes.ts"
import { Crc64 } from "../lib/codecs/crc64.ts"
import type { Checksum } from "./pos.ts"

export const CHECKSUM_FLAG: Checksum = 1n << 63n

/** The checksum of a database without pages. */
export const EMPTY_CHECKSUM: Checksum = CHECKSUM_FLAG

const FLAG_HI = 0x80000000

const crc = new Crc64()

export function pageChecksum(pgno: number, page: Uint8Array): Checksum {
  crc.reset().updateU32BE(pgno).update(page)
  return u64(crc.digestHi | FLAG_HI, crc.digestLo)
}

/** Writes `pageChecksum` of `bytes[start, end)` as two halves: `target[0]` the high one, `target[1]` the low one. */
export function writePageChecksum(
  target: Uint32Array,
  pgno: number,
  bytes: Uint8Array,
  start = 0,
  end = bytes.length,
): void {
  crc.reset().updateU32BE(pgno).update(bytes, start, end)
  target[0] = crc.digestHi | FLAG_HI
  target[1] = crc.digestLo
}

/** `pageChecksum` as two halves. */
export type Sum = readonly [hi: number, lo: number]

export function pageSum(pgno: number, page: Uint8Array): Sum {
  crc.reset().updateU32BE(pgno).update(page)
  return [(crc.digestHi | FLAG_HI) >>> 0, crc.digestLo]
}

/** The page at byte 0x40000000, where SQLite keeps its locks: nobody writes it, and no checksum includes it. */
export function lockPgno(pageSize: number): number {
  return 0x40000000 / pageSize + 1
}

/** The checksum of a database while pages go in and out of it. */
export class ChecksumAccumulator {
  #hi = 0
  #lo = 0
  readonly #page = new Uint32Array(2)

  /** Starts from an empty database, or from one with this checksum. */
  reset(checksum: Checksum = EMPTY_CHECKSUM): this {
    this.#hi = Number(BigInt.asUintN(32, checksum >> 32n))
    this.#lo = Number(BigInt.asUintN(32, checksum))
    return this
  }

  /** Puts the page with this sum in, or takes it out: XOR does not tell the two apart. */
  toggle(hi: number, lo: number): this {
    this.#hi ^= hi
    this.#lo ^= lo
    return this
  }

  togglePage(pgno: number, bytes: Uint8Array, start = 0, end = bytes.length): this {
    writePageChecksum(this.#page, pgno, bytes, start, end)
    return this.toggle(this.#page[0] as number, this.#page[1] as number)
  }

  get checksum(): Checksum {
    return u64(this.#hi | FLAG_HI, this.#lo)
  }
}
