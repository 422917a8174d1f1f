/**
 * Empty files that are to become LTX files, so that no commit waits until one is made.
 *
 * To give an existing file its name costs 15 µs. To make one costs more, and on ext4 up to 800 µs where many files were
 * removed in the last five minutes, which is what a retention does: the file system then looks at the inode of each
 * of those before it takes one that is free (Linux: fs/ext4/ialloc.c, recently_deleted).
 *
 *   peer thread: make() ─▶ <data>/spare/<number> ─▶ take(), by the fs thread ─▶ written and renamed
 *
 * There are none until transactions come quickly, then more and more of them up to a limit. What a node leaves of them,
 * the next start removes: they hold nothing.
 *
 * Words of memory that both threads share:
 *
 *   0 made     number of the next file to be made
 *   1 taken    number of the next file to be taken
 *   2 wanted   how many files there are to be; 0 when nobody has asked
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

/** So many files are made by whoever needs them before the first are made in advance. */
const PATIENCE = 64
const COUNT_MAX = 1024

export class SpareFiles {
  readonly #words: Int32Array
  readonly #directory: string
  #missed = 0 // times that there was none
  #isUseless = false
  #count = PATIENCE // to have, when it is asked for the next time

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

  /** An LTX file could not be made of one. Where their directory is on another file system, none ever can. */
  failed(error: unknown): void {
    if (error instanceof SysError && error.errno === Errno.EXDEV) this.#isUseless = true
  }

  /** Whether somebody should call make(): true once, until that is done. */
  ask(): boolean {
    if (this.#isUseless || this.#missed < PATIENCE || this.#wanted > 0) return false
    if (this.#left > this.#count / 2) return false
    if (this.#left === 0) this.#count = Math.min(this.#count * 2, COUNT_MAX)
    Atomics.store(this.#words, WANTED, this.#count)
    return true
  }

  /** Makes a few of the files that are wanted. False when there are enough; when it throws, there are too. */
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

  /** What the last run has left. Does not throw, since it is in nobody's way. */
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
