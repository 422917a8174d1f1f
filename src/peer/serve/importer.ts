/**
 * Puts a verified file in the place of a database of the primary, under the clients that have it open.
 *
 *   lock every client out ─▶ fs thread: transaction, then file ─▶ kernel forgets ─▶ clients are told ─▶ unlock
 *
 * For a database that does not exist nobody has to be locked out, and clients hear only its name. Which of the two
 * cases holds can change until the fs thread looks. If it has changed, the fs thread does nothing, and this starts
 * again.
 */
import { type Clock, sleep } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import type { Logger } from "../../lib/log.ts"
import type { Pos } from "../../ltx/pos.ts"
import type { ReplaceOutcome, ReplaceRequest } from "../../mount/names/replace.ts"
import type { DataDir } from "../../store/data-dir.ts"
import type { KernelCache } from "../files/kernel-cache.ts"
import { ClientLocks } from "../locks/client-locks.ts"
import { untilDone } from "../locks/until-done.ts"
import { isInWalMode } from "../locks/wal-mode.ts"
import { WalIndexFile } from "../wal/wal-index-file.ts"

export interface ImporterOptions {
  readonly fuseDir: string
  readonly dataDir: DataDir
  readonly cache: KernelCache
  readonly clock: Clock
  readonly log: Logger
  /** Aborted when the node stops. */
  readonly signal: AbortSignal
  /** Makes the fs thread do it. */
  replace(request: ReplaceRequest): Promise<ReplaceOutcome>
}

const LOCK_MS_MAX = 10_000
const ATTEMPT_COUNT_MAX = 100

/**
 * Returns the position afterwards; undefined when the file has to be prepared again. `file` is the number of
 * DataDir.importPath().
 */
export async function importDatabase(
  options: ImporterOptions,
  database: string,
  file: number,
): Promise<Pos | undefined> {
  const { fuseDir, dataDir, cache, clock, signal } = options
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
    const outcome = await options.replace({ database, file, isLocked: lock !== undefined })
    if (outcome.kind === "refused") throw new LitefsError(outcome.code, outcome.message)
    if (outcome.kind === "stale") return undefined
    if (outcome.kind === "replaced") {
      await untilDone(options, database, "cannot tell clients of an import, they wait", () => {
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

function forgetNames(cache: KernelCache, database: string): void {
  for (const suffix of ["", "-journal", "-wal", "-shm"]) cache.forgetName(database + suffix)
}
