/**
 * The name of an LTX file: `<min TXID>-<max TXID>.ltx`, sixteen lower-case hexadecimal digits each.
 */

import { formatTxid, type Txid } from "./pos.ts"

export interface TxidRange {
  readonly minTxid: Txid
  readonly maxTxid: Txid
}

export function formatLtxFileName(minTxid: Txid, maxTxid: Txid): string {
  return `${formatTxid(minTxid)}-${formatTxid(maxTxid)}.ltx`
}

/** Undefined for other names, such as those of temporary files. */
export function parseLtxFileName(name: string): TxidRange | undefined {
  const match = /^([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/.exec(name)
  if (match === null) return undefined
  const minTxid = BigInt(`0x${match[1]}`)
  const maxTxid = BigInt(`0x${match[2]}`)
  return minTxid > 0n && minTxid <= maxTxid ? { minTxid, maxTxid } : undefined
}
