/**
 * The write lock of a database, borrowed from the primary for as long as a command runs: a flock(2) lock on
 * `<db>-lock` of the mount. On the primary nothing has to be borrowed, and other nodes cannot meanwhile.
 */
import { basename, dirname } from "node:path"
import type { Clock } from "../../lib/clock.ts"
import { formatDuration } from "../../lib/duration.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { callOnce } from "../../lib/port.ts"
import { closeFile, type Fd } from "../../sys/file.ts"
import { misplacement } from "./database-path.ts"

export interface FlockThread {
  /** Waits for an exclusive lock of the file. Returns a descriptor that has it. */
  lock(path: string): Fd
}

export interface HaltLock extends Disposable {
  /** To be handed to the command: the lock is there until nobody has it open. */
  readonly fd: Fd
  release(): void
}

/**
 * Waits until the lock is had. `path` is where the database was looked for (database-path.ts). Throws when it is not to be had, or not in time: then a thread waits on, until the
 * process ends.
 */
export async function takeHaltLock(
  database: string,
  path: string,
  clock: Clock,
  limitMs: number,
): Promise<HaltLock> {
  const worker = new Worker(urlOfThread())
  const thread = "the thread that waits for it"
  const locking = callOnce<FlockThread, "lock">(worker, thread, "lock", `${path}-lock`)
  const late = Promise.withResolvers<never>()
  const cancel = clock.after(limitMs, () => {
    late.reject(new Error(`it was not to be had in ${formatDuration(Math.round(limitMs))}`))
    worker.terminate()
  })
  try {
    const fd = await Promise.race([locking, late.promise])
    const release = () => closeFile(fd)
    return { fd, release, [Symbol.dispose]: release }
  } catch (error) {
    const isMissing = error instanceof LitefsError && error.code === "not-found"
    const problem = isMissing
      ? (misplacement(database, path) ?? `there is no such database in "${dirname(path)}"`)
      : `${messageOf(error)}, the log of the node may say more`
    throw new LitefsError(
      isMissing ? "not-found" : "unavailable",
      `Cannot borrow the write lock of "${basename(path)}": ${problem}`,
    )
  } finally {
    cancel()
  }
}

/** In the executable this module is not in a folder of its own, but the thread is. */
function urlOfThread(): string {
  const isBundled = import.meta.url.includes("/$bunfs/")
  return new URL(isBundled ? "./cli/node/flock-thread.ts" : "./flock-thread.ts", import.meta.url)
    .href
}
