/** What the proxy has to know of the node it belongs to, and of its primary. */
import type { Pos } from "../ltx/pos.ts"

export interface ProxyCluster {
  /** This node's name among the others. */
  readonly hostname: string
  /** Whether it takes writes. */
  readonly isPrimary: boolean
  /** It is the primary and is about to hand over: it takes no new writes, and soon another node does. */
  readonly isHandingOff: boolean
  /**
   * Grows with every change of the primary. It is that of the history that this node's databases have: after a
   * change of the primary it grows only when they are known to be on the new one's.
   */
  readonly epoch: bigint
  /** It was asked of a moment ago whether others take it for the primary, too, and they do: see askOthers(). */
  readonly isConfirmed: boolean
  /** The name of the primary; undefined when none is known. */
  readonly primaryName: string | undefined
  /** Where its proxy is, like http://10.0.0.1:8080; undefined when none is known. */
  readonly primaryProxyUrl: string | undefined
  /** Undefined until the node has been in sync once. */
  readonly lagMs: number | undefined
  /** Undefined when there is no such database here. */
  position(database: string): Pos | undefined
  /** A client has seen a primary of a newer epoch: the others are asked who it is. */
  askOthers(): void
  /** Calls back after any of these may have changed, until the returned function is called. */
  onChange(listener: () => void): () => void
}
