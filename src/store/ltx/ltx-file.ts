import { decodedIfAny } from "../../lib/bytes.ts"
import { LtxDecoder, type LtxHandler } from "../../ltx/decoder.ts"
import type { LtxHeader } from "../../ltx/header.ts"
import type { LtxSpan } from "../../ltx/span.ts"
import type { LtxTrailer } from "../../ltx/trailer.ts"
import { closing, O_RDONLY, openFile, readAt } from "../../sys/file.ts"
import { allocate } from "../../sys/memory.ts"

/** The two ends of a file that was read whole. */
export type LtxSummary = LtxSpan

const BUFFER_SIZE = 256 * 1024
const buffer = allocate(BUFFER_SIZE)

/**
 * Reads a whole LTX file and verifies it. Calls the handlers before the checksum at the end is known. Throws a
 * RangeError for bytes that are not a whole LTX file.
 */
export function readLtxFile(path: string, on: LtxHandler = {}): LtxSummary {
  let header: LtxHeader | undefined
  let trailer: LtxTrailer | undefined
  const decoder = new LtxDecoder({
    ...on,
    header: (found) => {
      header = found
      on.header?.(found)
    },
    trailer: (found) => {
      trailer = found
      on.trailer?.(found)
    },
  })
  using file = closing(openFile("ltx:open", path, O_RDONLY))
  for (let offset = 0; ; ) {
    const n = readAt("ltx:read", file.fd, buffer.address, BUFFER_SIZE, offset)
    if (n === 0) break
    decoder.push(buffer.bytes.subarray(0, n))
    offset += n
  }
  decoder.end()
  return { header: header as LtxHeader, trailer: trailer as LtxTrailer }
}

/** Throws when it cannot read the file at all. */
export function isWholeLtxFile(path: string): boolean {
  return decodedIfAny(() => readLtxFile(path)) !== undefined
}
