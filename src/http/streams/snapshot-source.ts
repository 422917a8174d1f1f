import type { Pos } from "../../ltx/pos.ts"

/** Whole databases, for replicas and for exports. */
export interface SnapshotSource {
  /** The database in one piece, and its position. Undefined when it is gone. */
  snapshot(database: string): Promise<Snapshot | undefined>
}

export interface Snapshot {
  readonly pos: Pos
  readonly size: number // of the database, bytes
  readonly parts: AsyncIterable<Uint8Array>
}
