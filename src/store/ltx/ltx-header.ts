import { LitefsError, messageOf } from "../../lib/errors.ts"
import { decodeLtxHeader, LTX_HEADER_SIZE, type LtxHeader } from "../../ltx/header.ts"
import { FileSource } from "./file-source.ts"

/** The header of an LTX file, which alone is verified. */
export function readLtxHeader(path: string): LtxHeader {
  using file = FileSource.open(path)
  if (file === undefined) throw new LitefsError("not-found", `Cannot read "${path}": it is gone`)
  const bytes = new Uint8Array(LTX_HEADER_SIZE)
  try {
    return decodeLtxHeader(bytes.subarray(0, file.readAt(0, bytes)))
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new LitefsError("damaged", `Cannot read "${path}": ${messageOf(error)}`, { cause: error })
  }
}
