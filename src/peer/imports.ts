/**
 * Imports that are going on (importer.ts), and what each of them waits for from the fs thread, which has the databases
 * of a primary.
 */
import { systemClock } from "../lib/clock.ts"
import { LitefsError, messageOf } from "../lib/errors.ts"
import type { Logger } from "../lib/log.ts"
import type { FsMessage } from "../mount/messages.ts"
import type { ReplaceOutcome, ReplaceRequest } from "../mount/replace.ts"
import type { DataDir } from "../store/data-dir.ts"
import { importDatabase } from "./importer.ts"
import type { PeerCommand, PeerEvent } from "./messages.ts"
import type { MountCache } from "./mount-cache.ts"
import type { ReplicaDatabases } from "./replica-databases.ts"

export interface ImportsContext {
  readonly fuseDir: string
  readonly dataDir: DataDir
  readonly databases: ReplicaDatabases
  readonly cache: MountCache
  readonly log: Logger
  /** Aborted when the node stops. */
  readonly signal: AbortSignal
  tell(event: PeerEvent): void
  tellFs(message: FsMessage): void
}

export class Imports {
  readonly #context: ImportsContext
  readonly #imports = new Set<Promise<void>>()
  readonly #replacing = new Map<number, (outcome: ReplaceOutcome) => void>()
  #nextReplace = 1

  constructor(context: ImportsContext) {
    this.#context = context
  }

  begin({ request, database, file }: Extract<PeerCommand, { type: "import" }>): void {
    const { fuseDir, dataDir, databases, cache, log, signal, tell } = this.#context
    const done = Promise.withResolvers<void>()
    this.#imports.add(done.promise)
    databases.enqueue(database, async () => {
      try {
        const pos = await importDatabase(
          {
            fuseDir,
            dataDir,
            cache: cache.kernel,
            clock: systemClock,
            log,
            signal,
            replace: (replace) => this.#replace(replace),
          },
          database,
          file,
        )
        tell({ type: "imported", request, result: { kind: "done", pos } })
      } catch (error) {
        const code = error instanceof LitefsError ? error.code : "io"
        const result = { kind: "failed", code, message: messageOf(error) } as const
        tell({ type: "imported", request, result })
      }
      this.#imports.delete(done.promise)
      done.resolve()
    })
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
    await Promise.all(this.#imports)
  }
}
