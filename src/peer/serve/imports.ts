/**
 * Puts verified files in the place of databases of the primary, under the clients that have them open.
 *
 *   lock every client out ─▶ fs thread: transaction, then file ─▶ kernel forgets ─▶ clients are told ─▶ unlock
 *
 * For a database that does not exist nobody has to be locked out, and clients hear only its name. Which of the two
 * cases holds can change until the fs thread looks. If it has changed, the fs thread does nothing, and this starts
 * again.
 */
import { sleep, systemClock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import type { Logger } from "../../lib/log.ts"
import type { Sender } from "../../lib/port.ts"
import type { Pos } from "../../ltx/pos.ts"
import type { DataDir } from "../../store/data-dir.ts"
import type { PeerHost } from "../contract.ts"
import type { KernelCache } from "../files/kernel-cache.ts"
import type { MountCache } from "../files/mount-cache.ts"
import { ClientLocks } from "../locks/client-locks.ts"
import { untilDone } from "../locks/until-done.ts"
import { isInWalMode } from "../locks/wal-mode.ts"
import type { ReplicaDatabases } from "../receive/replica-databases.ts"
import { WalIndexFile } from "../wal/wal-index-file.ts"

const LOCK_MS_MAX = 10_000
const ATTEMPT_COUNT_MAX = 100

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

  /**
   * After all work on the database so far. Resolves with the position afterwards; undefined when the file has to be
   * prepared again. `file` is the number of DataDir.importPath().
   */
  async import(database: string, file: number): Promise<Pos | undefined> {
    const { promise, resolve } = Promise.withResolvers<Pos | undefined>()
    this.#imports.add(promise)
    this.#context.databases.enqueue(database, async () => {
      const importing = this.#import(database, file)
      resolve(importing)
      await importing.catch(() => {})
    })
    return promise.finally(() => this.#imports.delete(promise))
  }

  async #import(database: string, file: number): Promise<Pos | undefined> {
    const { fuseDir, dataDir, log, signal, main } = this.#context
    const cache = this.#context.cache.kernel
    const clock = systemClock
    for (let attempt = 0; attempt < ATTEMPT_COUNT_MAX; attempt++) {
      using lock = await ClientLocks.lockOut({
        directory: fuseDir,
        database,
        clock,
        limitMs: LOCK_MS_MAX,
        signal,
        isWalMode: () => isInWalMode(dataDir.path(database, "database")),
        gateOf: (shm) => new WalIndexFile(shm),
      })
      const request = { database, file, isLocked: lock !== undefined }
      const outcome = await main.call("replace", request)
      if (outcome.kind === "refused") throw new LitefsError(outcome.code, outcome.message)
      if (outcome.kind === "stale") return undefined
      if (outcome.kind === "replaced") {
        const told = "cannot tell clients of an import, they wait"
        await untilDone({ clock, log, signal }, database, told, () => {
          for (const nodeId of outcome.nodeIds) cache.forgetFile(nodeId)
          if (lock === undefined) forgetNames(cache, database)
          if (lock?.shm === undefined) return
          const content = { pageSize: outcome.pageSize, pageCount: outcome.commit }
          new WalIndexFile(lock.shm).restart(clock.random(), content)
        })
        return outcome.pos
      }
      cache.forgetName(database)
      await sleep(clock, attempt, signal)
    }
    throw new LitefsError(
      "unavailable",
      `Cannot import "${database}": clients keep making and removing it`,
    )
  }

  /** Resolves when no import is running any more. */
  async ended(): Promise<void> {
    await Promise.allSettled(this.#imports)
  }
}

function forgetNames(cache: KernelCache, database: string): void {
  for (const suffix of ["", "-journal", "-wal", "-shm"]) cache.forgetName(database + suffix)
}
