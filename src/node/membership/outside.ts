/**
 * The part between this node and its users (front-door.ts), as far as it concerns the place of the node among the
 * others.
 */
import type { Handoffs } from "../../cluster/role/handoffs.ts"
import type { StatusApi } from "../../http/status/status-api.ts"

export interface Outside {
  /** What this node tells of itself: it has to hear what there is to tell. */
  readonly api: Pick<StatusApi, "status" | "setPrimaryName" | "roleChanged">
  /** The node is the primary, or is where the primary was. */
  ready(): void
  /** Who answers when the primary offers its role. */
  readonly handoffs: Handoffs
  /** Resolves when no write of the application is running, or after the limit, with how many are. */
  settled(limitMs: number): Promise<number>
}
