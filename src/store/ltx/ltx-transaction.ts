import { closeSync, fstatSync, openSync, readSync } from "node:fs"
import { decodeLtxHeader, LTX_HEADER_SIZE } from "../../ltx/header.ts"
import type { Pos } from "../../ltx/pos.ts"
import { decodeLtxTrailer, LTX_TRAILER_SIZE } from "../../ltx/trailer.ts"

export interface LtxTransaction {
  readonly pos: Pos // after it
  readonly pageSize: number
  readonly commit: number
  readonly timestampMs: number
}

/** The transaction of an LTX file, of which the two ends are read; undefined when it is not there or not whole. */
export function readLtxTransaction(path: string): LtxTransaction | undefined {
  let fd: number
  try {
    fd = openSync(path, "r")
  } catch {
    return undefined
  }
  try {
    const head = new Uint8Array(LTX_HEADER_SIZE)
    const tail = new Uint8Array(LTX_TRAILER_SIZE)
    const { size } = fstatSync(fd)
    if (readSync(fd, head, 0, head.length, 0) < head.length) return undefined
    if (readSync(fd, tail, 0, tail.length, size - tail.length) < tail.length) return undefined
    const { maxTxid, pageSize, commit, timestampMs } = decodeLtxHeader(head)
    const checksum = decodeLtxTrailer(tail).postApplyChecksum
    return { pos: { txid: maxTxid, checksum }, pageSize, commit, timestampMs }
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  } finally {
    closeSync(fd)
  }
}
