import type { Deferred } from "../../fuse/deferred.ts"
import type { LockOwner } from "../../fuse/filesystem.ts"
import { includes, type LockRange } from "../../fuse/lock-range.ts"
import { WAL_WRITE_LOCK } from "../../sqlite/lock-bytes.ts"
import { Column } from "../../store/counters.ts"
import type { Region } from "../../sys/memory.ts"
import type { Bypass } from "../bypass.ts"
import type { MountedDatabase } from "../databases/mounted-database.ts"
import { PassedEntry } from "./passed-entry.ts"

/** `<db>-shm`: the wal-index, which clients map into memory. It is rebuilt after a crash, so it is never synced. */
export class ShmEntry extends PassedEntry {
  constructor(nodeId: number, name: string, database: MountedDatabase) {
    super(nodeId, name, database, database.shm)
    database.index = this
  }

  protected override get other(): PassedEntry | undefined {
    return this.database.log
  }

  protected override openBacking(bypass: Bypass): number {
    return bypass.open(this.file)
  }

  override write(offset: number, size: number, from: Region, thread: number): void {
    this.database.countWrite(Column.SHM_WRITES)
    super.write(offset, size, from, thread)
  }

  override cuttingOff(size: number, handle: number | undefined, thread: number): void {
    if (this.isRemoved || size >= this.file.size()) return
    if (handle === undefined || !this.database.clients.has(thread)) {
      this.database.assertNotCutOff(this.name)
    }
  }

  override sync(): void {}

  /** A writer that waits here does not block an apply: readers keep their snapshots. */
  override locking(range: LockRange, owner: LockOwner): Deferred | undefined {
    return includes(range, WAL_WRITE_LOCK) ? this.database.locking(owner, true) : undefined
  }

  override unlocked(range: LockRange, owner: LockOwner): void {
    if (includes(range, WAL_WRITE_LOCK)) this.database.unlocked(owner)
  }

  /**
   * The kernel keeps the locks of a killed process until its FLUSH is answered. A transaction that it has committed but
   * not published is published first. Otherwise the next writer would not know of it.
   */
  override flush(thread: number): Deferred | undefined {
    return this.database.publishBeforeFlush(thread)
  }
}
