import { FuseError } from "../fuse/fuse-error.ts"
import { Errno } from "../sys/errno.ts"
import type { Region } from "../sys/memory.ts"
import { BackedEntry } from "./entry.ts"
import type { MountedDatabase } from "./mounted-database.ts"

/** `<db>`: the database file. On a replica its pages come from the primary only. */
export class DatabaseEntry extends BackedEntry {
  readonly #database: MountedDatabase

  constructor(nodeId: number, name: string, database: MountedDatabase) {
    super(nodeId, name, database.database)
    this.#database = database
  }

  protected override get permissions(): number {
    return this.#database.role.isPrimary ? 0o666 : 0o444
  }

  override write(offset: number, size: number, from: Region, thread: number): void {
    this.#capture.databaseWriting(offset, size)
    super.write(offset, size, from, thread)
    this.#capture.databaseWritten(offset, size, from.bytes)
  }

  override truncate(size: number): void {
    if (!this.#database.role.isPrimary && size === this.file.size()) return
    this.#capture.databaseTruncating(size)
    super.truncate(size)
  }

  /** Drops the database. Its log stays, and its history goes on when the name is used again. */
  override removing(): void {
    if (!this.#database.role.isPrimary) throw FuseError.of(Errno.EACCES)
    this.#capture.databaseRemoving()
    super.removing()
  }

  get #capture() {
    const { capture } = this.#database
    if (capture !== undefined) return capture
    this.#database.complainAboutWrite()
    throw FuseError.of(Errno.EROFS)
  }
}
