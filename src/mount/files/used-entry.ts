import { FuseError } from "../../fuse/fuse-error.ts"
import { LitefsError } from "../../lib/errors.ts"
import { Errno } from "../../sys/errno.ts"
import { BackedEntry } from "./entry.ts"

/**
 * A file that knows who has it open, and whether somebody was refused what he wanted to put into it. A file that
 * is empty then is left over from a failure (of cp, tar, an editor), and goes with its last user.
 */
export abstract class UsedEntry extends BackedEntry {
  #userCount = 0
  #isRefused = false
  #hasVanished = false

  /** A client that has looked the name up before has to do so again. */
  override opened(): void {
    if (this.#hasVanished) throw FuseError.of(Errno.ESTALE)
    this.#userCount += 1
  }

  override released(): void {
    this.#userCount -= 1
  }

  get hasUsers(): boolean {
    return this.#userCount > 0
  }

  /** Somebody has tried to put something else into it than SQLite does. */
  get isRefused(): boolean {
    return this.#isRefused
  }

  /** Nobody has it open, and nobody misses it. */
  get isRemains(): boolean {
    return this.#isRefused && !this.isRemoved && !this.hasUsers && this.file.size() === 0
  }

  /** Takes away what is unused. */
  vanish(): void {
    this.removing()
    this.#hasVanished = true
  }

  protected refused(): void {
    this.#isRefused = true
  }

  /** What is thrown meanwhile is passed on. */
  protected noting(act: () => void): void {
    try {
      act()
    } catch (error) {
      if (error instanceof LitefsError && error.code === "unsupported") this.refused()
      throw error
    }
  }
}
