/**
 * The lease record: which node is the primary, by the newest word on it that this node has heard.
 *
 * An epoch begins with every handoff and every forced promotion. Before the first of them there is no record, and the
 * primary is the node that was started with `--primary`; from then on the flags say nothing any more.
 *
 * Of two records the one with the higher epoch is newer; of one epoch, which two forced promotions may have begun at
 * the same time, that of the higher node id. So any two nodes that hear of each other agree, and what is older is never
 * believed again.
 *
 * A record travels in the header `Litefs-Lease` of every request and response between nodes, as JSON:
 *
 *     {"epoch":2,"id":"00C0FFEE00C0FFEE","hostname":"b","url":"http://b:20202","cluster":"LFSC0123456789ABCDEF"}
 */
import { isNodeUrl } from "../wire/node-url.ts"

export interface LeaseNode {
  /** It belongs to the data directory: 16 hexadecimal digits. */
  readonly id: string
  readonly hostname: string
  /** Where other nodes reach its API. */
  readonly url: string
}

export interface LeaseRecord {
  readonly epoch: number
  readonly primary: LeaseNode
}

/** Who says which node is the primary. */
export interface Lease {
  /** This node's id. */
  readonly id: string
  /** Undefined until somebody has said it. */
  readonly record: LeaseRecord | undefined
  /** Takes a record that is newer than the known one, durably. Throws, and knows the old one, when it cannot. */
  keep(record: LeaseRecord): void
}

export const LEASE_HEADER = "litefs-lease"

export function isNewer(record: LeaseRecord, known: LeaseRecord | undefined): boolean {
  if (known === undefined || record.epoch !== known.epoch) return record.epoch > (known?.epoch ?? 0)
  return record.primary.id > known.primary.id
}

export function encodeLease({ epoch, primary }: LeaseRecord, cluster: string | undefined): string {
  const { id, hostname, url } = primary
  const text = JSON.stringify({ epoch, id, hostname, url, cluster })
  return text.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
}

export interface HeardLease {
  readonly record: LeaseRecord
  readonly cluster: string | undefined
}

/** Undefined when it is none: nobody's word is taken for more than it is. */
export function decodeLease(text: unknown): HeardLease | undefined {
  if (typeof text !== "string" || text.length > 4096) return undefined
  try {
    const found: unknown = JSON.parse(text)
    const record = asRecord(found)
    if (record === undefined) return undefined
    const { cluster } = found as { readonly cluster?: unknown }
    return { record, cluster: typeof cluster === "string" ? cluster : undefined }
  } catch {
    return undefined
  }
}

/** What the headers of a request or a response say. */
export function leaseOf(headers: Readonly<Record<string, unknown>>): HeardLease | undefined {
  return decodeLease(headers[LEASE_HEADER])
}

export function asRecord(value: unknown): LeaseRecord | undefined {
  if (typeof value !== "object" || value === null) return undefined
  const { epoch, id, hostname, url } = value as Record<string, unknown>
  if (typeof epoch !== "number" || !Number.isSafeInteger(epoch) || epoch < 1) return undefined
  if (typeof id !== "string" || !/^[0-9A-F]{16}$/.test(id)) return undefined
  if (typeof hostname !== "string" || !/^[^\s\p{Cc}]{1,255}$/u.test(hostname)) return undefined
  if (typeof url !== "string" || !isNodeUrl(url)) return undefined
  return { epoch, primary: { id, hostname, url } }
}
