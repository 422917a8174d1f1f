/**
 * Whoever stands between this node and those that use it (front-door.ts), as far as the place of the node among the
 * others has to do with that.
 */
import type { NodeStatus } from "../../cluster/node-status.ts"
import type { Handoffs } from "../../cluster/role/handoffs.ts"

export interface Outside {
  readonly status: NodeStatus
  /** On a replica: the primary that it is connected to, undefined when it is not. */
  setPrimaryName(name: string | undefined): void
  /** This node is the primary now, or is it no more. */
  roleChanged(): void
  /** The node is the primary, or where the primary was. */
  ready(): void
  /** Who answers when the primary offers its role. */
  readonly handoffs: Handoffs
  /** Resolves when no write of the application goes on, or when the time is over: with how many do. */
  settled(limitMs: number): Promise<number>
}
