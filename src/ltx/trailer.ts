/**
 * The trailer of an LTX file. Big endian, never compressed.
 *
 *      0  u64 post-apply checksum   of the database after the transaction
 *      8  u64 file checksum         of header, uncompressed page block, and bytes 0 to 7 of this
 */

import { assert } from "../lib/assert.ts"
import { ByteReader, ByteWriter } from "../lib/bytes.ts"
import { CHECKSUM_FLAG } from "./checksum.ts"
import type { Checksum } from "./pos.ts"

export const LTX_TRAILER_SIZE = 16

/** How much of the trailer the file checksum covers. */
export const LTX_TRAILER_SUMMED_SIZE = 8

export interface LtxTrailer {
  readonly postApplyChecksum: Checksum
  readonly fileChecksum: Checksum
}

export function encodeLtxTrailer(t: LtxTrailer): Uint8Array {
  const problem = ltxTrailerProblem(t)
  assert(problem === undefined, `Cannot encode LTX trailer: ${problem}`)
  const w = new ByteWriter(LTX_TRAILER_SIZE)
  w.u64(t.postApplyChecksum)
  w.u64(t.fileChecksum)
  assert(w.size === LTX_TRAILER_SIZE, "An LTX trailer is 16 bytes")
  return w.finish()
}

/** Throws a RangeError unless the bytes are a valid trailer. */
export function decodeLtxTrailer(bytes: Uint8Array): LtxTrailer {
  const r = new ByteReader(bytes, "LTX trailer")
  const trailer: LtxTrailer = {
    postApplyChecksum: r.u64(),
    fileChecksum: r.u64(),
  }
  r.end()
  const problem = ltxTrailerProblem(trailer)
  if (problem !== undefined) throw new RangeError(`Cannot decode LTX trailer: ${problem}`)
  return trailer
}

function ltxTrailerProblem(t: LtxTrailer): string | undefined {
  if ((t.postApplyChecksum & CHECKSUM_FLAG) === 0n) {
    return "post-apply checksum has no checksum flag"
  }
  if ((t.fileChecksum & CHECKSUM_FLAG) === 0n) return "file checksum has no checksum flag"
  return undefined
}
