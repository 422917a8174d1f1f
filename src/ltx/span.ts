/**
 * The two ends of an LTX file. They alone tell from which position its transactions lead to which. The bytes between
 * them may be damaged: only a reader of the whole file knows that it is whole (decoder.ts).
 */
import type { ByteSource } from "../lib/byte-source.ts"
import { decodedIfAny } from "../lib/bytes.ts"
import { decodeLtxHeader, LTX_HEADER_SIZE, type LtxHeader } from "./header.ts"
import type { Pos } from "./pos.ts"
import { decodeLtxTrailer, LTX_TRAILER_SIZE, type LtxTrailer } from "./trailer.ts"

export interface LtxSpan {
  readonly header: LtxHeader
  readonly trailer: LtxTrailer
}

/** The ends of an LTX file given as bytes. Throws a RangeError when they are not one. */
export function spanOf(ltx: Uint8Array): LtxSpan {
  return {
    header: decodeLtxHeader(ltx.subarray(0, LTX_HEADER_SIZE)),
    trailer: decodeLtxTrailer(ltx.subarray(Math.max(0, ltx.length - LTX_TRAILER_SIZE))),
  }
}

/** The ends of an LTX file; reads nothing else. Throws a RangeError when it is not one. */
export function readSpan(ltx: ByteSource): LtxSpan {
  return { header: readHeader(ltx), trailer: readTrailer(ltx) }
}

export function readHeader(ltx: ByteSource): LtxHeader {
  const bytes = new Uint8Array(LTX_HEADER_SIZE)
  return decodeLtxHeader(bytes.subarray(0, ltx.readAt(0, bytes)))
}

export function readTrailer(ltx: ByteSource): LtxTrailer {
  const bytes = new Uint8Array(LTX_TRAILER_SIZE)
  const offset = Math.max(0, ltx.size - LTX_TRAILER_SIZE)
  return decodeLtxTrailer(bytes.subarray(0, ltx.readAt(offset, bytes)))
}

/** The header in the first bytes of a file; undefined when they are too few, or not those of an LTX file. */
export function headerIfAny(start: Uint8Array): LtxHeader | undefined {
  if (start.length < LTX_HEADER_SIZE) return undefined
  return decodedIfAny(() => decodeLtxHeader(start.subarray(0, LTX_HEADER_SIZE)))
}

/** The position that the transactions follow on. */
export function posBefore(header: Pick<LtxHeader, "minTxid" | "preApplyChecksum">): Pos {
  return { txid: header.minTxid - 1n, checksum: header.preApplyChecksum }
}

/** The position that they lead to. */
export function posAfter(span: {
  readonly header: Pick<LtxHeader, "maxTxid">
  readonly trailer: Pick<LtxTrailer, "postApplyChecksum">
}): Pos {
  return { txid: span.header.maxTxid, checksum: span.trailer.postApplyChecksum }
}
