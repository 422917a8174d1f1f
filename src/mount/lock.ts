import type { FileAccess } from "../sys/file-access.ts"
import { MadeUpEntry } from "./entry.ts"
import type { MountedDatabase } from "./mounted-database.ts"

/** `<db>-lock`: an empty file to put locks on. It is found by name, and not listed. */
export class LockEntry extends MadeUpEntry {
  readonly #database: MountedDatabase
  readonly #startedMs: number

  constructor(nodeId: number, name: string, database: MountedDatabase, startedMs: number) {
    super(nodeId, name)
    this.#database = database
    this.#startedMs = startedMs
  }

  /** The name of the database. */
  get database(): string {
    return this.#database.name
  }

  protected content(): string {
    return ""
  }

  /** Who may write to the database may keep others from it. flock(1) opens the file to read it. */
  protected access(): FileAccess {
    const { uid, gid, mode } = this.#database.access
    const writers = mode & 0o222
    return { uid, gid, mode: writers | (writers << 1) }
  }

  protected modifiedMs(): number {
    return this.#startedMs
  }
}
