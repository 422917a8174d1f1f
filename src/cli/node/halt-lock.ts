/**
 * The write lock of a database, borrowed from the primary for as long as a command runs: a flock(2) lock on
 * `<db>-lock` of the mount. On the primary nothing has to be borrowed, and other nodes cannot meanwhile.
 */
import { basename } from "node:path"
import type { Clock } from "../../lib/clock.ts"
import { formatDuration } from "../../lib/duration.ts"
import { LitefsError } from "../../lib/errors.ts"
import { closeFile, type Fd } from "../../sys/file.ts"

export type FlockAnswer = { readonly fd: Fd } | { readonly problem: string }

export interface HaltLock extends Disposable {
  /** To be handed to the command: the lock is there until nobody has it open. */
  readonly fd: Fd
  release(): void
}

/**
 * Waits until the lock is had. Throws when it is not to be had, or not in time: then a thread waits on, until the
 * process ends.
 */
export async function takeHaltLock(path: string, clock: Clock, limitMs: number): Promise<HaltLock> {
  const worker = new Worker(urlOfThread())
  const answered = Promise.withResolvers<FlockAnswer>()
  worker.onmessage = ({ data }: MessageEvent<FlockAnswer>) => answered.resolve(data)
  worker.onerror = (event) => answered.reject(new Error(event.message))
  worker.postMessage(`${path}-lock`)
  const cancel = clock.after(limitMs, () => {
    const problem = `it was not to be had in ${formatDuration(Math.round(limitMs))}`
    answered.resolve({ problem })
  })
  const answer = await answered.promise.finally(cancel)
  worker.terminate()
  if ("fd" in answer) {
    const release = () => closeFile(answer.fd)
    return { fd: answer.fd, release, [Symbol.dispose]: release }
  }
  throw new LitefsError(
    "unavailable",
    `Cannot borrow the write lock of "${basename(path)}": ${answer.problem}, the log of the node may say more`,
  )
}

/** In the executable this module is not in a folder of its own, but the thread is. */
function urlOfThread(): string {
  const isBundled = import.meta.url.includes("/$bunfs/")
  return new URL(isBundled ? "./cli/node/flock-thread.ts" : "./flock-thread.ts", import.meta.url)
    .href
}
