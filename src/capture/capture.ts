/**
 * What clients of the mount do to one database on the primary, turned into transactions.
 *
 * Every method is called by the fs thread around the system call it is named after, and throws when the
 * client's request is to fail. A commit is captured at the request that can still be refused:
 *
 *   WAL               the WRITE that completes a commit frame     walWritten()
 *   DELETE            UNLINK of the journal                       journalEnding()
 *   TRUNCATE          SETATTR size 0 of the journal               journalEnding()
 *   PERSIST           WRITE of a zeroed journal header            journalWriting()
 *
 * When the method returns, the transaction is durable in the LTX directory.
 */
import { LitefsError } from "../lib/errors.ts"
import type { Logger } from "../lib/log.ts"
import type { Txid } from "../ltx/pos.ts"
import { type DatabaseHeader, decodeDatabaseHeader, isWalMode } from "../sqlite/database-header.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { allocate, type Region } from "../sys/memory.ts"
import { processOfThread } from "../sys/process.ts"
import { FrozenView } from "./frozen-view.ts"
import type { History } from "./history.ts"
import { JournalTracker } from "./journal-tracker.ts"
import { type LastTransaction, WalTracker } from "./wal-tracker.ts"

const HEADER_SIZE = 100
const header = allocate(4096)

export interface CaptureOptions {
  readonly history: History
  readonly database: BackedFile
  readonly wal: BackedFile
  readonly log: Logger
  onCommit(): void // the position has advanced
  onRewrite(): void // the database file has changed, and the kernel does not know
}

export class Capture {
  readonly history: History
  readonly #database: BackedFile
  readonly #log: Logger
  readonly #onCommit: () => void
  readonly #walFile: BackedFile
  readonly #views = new Set<FrozenView>()
  readonly #whenClean: (() => void)[] = []
  readonly #journal = new JournalTracker()
  readonly #wal: WalTracker
  #isWalMode: boolean
  #unpublishedBy = 0 // the thread that wrote the newest transaction of the WAL, if that must be looked at
  #hasComplained = false

  constructor(options: CaptureOptions) {
    this.history = options.history
    this.#database = options.database
    this.#log = options.log
    this.#onCommit = options.onCommit
    this.#walFile = options.wal
    this.#wal = new WalTracker(options.history, options.wal, options.database, options.log, {
      pageGoing: (pgno) => {
        for (const view of this.#views) view.save(pgno)
      },
      allGoing: () => {
        for (const view of this.#views) view.loseWal()
      },
      databaseRewritten: () => options.onRewrite(),
    })
    const found = this.#readHeader()
    this.#isWalMode = found !== undefined && isWalMode(found)
  }

  /**
   * Calls back with the database as of the last transaction, kept as it is until thaw(): at once, or when the
   * open rollback transaction, which has overwritten pages already, has ended.
   */
  freeze(sidePath: string, onFrozen: (view: FrozenView) => void): void {
    const freeze = () => {
      const { history } = this
      const view = new FrozenView(
        history,
        this.#wal.frames,
        this.#database,
        this.#walFile,
        sidePath,
      )
      this.#views.add(view)
      onFrozen(view)
    }
    if (this.#journal.isDirty) this.#whenClean.push(freeze)
    else freeze()
  }

  /** The last transaction of which everything is in the database file, though perhaps not on the disk. */
  get writtenTxid(): Txid {
    return this.#wal.writtenTxid
  }

  /**
   * After the last client has gone: puts what is only in the WAL into the database file, durably. False when a
   * rollback transaction is unfinished; its journal then says what to do at the next start.
   */
  settle(): boolean {
    if (this.#journal.isDirty) return false
    if (this.history.commit === 0) return true
    this.#wal.checkpoint()
    this.#database.truncate(this.history.commit * this.history.pageSize)
    this.#database.sync()
    return true
  }

  thaw(view: FrozenView): void {
    this.#views.delete(view)
    view.close()
  }

  databaseWriting(offset: number, size: number): void {
    if (this.#journal.isActive) {
      this.#journal.databaseWritten(offset, size, this.history.pageSize)
    } else if (!this.#isWalMode) {
      this.#refuse("a write without a rollback journal")
    }
    for (const view of this.#views) view.saveRange(offset, size)
  }

  databaseWritten(offset: number, size: number, bytes: Uint8Array): void {
    // In WAL mode, without a journal, this is a checkpoint: the page is in a captured transaction.
    if (!this.#journal.isActive) this.#wal.checkpointed(offset, size, bytes)
  }

  databaseTruncating(size: number): void {
    // In a rollback transaction page 1 tells the new size at the commit. Only after it, when the journal has
    // ended, SQLite cuts the file to that size (pager.c: pager_end_transaction).
    const { commit, pageSize } = this.history
    if (!this.#journal.isActive) {
      const isCheckpoint = this.#isWalMode && size > 0 && size % pageSize === 0
      const isCommitted = size > 0 && size === commit * pageSize
      if (!isCheckpoint && !isCommitted && size !== this.#database.size()) {
        this.#refuse(`a change of size to ${size} bytes without a rollback journal`)
      }
    }
    for (const view of this.#views) view.saveRange(size, Number.MAX_SAFE_INTEGER - size)
  }

  /** The file was removed: the database is dropped, and its name is free for another. */
  databaseRemoving(): void {
    if (this.history.appendDrop()) this.#onCommit()
    this.#isWalMode = false
    this.#views.clear() // their reader has the file open, and nobody writes to it any more
    this.#endJournal()
    this.#wal.discard()
  }

  journalWriting(offset: number, size: number, bytes: Uint8Array): void {
    if (this.#journal.isEnd(offset, size, bytes)) this.journalEnding()
  }

  journalWritten(offset: number, size: number, bytes: Uint8Array): void {
    this.#journal.journalWritten(offset, size, bytes)
  }

  /** The journal is about to be removed, emptied or invalidated, which is what commits. */
  journalEnding(): void {
    if (this.#journal.isDirty) this.#captureDatabase()
    this.#endJournal()
  }

  #endJournal(): void {
    this.#journal.ended()
    for (const act of this.#whenClean.splice(0)) act()
  }

  walWriting(offset: number, size: number, bytes: Uint8Array): void {
    const before = this.history.pos.txid
    this.#wal.writing(offset, size, bytes)
    if (this.history.pos.txid !== before) this.#onCommit()
  }

  /** `thread` is the kernel's id of the thread that wrote, 0 if unknown. */
  walWritten(offset: number, size: number, thread: number): void {
    if (!this.#wal.written(offset, size)) return
    this.#unpublishedBy = thread
    this.#onCommit()
  }

  /**
   * A descriptor of the wal-index is closed by a thread. When its process wrote the newest transaction it may
   * have died before it published it: returns what has to be checked, once.
   *
   * A writer that lives publishes by itself. Its process is told by the thread that wrote: that thread is
   * gone, or belongs to the process that closes the file now.
   */
  takeUnpublished(thread: number): LastTransaction | undefined {
    const writer = this.#unpublishedBy
    if (writer === 0 || thread === 0) return undefined
    const process = processOfThread(writer)
    if (process !== undefined && process !== processOfThread(thread)) return undefined
    this.#unpublishedBy = 0
    return this.#wal.lastTransaction()
  }

  walTruncating(size: number): void {
    const before = this.history.pos.txid
    this.#wal.truncating(size)
    if (this.history.pos.txid !== before) this.#onCommit()
  }

  #captureDatabase(): void {
    const found = this.#readHeader()
    const size = this.#database.size()
    if (found === undefined) {
      if (size === 0 && this.history.commit === 0) return // the database's creation was rolled back
      throw new LitefsError(
        "damaged",
        `Cannot commit to database "${this.history.name}": its file has no SQLite header`,
      )
    }
    const isSizeInHeader = found.pageCount > 0 && found.changeCounter === found.versionValidFor
    const { pageSize } = found
    const isNew = this.history.append({
      pageSize,
      commit: isSizeInHeader ? found.pageCount : Math.ceil(size / pageSize),
      pgnos:
        pageSize === this.history.pageSize
          ? this.#journal.dirtyPages() // of another page size every page is new
          : [],
      readPage: (pgno: number, into: Region) =>
        this.#database.readPadded(into, pageSize, (pgno - 1) * pageSize),
    })
    this.#isWalMode = isWalMode(found)
    if (isNew) this.#onCommit()
  }

  #readHeader(): DatabaseHeader | undefined {
    if (!this.#database.open()) return undefined
    const n = this.#database.read(header.address, HEADER_SIZE, 0)
    return n < HEADER_SIZE ? undefined : decodeDatabaseHeader(header.bytes.subarray(0, n))
  }

  #refuse(what: string): never {
    const message = `Cannot write database "${this.history.name}": ${what} cannot be captured, use journal_mode DELETE, TRUNCATE, PERSIST or WAL (to put a file in, use sqlite3 .restore or VACUUM INTO)`
    if (!this.#hasComplained) this.#log.error(message)
    this.#hasComplained = true
    throw new LitefsError("unsupported", message)
  }
}
