import type { Pos } from "../../ltx/pos.ts"
import { posAfter, readSpan } from "../../ltx/span.ts"
import { SysError } from "../../sys/errno.ts"
import { FileSource } from "./file-source.ts"

export interface LtxTransaction {
  readonly pos: Pos // after it
  readonly pageSize: number
  readonly commit: number
  readonly timestampMs: number
}

/** Reads the two ends of an LTX file. Undefined when the file is missing or not whole. */
export function readLtxTransaction(path: string): LtxTransaction | undefined {
  try {
    using file = FileSource.open(path)
    if (file === undefined) return undefined
    const span = readSpan(file)
    const { pageSize, commit, timestampMs } = span.header
    return { pos: posAfter(span), pageSize, commit, timestampMs }
  } catch (error) {
    if (error instanceof RangeError || error instanceof SysError) return undefined
    throw error
  }
}
