/**
 * The way past this thread: clients write to a WAL and its wal-index without a request, and the kernel tells afterwards
 * that they have (inotify on the file behind).
 */

import { logger } from "../lib/log.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { FileWatch } from "../sys/bypass/file-watch.ts"
import { Passthrough } from "../sys/bypass/passthrough.ts"
import { errnoName } from "../sys/errno.ts"
import type { Fd } from "../sys/file.ts"

const log = logger("mount")

/** Somebody whose WAL is written to past this thread. */
export interface Follower {
  /** Captures what was written. */
  follow(): void
}

export class Bypass {
  readonly #passthrough: Passthrough
  readonly #watch = new FileWatch()
  readonly #followers = new Map<number, Follower>() // by the number of the watch
  readonly #watches = new Map<number, number>() // by the number of the backing file
  #hasFailed = false

  constructor(device: Fd) {
    this.#passthrough = new Passthrough(device)
  }

  /** Readable when there is something to take(). */
  get fd(): Fd {
    return this.#watch.fd
  }

  /** The number of the file for those who open it; 0 when the kernel does not let them pass. */
  open(file: BackedFile, follower?: Follower): number {
    const number = this.#passthrough.open(file.fd)
    if (number <= 0) {
      if (!this.#hasFailed) {
        const problem = errnoName(-number)
        log.warn("clients write to WALs through LiteFS, the kernel lets nobody pass", { problem })
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
      this.#watch.remove(watch)
      this.#watches.delete(number)
      this.#followers.delete(watch)
    }
    this.#passthrough.close(number)
  }

  /** Those whose files were written to since the last time. */
  take(): Iterable<Follower> {
    const written = this.#watch.take()
    if (written === "all") return this.#followers.values()
    return [...written].flatMap((watch) => this.#followers.get(watch) ?? [])
  }
}
