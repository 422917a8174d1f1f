import type { Deferred } from "../../fuse/deferred.ts"
import type { LockOwner } from "../../fuse/filesystem.ts"
import { includes, type LockRange } from "../../fuse/lock-range.ts"
import { WAL_WRITE_LOCK } from "../../sqlite/lock-bytes.ts"
import { Column } from "../../store/counters.ts"
import type { Region } from "../../sys/memory.ts"
import type { Bypass } from "../bypass.ts"
import type { MountedDatabase } from "../databases/mounted-database.ts"
import { PassedEntry } from "./passed-entry.ts"

/** Of a disk that fails, so much is kept in memory. It is the index of 2 million frames. */
const KEPT_SIZE_MAX = 16 * 1024 * 1024
const BLOCK_SIZE = 4096

/**
 * `<db>-shm`: the wal-index, which clients map into memory. It is rebuilt after a crash, so it is never synced.
 *
 * What clients store in the mapping comes here late, and they do not hear of an error. The kernel reads a page anew that
 * it could not write back, and the index would count fewer frames than were committed. Bytes that the disk refuses
 * therefore stay in memory.
 */
export class ShmEntry extends PassedEntry {
  /** By their place in the file, what the disk has refused. */
  readonly #kept = new Map<number, Uint8Array>()

  constructor(nodeId: number, name: string, database: MountedDatabase) {
    super(nodeId, name, database, database.shm)
    database.index = this
  }

  protected override get other(): PassedEntry | undefined {
    return this.database.log
  }

  /** Who passes reads what is on the disk. */
  protected override openBacking(bypass: Bypass): number {
    try {
      for (const [start, block] of this.#kept) {
        this.file.writeBytes(block.subarray(0, this.file.size() - start), start)
      }
    } catch {
      return 0 // the disk still refuses it: nobody passes
    }
    this.#kept.clear()
    return bypass.open(this.file)
  }

  override write(offset: number, size: number, from: Region, thread: number): void {
    this.database.countWrite(Column.SHM_WRITES)
    try {
      super.write(offset, size, from, thread)
    } catch (error) {
      this.#keep(error, offset, size)
    }
    this.#eachKept(offset, size, (kept, at) => kept.set(from.bytes.subarray(at, at + kept.length)))
  }

  /** Throws the error of the disk when the file would grow by the write: the client hears of it. */
  #keep(error: unknown, offset: number, size: number): void {
    const { file } = this
    const end = offset + size
    if (end > file.size()) throw error
    for (let start = offset - (offset % BLOCK_SIZE); start < end; start += BLOCK_SIZE) {
      if (this.#kept.has(start)) continue
      if (this.#kept.size * BLOCK_SIZE >= KEPT_SIZE_MAX) throw error
      const block = new Uint8Array(BLOCK_SIZE)
      file.readAt(start, block)
      this.#kept.set(start, block)
    }
  }

  override read(offset: number, size: number, into: Region): number {
    const n = super.read(offset, size, into)
    this.#eachKept(offset, n, (kept, at) => into.bytes.set(kept, at))
    return n
  }

  /** Parts of these bytes that are in memory, with their places in them. */
  #eachKept(offset: number, size: number, on: (kept: Uint8Array, at: number) => void): void {
    for (const [start, block] of this.#kept) {
      const first = Math.max(start, offset)
      const end = Math.min(start + BLOCK_SIZE, offset + size)
      if (first < end) on(block.subarray(first - start, end - start), first - offset)
    }
  }

  override truncate(size: number): void {
    super.truncate(size)
    for (const [start, kept] of this.#kept) {
      if (start >= size) this.#kept.delete(start)
      else kept.fill(0, Math.max(0, Math.min(BLOCK_SIZE, size - start)))
    }
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
