import type { Deferred } from "../../fuse/deferred.ts"
import type { LockOwner } from "../../fuse/filesystem.ts"
import { FuseError } from "../../fuse/fuse-error.ts"
import { includes, type LockRange } from "../../fuse/lock-range.ts"
import { HALT_BYTE } from "../../sqlite/lock-bytes.ts"
import { Errno } from "../../sys/errno.ts"
import type { FileAccess } from "../../sys/file-access.ts"
import type { HaltFlocks } from "../databases/halt-flocks.ts"
import type { MountedDatabase } from "../databases/mounted-database.ts"
import { MadeUpEntry } from "./entry.ts"

/** `<db>-lock`: an empty file to put locks on. A lookup finds it, a listing leaves it out. */
export class LockEntry extends MadeUpEntry {
  readonly #database: MountedDatabase
  readonly #halts: HaltFlocks
  readonly #startedMs: number

  constructor(
    nodeId: number,
    name: string,
    database: MountedDatabase,
    halts: HaltFlocks,
    startedMs: number,
  ) {
    super(nodeId, name)
    this.#database = database
    this.#halts = halts
    this.#startedMs = startedMs
  }

  /** The name of the database. */
  get database(): string {
    return this.#database.name
  }

  /** The halt lock of the original, where locks are requests. Otherwise halt-bytes.ts takes care of it. */
  override locking(range: LockRange, owner: LockOwner): Deferred | undefined {
    if (!includes(range, HALT_BYTE)) throw FuseError.of(Errno.EINVAL)
    return this.#halts.set(this.database, this.nodeId, owner, "exclusive", true)
  }

  override unlocked(range: LockRange, owner: LockOwner): void {
    if (includes(range, HALT_BYTE)) this.#halts.release(this.nodeId, owner)
  }

  /** It is empty: the O_TRUNC of whoever opens it to lock it (`exec 9>app.db-lock`) changes nothing. */
  override truncate(size: number): void {
    if (size !== 0) throw FuseError.of(Errno.EACCES)
  }

  protected content(): string {
    return ""
  }

  /** A user who may write to the database may keep others from it. flock(1) opens the file to read it. */
  protected access(): FileAccess {
    const { uid, gid, mode } = this.#database.access
    const writers = mode & 0o222
    return { uid, gid, mode: writers | (writers << 1) }
  }

  protected modifiedMs(): number {
    return this.#startedMs
  }
}
