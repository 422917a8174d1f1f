/**
 * Whoever stands between this node and those that use it (front-door.ts), as far as the place of the node among the
 * others has to do with that.
 */
import type { Handoffs } from "../../cluster/role/handoffs.ts"
import type { StatusApi } from "../../http/status/status-api.ts"

export interface Outside {
  /** What this node tells of itself: it has to hear what there is to tell. */
  readonly api: Pick<StatusApi, "status" | "setPrimaryName" | "roleChanged">
  /** The node is the primary, or where the primary was. */
  ready(): void
  /** Who answers when the primary offers its role. */
  readonly handoffs: Handoffs
  /** Resolves when no write of the application goes on, or when the time is over: with how many do. */
  settled(limitMs: number): Promise<number>
}
