/**
 * Databases as one piece, for replicas and exports. The thread that changes a database freezes it, and the peer thread
 * reads it.
 */
import type { Clock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import { RateLimit } from "../../lib/rate-limit.ts"
import type { FsWorker } from "../../mount/fs-worker.ts"
import type { PeerWorker } from "../../peer/peer-worker.ts"
import type { SnapshotFormat } from "../../peer/serve/snapshot-format.ts"
import { droppedStateIfWhole } from "../../recovery/dropped-database.ts"
import type { DataDir } from "../../store/data-dir.ts"
import type { Positions } from "../../store/positions.ts"
import type { Snapshot, SnapshotSource } from "./snapshot-source.ts"

/** Keeps a database as it is: the thread that changes its file. */
type Freezer = Pick<FsWorker, "freeze">

export function snapshotsOf(
  freezer: Freezer,
  peer: PeerWorker,
  format: SnapshotFormat,
): SnapshotSource {
  return {
    async snapshot(database): Promise<Snapshot | undefined> {
      const frozen = await freezer.freeze(database)
      if (frozen === undefined) return undefined
      const { snapshot, state, thaw } = frozen
      async function* parts(): AsyncGenerator<Uint8Array> {
        try {
          yield* peer.snapshot(snapshot, database, state, format)
        } finally {
          thaw()
        }
      }
      return { pos: state.pos, size: state.commit * state.pageSize, parts: parts() }
    },
  }
}

/** Snapshots of existing databases: the other threads are asked for no others. */
export function existingSnapshots(
  source: SnapshotSource,
  dataDir: DataDir,
  positions: Positions,
  mounted: Promise<void>,
): SnapshotSource {
  return {
    async snapshot(name) {
      await mounted
      const slot = positions.find(name)
      if (slot !== undefined) {
        return positions.read(slot).commit === 0 ? undefined : source.snapshot(name)
      }
      if (!dataDir.databaseNames().includes(name) || droppedStateIfWhole(dataDir, name)) return
      throw new LitefsError(
        "damaged",
        `Cannot export "${name}": it is damaged, see the log and litefs doctor`,
      )
    },
  }
}

/** At most `rate` bytes a second, all snapshots together. */
export function limited(
  source: SnapshotSource,
  rate: number | undefined,
  clock: Clock,
): SnapshotSource {
  if (rate === undefined) return source
  const limit = new RateLimit(clock, rate)
  return {
    async snapshot(database) {
      const snapshot = await source.snapshot(database)
      return snapshot && { ...snapshot, parts: limit.apply(snapshot.parts) }
    },
  }
}
