/** What a daemon that was killed has left mounted. */
import { sleep, systemClock } from "../lib/clock.ts"
import { logger } from "../lib/log.ts"
import type { LiteFSOptions } from "../litefs-options.ts"
import { DataDir } from "../store/data-dir.ts"
import { closeFile } from "../sys/file.ts"
import { abortStaleMounts } from "../sys/mount.ts"
import { isDying } from "../sys/process.ts"

const log = logger("litefs")

/** A process whose mount is aborted ends at once. */
const DYING_MS_MAX = 5000

/**
 * Takes it away. Holding the lock of the data directory tells that the daemon is gone: one that serves another data
 * directory here is asked whether it answers.
 *
 * A daemon that was killed while a thread of its own waited for its mount cannot end, and keeps the lock, until
 * somebody aborts the mount.
 */
export async function recoverMount(
  options: Pick<LiteFSOptions, "fuseDir" | "dataDir">,
): Promise<void> {
  const dataDir = new DataDir(options.dataDir)
  const holder = dataDir.exists() ? dataDir.lockHolder() : undefined
  if (holder !== undefined && isDying(holder)) {
    abortStaleMounts(options.fuseDir)
    log.warn("ended a daemon that was killed and could not end", { pid: holder })
    for (let waitedMs = 0; waitedMs < DYING_MS_MAX && isDying(holder); waitedMs += 50) {
      await sleep(systemClock, 50)
    }
  }
  const lock = dataDir.exists() ? dataDir.lock() : undefined
  try {
    if (abortStaleMounts(options.fuseDir)) {
      log.info("found a dead mount", { dir: options.fuseDir })
    }
  } finally {
    if (lock !== undefined) closeFile(lock)
  }
}
