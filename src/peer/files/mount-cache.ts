/**
 * Makes the kernel forget what it keeps of files of the mount, by their names. Before there is a mount, there is
 * nothing to forget.
 */
import { must } from "../../lib/assert.ts"
import type { Logger } from "../../lib/log.ts"
import type { CachedRange } from "../../mount/contract.ts"
import { Errno, SysError } from "../../sys/errno.ts"
import type { Fd } from "../../sys/file.ts"
import { OtherThreadsFile } from "../../sys/process/pidfd.ts"
import { KernelCache } from "./kernel-cache.ts"
import { nodeIdAt } from "./mounted-files.ts"

export class MountCache {
  readonly #fuseDir: string
  readonly #log: Logger
  #cache: KernelCache | undefined

  constructor(fuseDir: string, log: Logger) {
    this.#fuseDir = fuseDir
    this.#log = log
  }

  /** Returns whether it uses the descriptor of the fs thread, and not that of this one. `fsThread`: 0 if they are one. */
  mounted(device: Fd, fsThread: number): boolean {
    const borrowed = fsThread === 0 ? undefined : OtherThreadsFile.of(fsThread, device)
    this.#cache = new KernelCache(borrowed ?? device)
    return borrowed !== undefined
  }

  get kernel(): KernelCache {
    return must(this.#cache, "mount")
  }

  forgetName(name: string): void {
    this.#cache?.forgetName(name)
  }

  forgetFile(name: string): void {
    try {
      this.mustForgetFile(name)
    } catch (error) {
      // Clients may read old pages.
      this.#log.warn("cannot drop a database from the kernel's cache", { db: name, error })
    }
  }

  /** As forgetFile(), but throws when it fails. */
  mustForgetFile(name: string): void {
    if (this.#cache === undefined) return
    try {
      this.#cache.forgetFile(nodeIdAt(this.#fuseDir, name))
    } catch (error) {
      // A file that is gone is not cached.
      if (!(error instanceof SysError) || error.errno !== Errno.ENOENT) throw error
    }
  }

  /** Bytes of a file, by its node. */
  forgetRange(range: CachedRange): void {
    try {
      this.#cache?.forgetRange(range)
    } catch (error) {
      this.#log.warn("cannot drop a write that was refused from the kernel's cache", { error })
    }
  }

  /** The node's role: whether there is a `.primary`. */
  forgetRole(): void {
    this.#cache?.forgetName(".primary")
  }
}
