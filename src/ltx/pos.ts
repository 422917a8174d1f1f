/**
 * Where a database is in its history: the number of its last transaction, and the checksum of all its pages after it.
 * Two nodes at the same position hold the same bytes.
 *
 * A position is written as two groups of sixteen lower-case hexadecimal digits, `<txid>/<checksum>`.
 */

export type Txid = bigint

/** A million a second for 285 years: a higher one would soon have no successor. */
export const TXID_MAX = 2n ** 53n - 1n

/** The checksum of a page, of a database or of a file; see `checksum.ts`. 0 where there is none. */
export type Checksum = bigint

export interface Pos {
  readonly txid: Txid
  readonly checksum: Checksum
}

/** The position before the first transaction. */
export const ZERO_POS: Pos = { txid: 0n, checksum: 0n }

export function formatPos(pos: Pos): string {
  return `${formatTxid(pos.txid)}/${formatChecksum(pos.checksum)}`
}

export function parsePos(text: string): Pos | undefined {
  const match = /^([0-9a-f]{16})\/([0-9a-f]{16})$/i.exec(text)
  if (match === null) return undefined
  return { txid: BigInt(`0x${match[1]}`), checksum: BigInt(`0x${match[2]}`) }
}

export function formatTxid(txid: Txid): string {
  return hex16(txid)
}

export function parseTxid(text: string): Txid | undefined {
  return /^[0-9a-f]{16}$/i.test(text) ? BigInt(`0x${text}`) : undefined
}

export function formatChecksum(checksum: Checksum): string {
  return hex16(checksum)
}

export function posEquals(a: Pos, b: Pos): boolean {
  return a.txid === b.txid && a.checksum === b.checksum
}

function hex16(value: bigint): string {
  return value.toString(16).padStart(16, "0")
}
