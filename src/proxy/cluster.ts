/** What the proxy needs to know of its node, and of the primary. */
import type { Pos } from "../ltx/pos.ts"

export interface ProxyCluster {
  /** This node's name among the others. */
  readonly hostname: string
  /** Whether this node takes writes. */
  readonly isPrimary: boolean
  /** Whether it is the primary and is about to hand over: it takes no new writes, and another node soon does. */
  readonly isHandingOff: boolean
  /**
   * Grows with every change of the primary. It belongs to the history of this node's databases: after a change of the
   * primary it grows only when they are known to be on the new one's.
   */
  readonly epoch: bigint
  /** Whether the other nodes, asked a moment ago, also take it for the primary: see askOthers(). */
  readonly isConfirmed: boolean
  /** The name of the primary; undefined when it is unknown. */
  readonly primaryName: string | undefined
  /** URL of its proxy, like http://10.0.0.1:8080; undefined when it has none, or is unknown. */
  readonly primaryProxyUrl: string | undefined
  /** Undefined until the node has been in sync once. */
  readonly lagMs: number | undefined
  /**
   * Resolves when the positions have everything that the application has committed. Undefined: they always have.
   */
  readonly captured: (() => Promise<void>) | undefined
  /** Undefined when there is no such database here. */
  position(database: string): Pos | undefined
  /** A client has seen a primary of a newer epoch: asks the others who it is. */
  askOthers(): void
  /** Calls back after any of these may have changed, until the returned function is called. */
  onChange(listener: () => void): () => void
}
