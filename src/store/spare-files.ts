/**
 * Empty files that will become LTX files, so that no commit waits until one is made.
 *
 * Renaming an existing file costs 15 µs. Making one costs more, and up to 800 µs on ext4 where many files were removed
 * in the last five minutes, as a retention does: the file system then looks at the inode of each removed file before it
 * takes a free one (Linux: fs/ext4/ialloc.c, recently_deleted).
 *
 *   peer thread: make() ─▶ <data>/spare/<number> ─▶ take(), by the fs thread ─▶ written and renamed
 *
 * There are none until transactions come quickly, then more and more up to a limit. The next start removes those that a
 * node leaves: they hold nothing.
 *
 * Words of memory that both threads share:
 *
 *   0 made     number of the next file to be made
 *   1 taken    number of the next file to be taken
 *   2 wanted   how many files there should be; 0 when nobody has asked
 */
import { join } from "node:path"
import { listDirectory, makeDirectory } from "../sys/directory.ts"
import { Errno, SysError } from "../sys/errno.ts"
import {
  closeFile,
  fileExists,
  O_CREAT,
  O_RDWR,
  O_TRUNC,
  openFile,
  unlinkFile,
} from "../sys/file.ts"

export const SPARE_FILE_WORDS = 3

const MADE = 0
const TAKEN = 1
const WANTED = 2

/** This many files are made on demand before the first are made in advance. */
const PATIENCE = 64
const COUNT_MAX = 1024

export class SpareFiles {
  readonly #words: Int32Array
  readonly #directory: string
  #missed = 0 // how often there was none
  #isUseless = false
  #count = PATIENCE // how many to ask for next time

  /** `words` are zeros at the start of the process. */
  constructor(words: Int32Array, root: string) {
    this.#words = words
    this.#directory = join(root, "spare")
  }

  /** The path of an empty file, which is the caller's from now on; undefined when there is none. */
  take(): string | undefined {
    if (this.#isUseless) return undefined
    const taken = Atomics.load(this.#words, TAKEN)
    if (taken === Atomics.load(this.#words, MADE)) {
      this.#missed += 1
      return undefined
    }
    Atomics.store(this.#words, TAKEN, taken + 1)
    return this.#path(taken)
  }

  /** A spare could not become an LTX file. It never can when the LTX files are on another file system. */
  failed(error: unknown): void {
    if (error instanceof SysError && error.errno === Errno.EXDEV) this.#isUseless = true
  }

  /** Whether somebody should call make(): true once, until that has been done. */
  ask(): boolean {
    if (this.#isUseless || this.#missed < PATIENCE || this.#wanted > 0) return false
    if (this.#left > this.#count / 2) return false
    if (this.#left === 0) this.#count = Math.min(this.#count * 2, COUNT_MAX)
    Atomics.store(this.#words, WANTED, this.#count)
    return true
  }

  /** Makes a few of the wanted files. False when there are enough; also after a throw there are enough. */
  make(countMax: number): boolean {
    let isUnfinished = false
    try {
      makeDirectory("spare:mkdir", this.#directory)
      for (let count = 0; count < countMax && this.#left < this.#wanted; count++) {
        const made = Atomics.load(this.#words, MADE)
        closeFile(openFile("spare:open", this.#path(made), O_RDWR | O_CREAT | O_TRUNC))
        Atomics.store(this.#words, MADE, made + 1)
      }
      isUnfinished = this.#left < this.#wanted
      return isUnfinished
    } finally {
      if (!isUnfinished) Atomics.store(this.#words, WANTED, 0)
    }
  }

  /** Removes what the last run has left. Does not throw: leftovers harm nobody. */
  removeLeftovers(): void {
    try {
      if (!fileExists("spare:look", this.#directory)) return
      for (const { name } of listDirectory("spare:list", this.#directory)) {
        unlinkFile("spare:unlink", join(this.#directory, name))
      }
    } catch {
      // The next start tries again.
    }
  }

  get #left(): number {
    return Atomics.load(this.#words, MADE) - Atomics.load(this.#words, TAKEN)
  }

  get #wanted(): number {
    return Atomics.load(this.#words, WANTED)
  }

  #path(number: number): string {
    return join(this.#directory, String(number))
  }
}
