/**
 * Another header for an existing LTX file: its pages stay the same, whatever position they follow on. Everything of a
 * large file but the position can then be made before anybody has to wait for it.
 */
import { assert } from "../lib/assert.ts"
import { Crc64 } from "../lib/codecs/crc64.ts"
import { shiftCrc64 } from "../lib/codecs/crc64-shift.ts"
import { CHECKSUM_FLAG, lockPgno } from "./checksum.ts"
import { encodeLtxHeader, type LtxHeader } from "./header.ts"
import { LTX_TRAILER_SUMMED_SIZE, type LtxTrailer } from "./trailer.ts"

/** The trailer that a file of all pages of a database gets with another header. */
export function trailerWithHeader(
  trailer: LtxTrailer,
  before: LtxHeader,
  after: LtxHeader,
): LtxTrailer {
  const { pageSize, commit } = before
  assert(
    pageSize === after.pageSize && commit === after.commit && before.flags === after.flags,
    "the pages of the file stay as they are",
  )
  const pageCount = commit >= lockPgno(pageSize) ? commit - 1 : commit
  const size = pageCount * (4 + pageSize) + 4 + LTX_TRAILER_SUMMED_SIZE // the sum covers this much after the header
  const change = shiftCrc64(crcOf(before) ^ crcOf(after), size)
  return { ...trailer, fileChecksum: (trailer.fileChecksum ^ change) | CHECKSUM_FLAG }
}

function crcOf(header: LtxHeader): bigint {
  return new Crc64().update(encodeLtxHeader(header)).digest()
}
