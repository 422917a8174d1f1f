import { FuseError } from "../../fuse/fuse-error.ts"
import type { BackedFile } from "../../store/backed-file.ts"
import { Errno } from "../../sys/errno.ts"
import type { Bypass } from "../bypass.ts"
import type { MountedDatabase } from "../databases/mounted-database.ts"
import { UsedEntry } from "./used-entry.ts"

/**
 * A file beside a database that clients may read, write and map past the daemon (mount/bypass.ts). Whoever opens it first
 * decides how everybody has it open until nobody has. These pass:
 *
 *   SQLite          whoever else writes to the file does so through the daemon, which refuses it, or not at all
 *   clients that    are found by the next daemon, which has to keep them from writing when this one was killed
 *                   (sys/process/stale-handles.ts)
 *   clients that    share the database. One in locking_mode=EXCLUSIVE could not be kept from writing: it takes no lock
 *                   for that
 */
export abstract class PassedEntry extends UsedEntry {
  protected readonly database: MountedDatabase
  #backingId = 0

  constructor(nodeId: number, name: string, database: MountedDatabase, file: BackedFile) {
    super(nodeId, name, file)
    this.database = database
  }

  /** The other one of the WAL and its wal-index: clients have both past the daemon, or none. */
  protected abstract readonly other: PassedEntry | undefined
  protected abstract openBacking(bypass: Bypass): number

  /** Clients have it open past the daemon. */
  get isPassed(): boolean {
    return this.#backingId > 0
  }

  override get backingId(): number {
    return this.#backingId
  }

  override opened(thread: number, isToWrite: boolean): void {
    const { database, other } = this
    if (!database.mayBePassed) return super.opened(thread, isToWrite)
    const isSeen = database.isPeer(thread) || database.clients.areSeenToHave(thread)
    if (!isSeen && isToWrite && database.clients.has(thread)) database.hasUnseen = true
    if (this.isPassed) {
      if (isToWrite && !isSeen) this.#refuse(thread)
      return super.opened(thread, isToWrite)
    }
    const { bypass } = database
    const isFirst = !this.hasUsers
    super.opened(thread, isToWrite)
    if (bypass === undefined || !isFirst || !isSeen || database.hasUnseen) return
    if (other?.hasUsers === true ? !other.isPassed : database.isHeldAlone) return
    this.#backingId = this.openBacking(bypass)
  }

  /** It cannot be open in two ways at a time. From the next one that opens it first, nobody passes. */
  #refuse(thread: number): never {
    const { database, name } = this
    if (!database.clients.has(thread)) return database.refuseForeign(name)
    database.sayUnseen(name)
    throw FuseError.of(Errno.EACCES)
  }

  override released(): void {
    super.released()
    if (this.hasUsers || !this.isPassed) return
    this.database.endPassing(this.#backingId)
    this.#backingId = 0
  }
}
