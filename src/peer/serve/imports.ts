/**
 * Imports that are going on (importer.ts), and what each of them waits for from the fs thread, which has the databases
 * of a primary.
 */
import { systemClock } from "../../lib/clock.ts"
import type { Logger } from "../../lib/log.ts"
import type { Pos } from "../../ltx/pos.ts"
import type { FsMessage } from "../../mount/messages.ts"
import type { ReplaceOutcome, ReplaceRequest } from "../../mount/names/replace.ts"
import type { DataDir } from "../../store/data-dir.ts"
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
  tellFs(message: FsMessage): void
}

export class Imports {
  readonly #context: ImportsContext
  readonly #imports = new Set<Promise<unknown>>()
  readonly #replacing = new Map<number, (outcome: ReplaceOutcome) => void>()
  #nextReplace = 1

  constructor(context: ImportsContext) {
    this.#context = context
  }

  /** After everything that is to be done to the database already. */
  async import(database: string, file: number): Promise<Pos | undefined> {
    const { fuseDir, dataDir, databases, cache, log, signal } = this.#context
    const options = {
      ...{ fuseDir, dataDir, cache: cache.kernel, clock: systemClock, log, signal },
      replace: (replace: ReplaceRequest) => this.#replace(replace),
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

  #replace(replace: ReplaceRequest): Promise<ReplaceOutcome> {
    const request = this.#nextReplace++
    const { promise, resolve } = Promise.withResolvers<ReplaceOutcome>()
    this.#replacing.set(request, resolve)
    this.#context.tellFs({ type: "replace", request, replace })
    return promise
  }

  replaced(request: number, outcome: ReplaceOutcome): void {
    this.#replacing.get(request)?.(outcome)
    this.#replacing.delete(request)
  }

  /** Resolves when none is going on any more. */
  async ended(): Promise<void> {
    await Promise.allSettled(this.#imports)
  }
}
