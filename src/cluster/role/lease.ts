/**
 * The lease record: which node is the primary, by the newest record that this node has heard.
 *
 * An epoch begins with every handoff and every forced promotion. Before the first of them there is no record, and the
 * primary is the node that was started with `--primary`; after it the flags say nothing any more.
 *
 * Of two records the one with the higher epoch is newer. Two forced promotions may have begun the same epoch: of their
 * records that of the higher node id is newer. Any two nodes that hear of each other therefore agree, and nobody
 * believes an older record again.
 *
 * A record is believed only from nodes of the same cluster, and only with an epoch that handoffs can have reached: a
 * record of the very last epoch could never be followed by another.
 *
 * A record travels in the header `Litefs-Lease` of every request and response between nodes, as JSON:
 *
 *     {"epoch":2,"id":"00C0FFEE00C0FFEE","hostname":"b","url":"http://b:20202","cluster":"LFSC0123456789ABCDEF",
 *      "seal":"…"}
 *
 * `seal` is the HMAC-SHA256 of the other five with the key of the cluster, 64 hexadecimal digits (cluster-key.ts).
 */
import { LitefsError } from "../../lib/errors.ts"
import { isNodeUrl } from "../../wire/node-url.ts"

export const EPOCH_MAX = 2 ** 48
/** How far a record may be ahead of a node's own: a handoff a minute, for six weeks. */
const EPOCH_JUMP_MAX = 2 ** 16

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

/**
 * Who makes the record, and until when the node that it names may take writes.
 *
 *   static          the flags and the primary itself; for ever (static-lease.ts)
 *   etcd, consul    a store; until it runs out (elected-lease.ts)
 */
export interface Lease {
  readonly kind: string
  /** Whether this node may take writes, if the record names it. */
  readonly isHeld: boolean
  /**
   * Makes the record, which names another node: from here on this node is not the primary. When it rejects, this node
   * still is, or does not know it and takes no writes.
   */
  give(record: LeaseRecord): Promise<void>
  /** Makes this node the primary without the present one, if the lease makes records. */
  force?(): Promise<void>
}

export const LEASE_HEADER = "litefs-lease"

/** A POST to it makes two nodes hear each other's record. */
export const LEASE_PATH = "/lease"

export function isNewer(record: LeaseRecord, known: LeaseRecord | undefined): boolean {
  if (known === undefined || record.epoch !== known.epoch) return record.epoch > (known?.epoch ?? 0)
  return record.primary.id > known.primary.id
}

/** The epoch after the known one. Throws when there is none. */
export function nextEpoch(known: LeaseRecord | undefined): number {
  const epoch = (known?.epoch ?? 0) + 1
  if (epoch <= EPOCH_MAX) return epoch
  const advice = `take "epoch" and "primary" out of lease.json on every node`
  throw new LitefsError("unavailable", `Cannot change the primary: epochs are used up, ${advice}`)
}

/**
 * Why a record is not believed; undefined when it is. `isAsked`: this node had asked the sender by itself. The sender
 * may be the first from which this node hears anything at all.
 */
export function disbelief(
  { record, cluster }: HeardLease,
  known: LeaseRecord | undefined,
  ownCluster: string | undefined,
  isAsked: boolean,
): string | undefined {
  const isNew = isAsked && (known === undefined || ownCluster === undefined)
  if (ownCluster === undefined ? !isAsked : cluster !== ownCluster) {
    return `it is of cluster ${cluster?.slice(0, 40) ?? "unknown"}`
  }
  const limit = (known?.epoch ?? 0) + EPOCH_JUMP_MAX
  return isNew || record.epoch <= limit ? undefined : `its epoch should be ${limit} at most`
}

export function encodeLease(
  { epoch, primary }: LeaseRecord,
  cluster: string | undefined,
  seal?: string,
): string {
  const { id, hostname, url } = primary
  const text = JSON.stringify({ epoch, id, hostname, url, cluster, seal })
  return text.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
}

export interface HeardLease {
  readonly record: LeaseRecord
  readonly cluster: string | undefined
  readonly seal?: string | undefined
}

/** Undefined for anything but a valid record: nobody's word is taken for more than it is. */
export function decodeLease(text: unknown): HeardLease | undefined {
  if (typeof text !== "string" || text.length > 4096) return undefined
  try {
    const found: unknown = JSON.parse(text)
    const record = asRecord(found)
    if (record === undefined) return undefined
    const { cluster, seal } = found as { readonly cluster?: unknown; readonly seal?: unknown }
    return { record, cluster: textOf(cluster), seal: textOf(seal) }
  } catch {
    return undefined
  }
}

/** For people, of a text that decodeLease() takes for none: what is wrong with it. */
export function leaseProblem(text: string): string {
  try {
    const { epoch } = JSON.parse(text) as { readonly epoch?: unknown }
    if (typeof epoch === "number" && !isEpoch(epoch)) {
      return `its epoch is ${epoch}, expected a whole number from 1 to ${EPOCH_MAX}`
    }
  } catch {
    // It is said below.
  }
  return "it should be an epoch and the id, host name and URL of a node, as JSON"
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined
}

/** The record in the headers of a request or a response. */
export function leaseOf(headers: Readonly<Record<string, unknown>>): HeardLease | undefined {
  return decodeLease(headers[LEASE_HEADER])
}

export function isEpoch(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= EPOCH_MAX
}

export function asRecord(value: unknown): LeaseRecord | undefined {
  if (typeof value !== "object" || value === null) return undefined
  const { epoch, id, hostname, url } = value as Record<string, unknown>
  if (!isEpoch(epoch)) return undefined
  if (typeof id !== "string" || !/^[0-9A-F]{16}$/.test(id)) return undefined
  if (typeof hostname !== "string" || !/^[^\s\p{Cc}]{1,255}$/u.test(hostname)) return undefined
  if (typeof url !== "string" || !isNodeUrl(url)) return undefined
  return { epoch, primary: { id, hostname, url } }
}
