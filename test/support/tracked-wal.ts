/** A WalTracker over real files, and what SQLite would make of those files at any moment. */
import { WalTracker } from "../../src/capture/wal-tracker.ts"
import { WalReader } from "../../src/sqlite/wal-reader.ts"
import { bytesSource } from "./bytes-source.ts"
import { CapturedDatabase, regionOf } from "./captured-database.ts"
import { committedFrames, type FileWrite } from "./wal-writes.ts"

export class TrackedWal implements Disposable {
  readonly db: CapturedDatabase
  tracker: WalTracker
  readonly events: string[] = []
  readonly pageSize: number

  /** `content` is that of the database file. It is the first transaction, unless it has no log. */
  constructor(content: Uint8Array, pageSize: number, isLogged = true) {
    this.pageSize = pageSize
    this.db = new CapturedDatabase(content)
    if (isLogged) this.db.captureAll(pageSize)
    this.db.wal.create()
    this.tracker = this.#track()
  }

  #track(): WalTracker {
    return new WalTracker(this.db.history, this.db.wal, this.db.database, this.db.log.logger, {
      pageGoing: (pgno) => this.events.push(`page ${pgno} going`),
      allGoing: () => this.events.push("all going"),
      databaseRewritten: () => this.events.push("database rewritten"),
      refused: (message) => this.db.log.logger.warn(message),
    })
  }

  /** Another thread has gone on with the frames, and gives them back. Clients know of so many. */
  changeHands(published?: number): void {
    const handover = this.tracker.handOver()
    this.tracker = this.#track()
    if (handover === undefined) return
    this.tracker.adopt({ ...handover, published: published ?? handover.published })
  }

  get txid(): number {
    return this.db.txid
  }

  /** A WRITE of a client, as the mount handles it. True when it completed a transaction. */
  put({ offset, bytes }: FileWrite): boolean {
    const region = regionOf(bytes)
    this.tracker.writing(offset, bytes.length, region.bytes)
    this.db.wal.write(regionOf(bytes).address, bytes.length, offset)
    return this.tracker.written(offset, bytes.length)
  }

  /** How many of the writes completed a transaction. */
  putAll(writes: Iterable<FileWrite>): number {
    let count = 0
    for (const write of writes) if (this.put(write)) count += 1
    return count
  }

  truncate(size: number, isSqlite = true): void {
    this.tracker.truncating(size, () => {}, isSqlite)
    this.db.wal.truncate(size)
  }

  /** A checkpoint's WRITE to the database file. */
  putPage(pgno: number, data: Uint8Array): void {
    const offset = (pgno - 1) * this.pageSize
    const region = regionOf(data)
    this.db.database.write(region.address, data.length, offset)
    this.tracker.pages.checkpointed(offset, data.length, region.bytes)
  }

  /** The database as a recovery by SQLite would find it: the file, and what the WAL commits. */
  recovered(): Uint8Array {
    const database = this.db.content("database")
    const reader = new WalReader(bytesSource(this.db.content("wal")))
    let pending: [number, Uint8Array][] = []
    const pages = new Map<number, Uint8Array>()
    while (reader.next()) {
      pending.push([reader.pgno, reader.page.slice()])
      if (reader.commit === 0) continue
      for (const [pgno, page] of pending) pages.set(pgno, page)
      pending = []
    }
    const commit = reader.lastCommit?.commit ?? database.length / this.pageSize
    const image = new Uint8Array(commit * this.pageSize)
    image.set(database.subarray(0, image.length))
    for (const [pgno, page] of pages) {
      if (pgno <= commit) image.set(page, (pgno - 1) * this.pageSize)
    }
    return image
  }

  /** Throws unless the history says the same as the files. */
  check(): void {
    const committed = committedFrames(this.db.content("wal"))
    if (this.tracker.captured !== committed) {
      throw new Error(`${this.tracker.captured} frames are captured, ${committed} are committed`)
    }
    if (Buffer.compare(this.db.replay(), this.recovered()) !== 0) {
      throw new Error("The LTX files and the WAL do not agree")
    }
  }

  [Symbol.dispose](): void {
    this.db[Symbol.dispose]()
  }
}
