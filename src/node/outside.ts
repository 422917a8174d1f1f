/**
 * The part between this node and its users (front-door.ts), as far as it concerns the place of the node among the
 * others.
 */
import type { NodeStatus } from "../cluster/node-status.ts"

export interface Outside {
  readonly status: NodeStatus
  /** On a replica: the primary that it is connected to; undefined when it is not connected. */
  setPrimaryName(name: string | undefined): void
  /** This node is the primary now, or no longer is. */
  roleChanged(): void
  /** The node is the primary, or is where the primary was. */
  ready(): void
  /** The primary offers its role. */
  takeOffer(token: string, url: string): void
  /** Resolves when no write of the application is running, or after the limit, with how many are. */
  settled(limitMs: number): Promise<number>
}
