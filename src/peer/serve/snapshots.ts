/**
 * Databases as they were at a moment, while somebody reads them. This thread freezes those that it has itself, and
 * reads all of them (snapshot-reader.ts), as fast as the receiver gives it credit.
 */
import type { FrozenState } from "../../capture/frozen-view.ts"
import { messageOf } from "../../lib/errors.ts"
import type { Logger } from "../../lib/log.ts"
import type { DataDir } from "../../store/data-dir.ts"
import type { Positions } from "../../store/positions.ts"
import type { PeerCommand, PeerEvent } from "../messages.ts"
import type { ReplicaDatabases } from "../receive/replica-databases.ts"
import { SnapshotReader } from "./snapshot-reader.ts"

export interface SnapshotsContext {
  readonly dataDir: DataDir
  readonly nodeId: bigint
  readonly positions: Positions
  readonly databases: ReplicaDatabases
  readonly log: Logger
  tell(event: PeerEvent): void
}

export class Snapshots {
  readonly #context: SnapshotsContext
  readonly #snapshots = new Map<number, SnapshotReader>()
  readonly #thaws = new Map<number, () => void>()

  constructor(context: SnapshotsContext) {
    this.#context = context
  }

  /** Between two commands file and state belong together: an apply changes both in one go. */
  freeze(snapshot: number, name: string): FrozenState | undefined {
    const { dataDir, positions, databases, log } = this.#context
    try {
      const isHere = positions.find(name) !== undefined && databases.isHere(name)
      const database = isHere ? databases.database(name) : undefined
      const view = database?.freeze(`${dataDir.databaseDir(name)}/snapshot-${snapshot}`)
      if (view !== undefined) this.#thaws.set(snapshot, () => database?.thaw(view))
      return view?.state
    } catch (error) {
      log.warn("cannot freeze a database", { db: name, error })
      return undefined
    }
  }

  thaw(snapshot: number): void {
    this.#thaws.get(snapshot)?.()
    this.#thaws.delete(snapshot)
  }

  send(command: Extract<PeerCommand, { type: "snapshot" }>): void {
    const { snapshot, database, state, format } = command
    const { dataDir, nodeId, tell } = this.#context
    const end = (problem: string | undefined) => {
      this.#snapshots.delete(snapshot)
      tell({ type: "snapshot-end", snapshot, problem })
    }
    let reader: SnapshotReader
    try {
      reader = new SnapshotReader(dataDir, database, state, format, nodeId)
    } catch (error) {
      return end(messageOf(error))
    }
    this.#snapshots.set(snapshot, reader)
    reader
      .send((bytes) => tell({ type: "snapshot-data", snapshot, bytes }))
      .then(
        () => end(undefined),
        (error) => end(messageOf(error)),
      )
  }

  addCredit(snapshot: number, size: number): void {
    this.#snapshots.get(snapshot)?.addCredit(size)
  }

  cancel(snapshot: number): void {
    this.#snapshots.get(snapshot)?.cancel()
  }
}
