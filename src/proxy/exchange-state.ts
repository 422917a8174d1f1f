/** What an exchange is doing, and with whom: the states in the drawing of exchange.ts. */
import type { Answer } from "./answer.ts"
import type { Way } from "./route.ts"
import type { TrackedDatabases } from "./tracked-databases.ts"
import type { Upstream } from "./upstream.ts"
import type { UpstreamConnection } from "./upstream-connection.ts"

/** Where the request goes. */
export interface Destination {
  readonly way: Exclude<Way, Answer>
  readonly upstream: Upstream
  /** The positions of the databases here, for an application that uses them. */
  readonly positions: TrackedDatabases["positions"] | undefined
}

/** A request that was sent, and perhaps answered. */
export interface Sending {
  readonly to: Destination
  readonly connection: UpstreamConnection
  /** Whether the body waits until the other node's proxy takes it. */
  holdsBody: boolean
  /** Set while the application does what only the primary does. */
  endWrite: (() => void) | undefined
  /** Since when this was sent to a primary other than the known one. */
  lostMs: number | undefined
}

export type ExchangeState =
  | { readonly kind: "routed" }
  | { readonly kind: "connecting"; readonly to: Destination; backoffMs: number; cancel(): void }
  | { readonly kind: "sent"; readonly sending: Sending }
  | { readonly kind: "answering"; readonly sending: Sending; readonly status: number }
  | { readonly kind: "over" }

export function endWrite(sending: Sending): void {
  sending.endWrite?.()
  sending.endWrite = undefined
}
