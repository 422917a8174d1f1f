/** What `litefs ltx apply --until` says. */
import { parseTxid, type Txid } from "../../ltx/pos.ts"
import { Unfit } from "../terminal/flags.ts"

/** The end of what is wanted: a transaction, or a time in milliseconds since 1970. */
export type Until = { readonly txid: Txid } | { readonly timeMs: number }

/** A TXID as `litefs wait --pos` takes it, or a time with its zone, as `litefs ltx list` prints them. */
export function readUntil(text: string): Until {
  const txid = parseTxid(text) ?? (/^\d{1,15}$/.test(text) ? BigInt(text) : undefined)
  if (txid !== undefined && txid > 0n) return { txid }
  const isTime = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(text)
  const timeMs = isTime ? Date.parse(text) : Number.NaN
  if (!Number.isNaN(timeMs)) return { timeMs }
  throw new Unfit("it should be a TXID, or a time like 2026-11-30T17:39:33Z")
}
