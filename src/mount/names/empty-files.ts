/**
 * Database files that are empty and that nobody has open: they do not stay.
 *
 *   opened ── the last user goes ──▶ unused ── opened again ──▶ opened
 *                 │                    └── a minute ──▶ gone
 *                 └── a write was refused ──▶ gone at once
 *
 * A file that refused what a program wanted to put into it (cp, tar, an editor) is the remains of a failure. A file
 * that nobody has tried to write may be there on purpose: a script runs `touch app.db` and then starts a framework that
 * wants the file, or SQLite makes the file when it opens it, and closes it again without a transaction. The minute
 * gives the next user time to come. A file that somebody has open stays, however long.
 */
import type { Clock } from "../../lib/clock.ts"
import { logger } from "../../lib/log.ts"
import type { DatabaseEntry } from "../files/database.ts"

const log = logger("mount")

const STAY_MS = 60_000

export interface EmptyFilesContext {
  readonly clock: Clock
  /** The entry of the name, when it is a database file here. */
  find(name: string): DatabaseEntry | undefined
  remove(entry: DatabaseEntry): void
}

export class EmptyFiles {
  readonly #context: EmptyFilesContext
  /** When the last user of each name went. */
  readonly #unusedMs = new Map<string, number>()

  constructor(context: EmptyFilesContext) {
    this.#context = context
  }

  /** A user of the file has gone. */
  released(entry: DatabaseEntry): void {
    if (!entry.isUnused) return
    if (entry.isRefused) this.#remove(entry)
    else this.#unusedMs.set(entry.name, this.#context.clock.monotonicMs())
  }

  opened({ name }: DatabaseEntry): void {
    if (this.#unusedMs.size > 0) this.#unusedMs.delete(name)
  }

  /** Removes those whose time is over. Returns when the next one's is, in milliseconds; undefined: there is none. */
  sweep(): number | undefined {
    if (this.#unusedMs.size === 0) return undefined
    const nowMs = this.#context.clock.monotonicMs()
    for (const [name, sinceMs] of this.#unusedMs) {
      if (nowMs < sinceMs + STAY_MS) return sinceMs + STAY_MS - nowMs // the others were unused later
      this.#unusedMs.delete(name)
      const entry = this.#context.find(name)
      if (entry?.isUnused === true) this.#remove(entry)
    }
    return undefined
  }

  #remove(entry: DatabaseEntry): void {
    const { name } = entry
    this.#unusedMs.delete(name)
    try {
      this.#context.remove(entry)
    } catch (error) {
      log.warn("cannot remove an empty file, the next start will", { db: name, error })
    }
  }
}
