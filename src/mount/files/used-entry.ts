import { FuseError } from "../../fuse/fuse-error.ts"
import { LitefsError } from "../../lib/errors.ts"
import { Errno } from "../../sys/errno.ts"
import { BackedEntry } from "./entry.ts"

/**
 * A file that knows who has it open, and whether a program was refused what it wanted to put into it. If such a file is
 * empty, it is left over from a failure (of cp, tar, an editor), and goes with its last user.
 */
export abstract class UsedEntry extends BackedEntry {
  #userCount = 0
  #isRefused = false
  #hasVanished = false

  /** A client that looked the name up before it went has to do so again. */
  override opened(_thread: number, _isToWrite: boolean, _handle: number): void {
    if (this.#hasVanished) throw FuseError.of(Errno.ESTALE)
    this.#userCount += 1
  }

  override released(_handle: number): void {
    this.#userCount -= 1
  }

  get hasUsers(): boolean {
    return this.#userCount > 0
  }

  /** A program has tried to put something into it that SQLite does not write. */
  get isRefused(): boolean {
    return this.#isRefused
  }

  /** A failure has left it empty, and nobody has it open. */
  get isRemains(): boolean {
    return this.#isRefused && !this.isRemoved && !this.hasUsers && this.file.size() === 0
  }

  /** Removes an unused file. */
  vanish(): void {
    this.removing()
    this.#hasVanished = true
  }

  protected refused(): void {
    this.#isRefused = true
  }

  /** Notes a refusal, and passes every error on. */
  protected noting(act: () => void): void {
    try {
      act()
    } catch (error) {
      if (error instanceof LitefsError && error.code === "unsupported") this.refused()
      throw error
    }
  }
}
