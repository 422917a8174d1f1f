/**
 * The write lock of a database, borrowed from the primary while a command runs: a flock(2) lock on `<db>-lock` of the
 * mount. On the primary nothing needs to be borrowed, and other nodes cannot borrow it meanwhile.
 */
import { basename, dirname } from "node:path"
import type { Clock } from "../../lib/clock.ts"
import { formatDuration } from "../../lib/duration.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { callOnce } from "../../lib/port.ts"
import { inTime } from "../../lib/until.ts"
import { closeFile, type Fd } from "../../sys/file.ts"
import { misplacement } from "./database-path.ts"

export interface FlockThread {
  /** Waits for an exclusive lock of the file. Returns a descriptor that has it. */
  lock(path: string): Fd
}

export interface HaltLock extends Disposable {
  /** For the command: the lock lasts until nobody has it open. */
  readonly fd: Fd
  release(): void
}

/**
 * Waits until it has the lock of the database at `path`. Throws when the lock is refused, or does not come in time: a
 * thread then waits on until the process ends.
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
  const late = () => {
    worker.terminate()
    return new Error(`it was not available within ${formatDuration(Math.round(limitMs))}`)
  }
  try {
    const fd = await inTime(locking, { clock, limitMs }, late)
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
  }
}

/** In the executable this module is not in a folder of its own, but the thread is. */
function urlOfThread(): string {
  const isBundled = import.meta.url.includes("/$bunfs/")
  return new URL(isBundled ? "./cli/node/flock-thread.ts" : "./flock-thread.ts", import.meta.url)
    .href
}
