import { posAfter, readSpan } from "../../ltx/span.ts"
import { SysError } from "../../sys/errno.ts"
import type { DatabaseState } from "../positions.ts"
import { FileSource } from "./file-source.ts"

/** The state after the transaction in an LTX file, from its two ends. Undefined when it is missing or not whole. */
export function readLtxTransaction(path: string): DatabaseState | undefined {
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
