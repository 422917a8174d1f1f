/**
 * How the LTX files of a database follow on each other.
 *
 *     1-5 ─▶ 6 ─▶ 7 ─▶ 8        each starts at the TXID and the checksum at which the one before ends
 *      3  ─▶ 4 ─▶ 5             superseded: another file covers what they do
 *
 * A file that starts at TXID 1 starts anew: it is a snapshot and needs none before it.
 */
import { formatLtxFileName } from "../../ltx/file-name.ts"
import { isSnapshot } from "../../ltx/header.ts"
import { formatChecksum, formatTxid, type Txid } from "../../ltx/pos.ts"
import type { InspectedLtxFile, WholeLtxFile } from "./inspected-ltx-file.ts"

export interface LtxBreak {
  readonly file: InspectedLtxFile
  readonly code: "damaged" | "gap" | "checksum"
  /** One sentence, without a full stop. */
  readonly problem: string
}

/** Orders files by their last TXID, and those with the same one by their first, latest first. */
export function byTxid(a: TxidSpan, b: TxidSpan): number {
  return Number(a.maxTxid - b.maxTxid) || Number(b.minTxid - a.minTxid)
}

interface TxidSpan {
  readonly minTxid: Txid
  readonly maxTxid: Txid
}

/** The breaks in files that ascend by TXID. A history may start at any TXID. */
export function ltxBreaks(files: readonly InspectedLtxFile[]): LtxBreak[] {
  const breaks: LtxBreak[] = []
  let before: InspectedLtxFile | undefined
  for (const file of files) {
    if (file.kind === "damaged") {
      breaks.push({ file, code: "damaged", problem: `${file.name} is damaged: ${file.problem}` })
    }
    if (before !== undefined) breaks.push(...breakBetween(before, file))
    before = file
  }
  return breaks
}

function breakBetween(before: InspectedLtxFile, file: InspectedLtxFile): LtxBreak[] {
  const expected = before.maxTxid + 1n
  if (file.minTxid > expected) {
    return [{ file, code: "gap", problem: `${missing(expected, file.minTxid - 1n)} ${file.name}` }]
  }
  // liveChain() compares a file that covers others with the one before them.
  if (file.minTxid < expected || file.kind === "damaged" || before.kind === "damaged") return []
  const [is, should] = [file.header.preApplyChecksum, before.trailer.postApplyChecksum]
  if (is === should) return []
  const problem =
    `${file.name} starts at checksum ${formatChecksum(is)}, ` +
    `but ${before.name} ends at ${formatChecksum(should)}`
  return [{ file, code: "checksum", problem }]
}

function missing(first: Txid, last: Txid): string {
  if (first === last) return `${formatLtxFileName(first, last)} is missing before`
  return `TXIDs ${formatTxid(first)} to ${formatTxid(last)} are missing before`
}

/** The whole files that lead without a break to the newest whole one, oldest first. */
export function liveChain(files: readonly InspectedLtxFile[]): WholeLtxFile[] {
  const whole = files.filter((file) => file.kind === "whole")
  const byEnd = Map.groupBy(whole, (file) => file.maxTxid)
  const chain: WholeLtxFile[] = []
  for (let next = whole.at(-1); next !== undefined; ) {
    const file = next
    chain.unshift(file)
    if (isSnapshot(file.header)) break
    next = byEnd
      .get(file.minTxid - 1n)
      ?.findLast((before) => before.trailer.postApplyChecksum === file.header.preApplyChecksum)
  }
  return chain
}

/** Whether a file of the chain also does what this file does. */
export function isCovered(file: TxidSpan, chain: readonly TxidSpan[]): boolean {
  return chain.some((other) => other.minTxid <= file.minTxid && file.maxTxid <= other.maxTxid)
}
