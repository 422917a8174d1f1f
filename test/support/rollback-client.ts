/** SQLite's calls in a rollback-journal transaction (pager.c), made to a Capture as the mount makes them. */
import { Capture } from "../../src/capture/capture.ts"
import { JOURNAL_HEADER_SIZE, JOURNAL_MAGIC } from "../../src/sqlite/journal.ts"
import { CapturedDatabase, regionOf } from "./captured-database.ts"
import { SqliteFiles } from "./sqlite-files.ts"

export type JournalEnd = "DELETE" | "TRUNCATE" | "PERSIST"

const SECTOR_SIZE = 512

export class RollbackClient implements Disposable {
  readonly db: CapturedDatabase
  readonly capture: Capture
  /** Positions that were published, and "rewrite" for a change that the kernel has to hear of. */
  readonly events: string[] = []

  constructor(content?: Uint8Array) {
    this.db = new CapturedDatabase(content)
    this.capture = makeCapture(this.db, this.events)
  }

  /** The journal's header as it is before the sync, and the magic number that follows it. */
  begin(pageSize: number, pageCount = 0): void {
    const header = new Uint8Array(SECTOR_SIZE)
    const view = new DataView(header.buffer)
    view.setUint32(12, 0x1234)
    view.setUint32(16, pageCount)
    view.setUint32(20, SECTOR_SIZE)
    view.setUint32(24, pageSize)
    this.db.journal.create()
    this.writeJournal(0, header)
    this.writeJournal(SECTOR_SIZE, new Uint8Array(100).fill(0x77)) // what is saved does not matter here
    this.syncJournal()
  }

  /** syncJournal(): the magic number and the count of records. */
  syncJournal(): void {
    const head = new Uint8Array(12)
    head.set(JOURNAL_MAGIC)
    this.writeJournal(0, head)
  }

  writeJournal(offset: number, bytes: Uint8Array): void {
    this.capture.journalWriting(offset, bytes.length, regionOf(bytes).bytes)
    this.db.journal.write(regionOf(bytes).address, bytes.length, offset)
    this.capture.journalWritten(offset, bytes.length, regionOf(bytes).bytes)
  }

  write(offset: number, bytes: Uint8Array): void {
    this.capture.writeDatabase(offset, bytes.length, regionOf(bytes))
  }

  /** Writes the pages in which the images differ, and the size of the second. */
  writeChanges(before: Uint8Array, after: Uint8Array, pageSize: number): void {
    for (let at = 0; at < after.length; at += pageSize) {
      const page = after.subarray(at, at + pageSize)
      if (Buffer.compare(page, before.subarray(at, at + pageSize)) !== 0) this.write(at, page)
    }
    if (after.length < before.length) this.capture.truncateDatabase(after.length)
  }

  end(how: JournalEnd): void {
    switch (how) {
      case "DELETE":
        this.capture.journalEnding()
        this.db.journal.remove().close()
        return
      case "TRUNCATE":
        this.capture.journalEnding()
        this.db.journal.truncate(0)
        return
      case "PERSIST":
        this.writeJournal(0, new Uint8Array(JOURNAL_HEADER_SIZE))
        return
    }
  }

  /** A whole transaction. */
  commit(
    before: Uint8Array,
    after: Uint8Array,
    pageSize: number,
    how: JournalEnd = "DELETE",
  ): void {
    this.begin(pageSize, before.length / pageSize)
    this.writeChanges(before, after, pageSize)
    this.end(how)
  }

  /** The database as a client reads it. */
  read(): Uint8Array {
    const size = this.capture.databaseSize()
    const region = regionOf(new Uint8Array(size))
    const n = this.capture.readDatabase(0, size, region)
    return region.bytes.slice(0, n)
  }

  [Symbol.dispose](): void {
    this.db[Symbol.dispose]()
  }
}

export function makeCapture(db: CapturedDatabase, events: string[] = []): Capture {
  return new Capture({
    history: db.history,
    database: db.database,
    journal: db.journal,
    wal: db.wal,
    undo: db.undo,
    log: db.log.logger,
    refused: (message) => db.log.logger.warn(message),
    thread: () => 0,
    mayEnd: () => true,
    onCommit: () => events.push(`commit ${db.txid}`),
    onRewrite: () => events.push("rewrite"),
  })
}

/** The database after each of the statements, made by SQLite. */
export function imagesAfter(pragmas: readonly string[], ...statements: string[]): Uint8Array[] {
  using files = new SqliteFiles(...pragmas)
  return statements.map((sql) => {
    files.run(sql)
    return files.read()
  })
}
