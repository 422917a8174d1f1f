/** A transaction that another node has sent whole: an LTX file that is not verified yet. */
import { decodeLtxHeader, LTX_HEADER_SIZE, type LtxHeader } from "../../ltx/header.ts"
import type { Pos } from "../../ltx/pos.ts"
import { posAfter } from "../../ltx/span.ts"
import { decodeLtxTrailer, LTX_TRAILER_SIZE } from "../../ltx/trailer.ts"

export interface SentTransaction {
  readonly size: number // bytes
  /** Its first and its last bytes, as many as a header and a trailer have, or all. */
  readonly start: Uint8Array
  readonly end: Uint8Array
  /** All of it, in order. */
  parts(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>
}

/** The position that the transaction leads to. Throws a RangeError when it is not an LTX file. */
export function posOf(header: LtxHeader, { end, size }: SentTransaction): Pos {
  if (size < LTX_HEADER_SIZE + LTX_TRAILER_SIZE) {
    throw new RangeError(`Cannot take a transaction: ${size} bytes are not an LTX file`)
  }
  return posAfter({ header, trailer: decodeLtxTrailer(end) })
}

/**
 * The header in its first bytes. The very first transaction follows on nothing: it is refused where there is something.
 * Throws a RangeError unless it is one transaction of a database that stays.
 */
export function headerOf(start: Uint8Array): LtxHeader {
  const header = decodeLtxHeader(start)
  const problem = headerProblem(header)
  if (problem !== undefined) throw new RangeError(`Cannot take a transaction: ${problem}`)
  return header
}

function headerProblem(header: LtxHeader): string | undefined {
  if (header.commit === 0) return "it drops the database, which only the primary does"
  return header.minTxid === header.maxTxid ? undefined : "there is more than one in the file"
}
