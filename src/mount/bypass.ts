/**
 * The way past this thread: clients write to a WAL and its wal-index without a request, and the kernel tells afterwards
 * that they have (inotify on the file behind).
 *
 *   a write to the WAL ─▶ take(): captured ─▶ followDue(), after 1 ms, 2, 4 … 512: captured ─▶ nothing, until the next
 *
 * A commit is published in the wal-index just after its last write, and of that nobody tells: it is mapped memory. Hence
 * the looks that follow. They go on, one a second, while a client holds WRITE, because it may have been stopped between
 * the two, and while capturing fails.
 */

import type { Clock } from "../lib/clock.ts"
import { messageOf } from "../lib/errors.ts"
import { type Logger, logger } from "../lib/log.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { FileWatch } from "../sys/bypass/file-watch.ts"
import { Passthrough } from "../sys/bypass/passthrough.ts"
import { Errno, errnoName } from "../sys/errno.ts"
import { closing, type Fd, O_RDONLY, openFile } from "../sys/file.ts"
import { CANNOT_FOLLOW } from "./databases/mounted-databases.ts"

const log = logger("mount")

/** Somebody whose WAL is written to past this thread. */
export interface Follower {
  readonly name: string
  /** Captures what was written. */
  follow(): void
  /** A client holds WRITE: it may be about to publish what it has written. */
  readonly isBeingWritten: boolean
}

export class Bypass {
  readonly #passthrough: Passthrough
  readonly #watch = new FileWatch()
  readonly #followers = new Map<number, Follower>() // by the number of the watch
  readonly #watches = new Map<number, number>() // by the number of the backing file
  readonly #looks: Looks
  #hasFailed = false

  constructor(device: Fd, clock: Clock) {
    this.#passthrough = new Passthrough(device)
    this.#looks = new Looks(clock, log)
  }

  /** Readable when there is something to take(). */
  get fd(): Fd {
    return this.#watch.fd
  }

  /** Why nobody can pass to files beside this one; undefined when they can. The kernel knows after INIT. */
  obstacle(path: string): string | undefined {
    try {
      using file = closing(openFile("bypass:open", path, O_RDONLY))
      const number = this.#passthrough.open(file.fd)
      if (number <= 0) return obstacleOf(-number)
      this.#passthrough.close(number)
      return undefined
    } catch (error) {
      return messageOf(error)
    }
  }

  /** The number of the file for those who open it; 0 when the kernel does not let them pass. */
  open(file: BackedFile, follower?: Follower): number {
    const number = this.#passthrough.open(file.fd)
    if (number <= 0) {
      if (!this.#hasFailed) {
        const problem = obstacleOf(-number)
        log.warn("clients write to a WAL through LiteFS, the kernel lets nobody pass", {
          ...{ file: file.path, problem },
        })
      }
      this.#hasFailed = true
      return 0
    }
    if (follower !== undefined) {
      const watch = this.#watch.add(file.path)
      this.#followers.set(watch, follower)
      this.#watches.set(number, watch)
    }
    return number
  }

  close(number: number): void {
    const watch = this.#watches.get(number)
    if (watch !== undefined) {
      const follower = this.#followers.get(watch)
      if (follower !== undefined) this.#looks.end(follower)
      this.#watch.remove(watch)
      this.#watches.delete(number)
      this.#followers.delete(watch)
    }
    this.#passthrough.close(number)
  }

  /** Has those follow whose files were written to since the last time. */
  take(): void {
    const written = this.#watch.take()
    if (written === "all") for (const each of this.#followers.values()) this.#looks.begin(each)
    else {
      for (const watch of written) {
        const follower = this.#followers.get(watch)
        if (follower !== undefined) this.#looks.begin(follower)
      }
    }
    this.#looks.followDue()
  }

  /** Has those follow who are to look again. Returns in how many milliseconds to call it again. */
  followDue(): number | undefined {
    return this.#looks.followDue()
  }
}

export const NO_PASSTHROUGH = "this kernel has no FUSE passthrough, which came with Linux 6.9"

function obstacleOf(error: number): string {
  switch (error) {
    case Errno.EPERM:
      return "the kernel wants CAP_SYS_ADMIN for FUSE passthrough, and not that of a user namespace"
    case Errno.ELOOP:
      return "the data directory is on a file system on top of another (overlayfs)"
    case Errno.EOPNOTSUPP:
      return "the file system of the data directory has no FUSE passthrough"
    default:
      return `the kernel refuses FUSE passthrough: ${errnoName(error)}`
  }
}

const PAUSE_MS_MAX = 1024

interface Look {
  atMs: number
  pauseMs: number // after it
  hasFailed: boolean
}

/** When to look again after a write. */
export class Looks {
  readonly #clock: Pick<Clock, "monotonicMs">
  readonly #log: Pick<Logger, "error">
  readonly #looks = new Map<Follower, Look>()

  constructor(clock: Pick<Clock, "monotonicMs">, log: Pick<Logger, "error">) {
    this.#clock = clock
    this.#log = log
  }

  /** Something was written. */
  begin(follower: Follower): void {
    const { hasFailed = false } = this.#looks.get(follower) ?? {}
    this.#looks.set(follower, { atMs: this.#clock.monotonicMs(), pauseMs: 1, hasFailed })
  }

  end(follower: Follower): void {
    this.#looks.delete(follower)
  }

  followDue(): number | undefined {
    if (this.#looks.size === 0) return undefined
    const nowMs = this.#clock.monotonicMs()
    let waitMs: number | undefined
    for (const [follower, look] of this.#looks) {
      if (look.atMs <= nowMs && this.#isLast(follower, look)) {
        this.#looks.delete(follower)
        continue
      }
      if (look.atMs <= nowMs) {
        look.atMs = nowMs + look.pauseMs
        look.pauseMs = Math.min(look.pauseMs * 2, PAUSE_MS_MAX)
      }
      waitMs = Math.min(waitMs ?? Number.POSITIVE_INFINITY, look.atMs - nowMs)
    }
    return waitMs
  }

  /** Follows. False when another look is needed. */
  #isLast(follower: Follower, look: Look): boolean {
    try {
      follower.follow()
      look.hasFailed = false
    } catch (error) {
      if (!look.hasFailed) this.#log.error(CANNOT_FOLLOW, { db: follower.name, error })
      look.hasFailed = true
    }
    return look.pauseMs === PAUSE_MS_MAX && !look.hasFailed && !follower.isBeingWritten
  }
}
