/** Running imports (importer.ts). */
import { systemClock } from "../../lib/clock.ts"
import type { Logger } from "../../lib/log.ts"
import type { Sender } from "../../lib/port.ts"
import type { Pos } from "../../ltx/pos.ts"
import type { ReplaceRequest } from "../../mount/names/replace.ts"
import type { DataDir } from "../../store/data-dir.ts"
import type { PeerHost } from "../contract.ts"
import type { MountCache } from "../files/mount-cache.ts"
import type { ReplicaDatabases } from "../receive/replica-databases.ts"
import { importDatabase } from "./importer.ts"

export interface ImportsContext {
  readonly fuseDir: string
  readonly dataDir: DataDir
  readonly databases: ReplicaDatabases
  readonly cache: MountCache
  readonly log: Logger
  /** Aborted when the node stops. */
  readonly signal: AbortSignal
  readonly main: Sender<PeerHost>
}

export class Imports {
  readonly #context: ImportsContext
  readonly #imports = new Set<Promise<unknown>>()

  constructor(context: ImportsContext) {
    this.#context = context
  }

  /** After all work on the database so far. */
  async import(database: string, file: number): Promise<Pos | undefined> {
    const { fuseDir, dataDir, databases, cache, log, signal, main } = this.#context
    const options = {
      ...{ fuseDir, dataDir, cache: cache.kernel, clock: systemClock, log, signal },
      replace: (request: ReplaceRequest) => main.call("replace", request),
    }
    const { promise, resolve } = Promise.withResolvers<Pos | undefined>()
    this.#imports.add(promise)
    databases.enqueue(database, async () => {
      const importing = importDatabase(options, database, file)
      resolve(importing)
      await importing.catch(() => {})
    })
    return promise.finally(() => this.#imports.delete(promise))
  }

  /** Resolves when no import is running any more. */
  async ended(): Promise<void> {
    await Promise.allSettled(this.#imports)
  }
}
