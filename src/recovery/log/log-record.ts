/** A transaction in the commit log: the bytes of its LTX file, and where it belongs. */
import { isZero } from "../../lib/bytes.ts"
import type { LtxHeader } from "../../ltx/header.ts"
import type { Pos, Txid } from "../../ltx/pos.ts"
import { type LtxSpan, posAfter, posBefore, spanOf } from "../../ltx/span.ts"

export interface LogRecord {
  readonly sequence: bigint
  readonly run: number
  readonly segment: number // that has it
  readonly database: string
  readonly txid: Txid
  readonly ltx: Uint8Array
}

/** Where one or several transactions lead from and to. */
export interface Step {
  readonly header: LtxHeader
  readonly before: Pos
  readonly after: Pos
}

/** Reads the bytes of a whole LTX file. Throws a RangeError when they are not one. */
export function stepOf(ltx: Uint8Array): Step {
  return stepOver(spanOf(ltx))
}

export function stepOver(span: LtxSpan): Step {
  return { header: span.header, before: posBefore(span.header), after: posAfter(span) }
}

const SECTOR_SIZE = 512

/**
 * Whether the bytes are those of a file of which a part has not reached the disk: shorter, or with zeros for sectors.
 * Any other difference is not a tear: a changed bit was written.
 */
export function isTornCopy(found: Uint8Array, whole: Uint8Array): boolean {
  if (found.length > whole.length) return false
  for (let start = 0; start < found.length; start += SECTOR_SIZE) {
    const part = found.subarray(start, start + SECTOR_SIZE)
    if (Buffer.compare(part, whole.subarray(start, start + part.length)) === 0) continue
    if (!isZero(part)) return false
  }
  return true
}
