import { LitefsError, messageOf } from "../../lib/errors.ts"
import type { LtxHeader } from "../../ltx/header.ts"
import { readHeader } from "../../ltx/span.ts"
import { openLtxFile } from "./file-source.ts"

/** Reads the header of an LTX file, and verifies nothing else. */
export function readLtxHeader(path: string): LtxHeader {
  using file = openLtxFile(path)
  try {
    return readHeader(file)
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new LitefsError("damaged", `Cannot read "${path}": ${messageOf(error)}`, { cause: error })
  }
}
