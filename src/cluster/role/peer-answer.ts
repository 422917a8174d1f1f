/** What a node says of itself in the headers of every answer, and of every request to another node. */
import { RUN_HEADER, WANTS_PRIMARY_HEADER } from "../../wire/protocol.ts"
import { type HeardLease, leaseOf } from "./lease.ts"

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
