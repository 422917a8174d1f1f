import { FuseError } from "../../fuse/fuse-error.ts"
import { writerOfWal } from "../../sqlite/first-writes.ts"
import type { BackedFile } from "../../store/backed-file.ts"
import { Column } from "../../store/counters.ts"
import { Errno } from "../../sys/errno.ts"
import type { Region } from "../../sys/memory.ts"
import type { Bypass } from "../bypass.ts"
import type { MountedDatabase } from "../databases/mounted-database.ts"
import { PassedEntry } from "./passed-entry.ts"

/**
 * `<db>-wal`: the write-ahead log. On a replica the peer thread writes it; clients may only make and remove it. A
 * removed WAL, or one of a removed database, takes no more writes: only the WAL that has the name is captured.
 * A commit is the write of its last frame. Its way:
 *
 *   fuse/session.ts ─▶ server.ts ─▶ operations.ts ─▶ mount/names/directory.ts ─▶ write() here
 *     ─▶ capture/capture.ts walWritten() ─▶ wal-tracker.ts: a transaction has ended ─▶ history.ts: sums, LTX
 *     ─▶ store/log/gated-log.ts ─▶ commit-log.ts: durable ─▶ mount/databases/mounted-database.ts ─▶ store/positions.ts
 *   the client is answered, and after that:
 *     mount/thread.ts storeCommits(): the LTX file has its name ─▶ main thread: node/storage/databases.ts
 *     ─▶ http/streams/replica-stream.ts ─▶ database-sender.ts ─▶ the replicas (peer/receive/incoming-files.ts)
 */
export class WalEntry extends PassedEntry {
  constructor(nodeId: number, name: string, database: MountedDatabase, file: BackedFile) {
    super(nodeId, name, database, file)
    database.log = this
  }

  protected override get other(): PassedEntry | undefined {
    return this.database.index
  }

  protected override openBacking(bypass: Bypass): number {
    return bypass.open(this.file, this.database)
  }

  /** SQLite then opens it to read, and says "attempt to write a readonly database". */
  override checkWritable(thread: number): void {
    if (this.isKept) throw FuseError.of(Errno.EACCES)
    super.checkWritable(thread)
  }

  override checkStored(): void {
    if (!this.isRemoved) this.noting(() => this.database.refuseStores(this.name))
  }

  override checkWriter(handle: number): void {
    if (this.database.capture === undefined) return
    if (this.isRemoved) throw FuseError.of(Errno.EIO)
    this.database.assertUndropped(handle)
  }

  override write(offset: number, size: number, from: Region, thread: number): void {
    this.database.countWrite(Column.WAL_WRITES)
    const { capture } = this.database
    if (capture === undefined) {
      if (this.database.isPeer(thread)) return super.write(offset, size, from, thread)
      this.database.complainAboutWrite(thread)
      this.refused()
      throw FuseError.of(Errno.EROFS)
    }
    const writer = writerOfWal(offset, from.bytes.subarray(0, size))
    this.noting(() => this.database.assertSqlite(writer, this.name))
    this.database.assertKnown()
    capture.walWriting(offset, size, from.bytes)
    super.write(offset, size, from, thread)
    const isRepeat = capture.walWritten(offset, size, thread)
    if (isRepeat) this.database.walRepeated()
  }

  override cuttingOff(size: number, handle: number | undefined, thread: number): void {
    if (this.isRemoved || size >= this.file.size()) return
    if (handle === undefined || !this.database.clients.has(thread)) {
      this.database.assertNotCutOff(this.name)
    }
  }

  override truncate(size: number): void {
    const { capture } = this.database
    if (this.isRemoved) return super.truncate(size)
    if (capture !== undefined) return capture.walTruncating(size, () => super.truncate(size))
    // The daemon's own frames are in it. A client that follows SQLite's protocol does not truncate it.
    if (size !== this.file.size()) throw FuseError.of(Errno.EROFS)
  }

  /**
   * Every commit in it is durable in the commit log or in an LTX file: since its WRITE, or, when clients write past the
   * daemon, from here on. Such a client hears here that nobody has its database any more.
   */
  override sync(thread: number, handle: number): void {
    if (this.isKept && !this.database.isPeer(thread)) throw FuseError.of(Errno.EROFS)
    if (!this.isPassed) return
    this.checkWriter(handle)
    this.database.capture?.walSyncing(thread)
  }

  override flush(): undefined {
    if (this.isPassed) this.database.capture?.follow()
  }

  override released(handle: number): void {
    if (this.isPassed) this.database.capture?.follow()
    super.released(handle)
  }

  override removing(): void {
    this.checkRemover()
    const { capture, isClosedBySqlite, isLeaving } = this.database
    if (isLeaving && !this.isRemoved) throw FuseError.of(Errno.EBUSY) // SQLite leaves it then, as after a kill
    if (capture === undefined) super.removing()
    else capture.walTruncating(0, () => super.removing(), isClosedBySqlite)
  }
}
