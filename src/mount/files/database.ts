import type { Deferred } from "../../fuse/deferred.ts"
import type { Attributes, LockOwner } from "../../fuse/filesystem.ts"
import { FuseError } from "../../fuse/fuse-error.ts"
import { includes, type LockRange } from "../../fuse/lock-range.ts"
import type { Pos } from "../../ltx/pos.ts"
import { disguiseHeader } from "../../sqlite/header-disguise.ts"
import { RESERVED_BYTE } from "../../sqlite/lock-bytes.ts"
import { Column } from "../../store/counters.ts"
import { Errno } from "../../sys/errno.ts"
import type { Region } from "../../sys/memory.ts"
import type { MountedDatabase } from "../databases/mounted-database.ts"
import { UsedEntry } from "./used-entry.ts"

/**
 * `<db>`: the database file. On a replica its pages come only from the primary.
 *
 * A client that will not be able to write can open it only to read. SQLite then opens it read-only by itself, for the
 * life of the connection, says "attempt to write a readonly database" in every journal mode, and holds no writer's
 * lock.
 *
 * SQLite makes an empty file when it opens a new database. Other programs make one to put something else into it, and
 * that is refused. A file that is still empty when its last user has gone need not stay: see empty-files.ts.
 */
export class DatabaseEntry extends UsedEntry {
  readonly #database: MountedDatabase

  constructor(nodeId: number, name: string, database: MountedDatabase) {
    super(nodeId, name, database.database)
    this.#database = database
    database.file = this
  }

  /** The kernel looks up each time a name that may go without it. */
  override get nameTimeout(): number {
    return this.isEmpty ? 0 : super.nameTimeout
  }

  /** Nobody has it open, and it is empty, so it may go. */
  get isUnused(): boolean {
    return !this.hasUsers && this.isEmpty
  }

  /** The position of its last transaction; undefined when it has none, or is not captured here. */
  get pos(): Pos | undefined {
    const history = this.#database.capture?.history
    return history === undefined || history.commit === 0 ? undefined : history.pos
  }

  private get isEmpty(): boolean {
    return !this.isRemoved && this.#database.capture?.isEmpty === true
  }

  /** As MountedDatabase has it. */
  opening(): Deferred | undefined {
    return this.#database.opening()
  }

  override checkWritable(): void {
    if (!this.#database.isOpenedToWrite && !this.isRemoved) throw FuseError.of(Errno.EROFS)
  }

  override checkStored(): void {
    if (!this.isRemoved) this.noting(() => this.#database.refuseStores(this.name))
  }

  override readAttributes(into: Attributes): void {
    super.readAttributes(into)
    const { reader } = this.#database
    if (reader !== undefined && !this.isRemoved) into.size = reader.databaseSize()
  }

  override read(offset: number, size: number, into: Region): number {
    const { reader } = this.#database
    if (reader === undefined || this.isRemoved) return this.#readFile(offset, size, into)
    return reader.readDatabase(offset, size, into)
  }

  override write(offset: number, size: number, from: Region, thread: number): void {
    this.#database.countWrite(Column.DATABASE_WRITES)
    if (this.isRemoved) super.write(offset, size, from, thread)
    else this.noting(() => this.#captureFor(thread).writeDatabase(offset, size, from))
  }

  /** By an open file it may be done in a transaction; capture tells. */
  override cuttingOff(_size: number, handle: number | undefined): void {
    if (!this.isRemoved && handle === undefined) this.#database.assertNotCutOff(this.name)
  }

  override released(handle: number): void {
    super.released(handle)
    this.#database.clients.gone()
  }

  override truncate(size: number): void {
    if (this.isRemoved) return super.truncate(size)
    if (this.#database.capture === undefined && size === this.file.size()) return
    this.noting(() => this.#captureFor(0).truncateDatabase(size))
  }

  override allocate(offset: number, size: number, isGrowing: boolean): void {
    if (this.isRemoved) return super.allocate(offset, size, isGrowing)
    if (!this.#captureFor(0).reserveDatabase(offset, size, isGrowing))
      throw FuseError.of(Errno.EOPNOTSUPP)
  }

  /** Nothing to do: committed pages are durable in the log, and all others must be forgotten. */
  override sync(): void {}

  /** A writer has SHARED already: nothing from the primary can be applied while it waits. */
  override locking(range: LockRange, owner: LockOwner): Deferred | undefined {
    return includes(range, RESERVED_BYTE) ? this.#database.locking(owner, false) : undefined
  }

  override unlocked(range: LockRange, owner: LockOwner): void {
    if (includes(range, RESERVED_BYTE)) this.#database.unlocked(owner)
  }

  /** Drops the database, on the primary. Its log stays, and its history goes on when the name is used again. */
  override removing(): void {
    if (!this.#database.role.isPrimary) throw FuseError.of(Errno.EACCES)
    this.#captureFor(0).databaseRemoving(() => super.removing())
  }

  #readFile(offset: number, size: number, into: Region): number {
    if (this.#database.isTorn && !this.isRemoved) throw FuseError.of(Errno.EIO)
    const n = super.read(offset, size, into)
    const { disguise } = this.#database
    if (disguise !== 0) disguiseHeader(into.bytes.subarray(0, n), offset, disguise)
    return n
  }

  /** The capture, for a thread that changes the file, 0 if unknown. */
  #captureFor(thread: number) {
    const { capture } = this.#database
    if (capture !== undefined) return capture
    this.#database.complainAboutWrite(thread)
    throw FuseError.of(Errno.EROFS)
  }
}
