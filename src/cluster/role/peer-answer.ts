/** What a node says of itself in the headers of every answer, and of every request to another node. */
import { RUN_HEADER, WANTS_PRIMARY_HEADER } from "../../wire/protocol.ts"
import { type HeardLease, type LeaseRecord, leaseOf } from "./lease.ts"

export type Headers = Readonly<Record<string, unknown>>

export interface PeerAnswer {
  readonly lease: HeardLease | undefined
  readonly id: string | undefined
  /** Identifies the process: an id that two processes have is that of a copy. */
  readonly run: string | undefined
  readonly clusterId: string | undefined
  /** No record names a primary, but the flags of the node make it one. */
  readonly isPrimaryByFlag: boolean
}

/** Calls to the node at an address. */
export interface PeerCalls {
  /** What the node says of itself. */
  ask(url: string): Promise<PeerAnswer>
  /** Makes this node and that one hear each other's record. Resolves with the other's. */
  tell(url: string): Promise<LeaseRecord | undefined>
  /** Whether that node is a copy of this one, and goes by a record that names it. */
  isCopy(url: string): Promise<boolean>
}

export function peerAnswer(headers: Headers): PeerAnswer {
  return {
    lease: leaseOf(headers),
    id: text(headers["litefs-id"]),
    run: text(headers[RUN_HEADER]),
    clusterId: text(headers["litefs-cluster-id"]),
    isPrimaryByFlag: headers[WANTS_PRIMARY_HEADER] === "1",
  }
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined
}
