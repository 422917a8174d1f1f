/**
 * Databases as they were at one moment, while somebody reads them. This thread freezes its own databases, and reads all
 * of them (snapshot-reader.ts), as fast as the receiver gives it credit.
 */
import type { FrozenState } from "../../capture/frozen-view.ts"
import type { Logger } from "../../lib/log.ts"
import type { Sender } from "../../lib/port.ts"
import type { DataDir } from "../../store/data-dir.ts"
import type { Positions } from "../../store/positions.ts"
import type { PeerHost } from "../contract.ts"
import type { ReplicaDatabases } from "../receive/replica-databases.ts"
import type { SnapshotFormat } from "./snapshot-format.ts"
import { SnapshotReader } from "./snapshot-reader.ts"

export interface SnapshotsContext {
  readonly dataDir: DataDir
  readonly nodeId: bigint
  readonly positions: Positions
  readonly databases: ReplicaDatabases
  readonly log: Logger
  readonly main: Pick<Sender<PeerHost>, "tell">
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

  /** The node stops, and nobody will tell this thread to end them. */
  close(): void {
    for (const snapshot of [...this.#thaws.keys()]) this.thaw(snapshot)
  }

  /** Resolves when all parts are sent, or nobody wants more. */
  async send(
    snapshot: number,
    database: string,
    state: FrozenState,
    format: SnapshotFormat,
  ): Promise<void> {
    const { dataDir, nodeId, main } = this.#context
    const reader = new SnapshotReader(dataDir, database, state, format, nodeId)
    this.#snapshots.set(snapshot, reader)
    try {
      await reader.send((bytes) => main.tell("snapshotPart", snapshot, bytes))
    } finally {
      this.#snapshots.delete(snapshot)
    }
  }

  addCredit(snapshot: number, size: number): void {
    this.#snapshots.get(snapshot)?.addCredit(size)
  }

  cancel(snapshot: number): void {
    this.#snapshots.get(snapshot)?.cancel()
  }
}
