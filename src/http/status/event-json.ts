/**
 * The lines of `GET /events`, as the original writes them:
 *
 *   {"type":"init","data":{"isPrimary":false,"hostname":"a.local"}}
 *   {"type":"tx","db":"app.db","data":{"txID":"0000000000000008","postApplyChecksum":"a9d162953bb26ce7",
 *    "pageSize":4096,"commit":2,"timestamp":"2026-11-23T00:47:32.209Z"}}
 *   {"type":"primaryChange","data":{"isPrimary":false,"hostname":"a.local"}}
 *
 * `hostname` is the primary's; it is missing on the primary, and while there is no primary.
 */
import { formatChecksum, formatTxid, type Pos } from "../../ltx/pos.ts"
import { encodeJson } from "../server/json.ts"

export interface Transaction {
  readonly database: string
  readonly pos: Pos // after it
  readonly pageSize: number
  readonly commit: number
  readonly timestampMs: number
}

export interface Leadership {
  readonly isPrimary: boolean
  readonly hostname: string | undefined
}

export function leadershipLine(
  type: "init" | "primaryChange",
  { isPrimary, hostname }: Leadership,
): string {
  const data = { isPrimary, ...(hostname === undefined ? {} : { hostname }) }
  return `${encodeJson({ type, data })}\n`
}

export function transactionLine(transaction: Transaction): string {
  const { database, pos, pageSize, commit, timestampMs } = transaction
  const data = {
    txID: formatTxid(pos.txid),
    postApplyChecksum: formatChecksum(pos.checksum),
    pageSize,
    commit,
    timestamp: formatTime(timestampMs),
  }
  return `${encodeJson({ type: "tx", db: database, data })}\n`
}

/** RFC 3339 without trailing zeros in the fraction, like Go's RFC3339Nano. */
function formatTime(timestampMs: number): string {
  return new Date(timestampMs).toISOString().replace(/\.?0+Z$/, "Z")
}
