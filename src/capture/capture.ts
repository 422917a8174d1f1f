/**
 * What clients of the mount do to one database on the primary, turned into transactions.
 *
 * The fs thread calls every method around the system call it is named after. A method throws when the client's request
 * must fail. A commit is captured at the request that can still be refused:
 *
 *   WAL               the WRITE that completes a commit frame     walWritten()
 *   DELETE            UNLINK of the journal                       journalEnding()
 *   TRUNCATE          SETATTR size 0 of the journal               journalEnding()
 *   PERSIST           WRITE of a zeroed journal header            journalWriting()
 *
 * When the method returns, the transaction is durable: in the commit log, or in its LTX file where the log does not
 * take it (store/log/commit-log.ts). It is one file: what a request may do depends on journal, WAL, overlay and
 * snapshots together, each of which has a file of its own.
 */
import { isZero } from "../lib/bytes.ts"
import { LitefsError } from "../lib/errors.ts"
import type { Logger } from "../lib/log.ts"
import { lockPgno } from "../ltx/checksum.ts"
import type { Txid } from "../ltx/pos.ts"
import {
  type DatabaseHeader,
  decodeDatabaseHeader,
  isWalMode,
  startsLikeDatabase,
  trustedPageCount,
} from "../sqlite/database-header.ts"
import { disguiseHeader } from "../sqlite/header-disguise.ts"
import {
  type JournalPlace,
  readJournal,
  readJournalHeader,
  startOfJournal,
} from "../sqlite/journal.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { UndoFile } from "../store/undo-file.ts"
import { allocate, type Region } from "../sys/memory.ts"
import { processOfThread } from "../sys/process/process.ts"
import { checkClaim } from "./claim.ts"
import type { FrozenView } from "./frozen-view.ts"
import { FrozenViews } from "./frozen-views.ts"
import { type DatabaseHandover, sharedState } from "./handover.ts"
import type { History } from "./history.ts"
import { JournalTracker } from "./journal-tracker.ts"
import { Overlay } from "./overlay.ts"
import type { Replacement } from "./replacement.ts"
import {
  CANNOT_INVALIDATE,
  type LastTransaction,
  type Published,
  WalTracker,
} from "./wal-tracker.ts"

const HEADER_SIZE = 100
const REPLACE_TRIES = 3
const header = allocate(4096)
const page = allocate(65536)

export interface CaptureOptions {
  readonly history: History
  readonly database: BackedFile
  readonly journal: BackedFile
  readonly wal: BackedFile
  /** For old pages that the journal does not have (store/undo-file.ts). Nobody else writes to it. */
  readonly undo: BackedFile
  readonly log: Logger
  /** Clients that write to the WAL past the daemon. */
  readonly past?: WritersPast
  /** A client's request is about to fail: what is to be said of that. */
  refused(message: string): void
  /** The thread whose request is being done, by the kernel's id of it, 0 if unknown. */
  thread(): number
  /** Whether a thread may go on with the transaction that another one has written to last, and end it. */
  mayEnd(thread: number, writer: number): boolean
  onCommit(): void // the position has advanced
  onRewrite(): void // the database file has changed, and the kernel does not know
}

/** Clients that write to the WAL past the daemon, which captures behind them what they have published. */
export interface WritersPast {
  readonly areThere: boolean
  /** Undefined: there is no wal-index that tells. Another word: one that changes just now. */
  published(): Published | "changing" | undefined
  /** Whether the thread's process holds WRITE. */
  isWriter(thread: number): boolean
}

export class Capture {
  readonly history: History
  readonly #database: BackedFile
  readonly #log: Logger
  readonly #onCommit: () => void
  readonly #onRewrite: () => void
  #isBehind = false // what clients have committed past the daemon could not be captured
  readonly #journalFile: BackedFile
  readonly #walFile: BackedFile
  readonly #overlay = new Overlay()
  readonly #views = new FrozenViews()
  readonly #whenClean: (() => void)[] = []
  readonly #journal = new JournalTracker()
  readonly #undo: UndoFile
  /** Pages of the database before the open transaction whose old content is durable, in its journal or in #undo. */
  readonly #saved = new Set<number>()
  /** The journal's records up to there are in #saved; undefined: it has older pages than those of the last position. */
  #savedUpTo: JournalPlace | undefined = startOfJournal()
  readonly #wal: WalTracker
  readonly #past: WritersPast | undefined
  #isWalMode: boolean
  #isWritingThrough = false // the open rollback transaction has changed the file
  #isJournalSynced = false
  #failure: LitefsError | undefined
  #isBlank = false // the file was made longer before there is anything in it
  #isTorn = false // the file is neither what it was nor what it is to be
  #isUnfinished = false // the overlay has pages of the last transaction that the file lacks
  #unpublishedBy = 0 // the thread that wrote the newest transaction of the WAL, if that must be looked at
  readonly #refused: (message: string) => void
  readonly #thread: () => number
  readonly #mayEnd: CaptureOptions["mayEnd"]
  /** The thread that has begun the open rollback transaction, or has written last to the file; 0 if unknown. */
  #writer = 0

  constructor(options: CaptureOptions) {
    this.#refused = (message) => options.refused(message)
    this.#thread = () => options.thread()
    this.#mayEnd = (thread, writer) => options.mayEnd(thread, writer)
    this.history = options.history
    this.#database = options.database
    this.#log = options.log
    this.#onCommit = options.onCommit
    this.#onRewrite = options.onRewrite
    this.#journalFile = options.journal
    this.#walFile = options.wal
    this.#undo = new UndoFile(options.undo)
    this.#past = options.past
    this.#wal = new WalTracker(options.history, options.wal, options.database, options.log, {
      pageGoing: (pgno) => this.#views.save(pgno),
      allGoing: () => this.#views.loseWal(),
      databaseRewritten: () => options.onRewrite(),
      refused: this.#refused,
    })
    const found = this.#readHeader()
    this.#isWalMode = found !== undefined && isWalMode(found)
  }

  /**
   * Captures what clients have written to the WAL past the daemon, and published; with `isWhole` what is committed and
   * not published as well. Before everything that asks what the database is, or that a checkpoint does.
   */
  follow(isWhole = false): void {
    if (this.#past?.areThere !== true) return
    const published = isWhole ? undefined : this.#past.published()
    if (published !== "changing") this.#follow(published)
  }

  /** The same for good: the caller holds WRITE. What is not published, its writer did not live to, or was refused. */
  #followLast(): void {
    if (this.#past?.areThere !== true) return
    const published = this.#past.published()
    // Whoever was changing it is dead: the next client recovers it, from all that is whole.
    this.#follow(published === "changing" ? undefined : published)
    this.#wal.endAtCaptured()
  }

  /** Up to so many frames; undefined: all that are whole. */
  #follow(published: Published | undefined): void {
    this.assertUsable()
    if (this.history.commit === 0 && this.#database.size() === 0) return // it was removed, and its clients go on
    this.#isWalMode = true
    this.#isBehind = true
    if (this.#wal.follow(published)) this.#onCommit()
    this.#isBehind = false
  }

  /** The client syncs the WAL: it commits, and publishes that afterwards. */
  walSyncing(thread: number): void {
    const before = this.history.pos.txid
    try {
      this.assertUsable()
      this.follow(true)
    } catch (error) {
      this.#refuseCommit(thread)
      throw error
    }
    if (this.history.pos.txid !== before) this.#unpublishedBy = thread
  }

  #refuseCommit(thread: number): void {
    if (this.#past?.isWriter(thread) !== true) return
    const published = this.#past.published()
    if (published === undefined || published === "changing") return
    try {
      this.#wal.refuse(published)
    } catch (error) {
      this.#log.error(CANNOT_INVALIDATE, { db: this.history.name, error })
    }
  }

  /**
   * Calls back with the database as of the last transaction, which is kept until thaw(): at once, or at the end of an
   * open rollback transaction that has already overwritten pages.
   */
  freeze(sidePath: string, onFrozen: (view: FrozenView) => void, onFailed = () => {}): void {
    const freeze = () => {
      const view = this.#freeze(sidePath)
      if (view === undefined) onFailed()
      else onFrozen(view)
    }
    if (this.#isWritingThrough) this.#whenClean.push(freeze)
    else freeze()
  }

  #freeze(sidePath: string): FrozenView | undefined {
    const { history } = this
    try {
      this.assertUsable()
      this.follow()
      const frames = this.#wal.pages.frames
      const files = { database: this.#database, wal: this.#walFile, walDisguise: 0 }
      return this.#views.freeze(history, frames, files, sidePath)
    } catch (error) {
      this.#log.warn("cannot freeze a database", { db: history.name, error })
      return undefined
    }
  }

  /** Continues where the thread that has applied transactions has ended. undisguise() follows. */
  adopt({ wal, isWalOpen }: DatabaseHandover): void {
    if (wal !== undefined) this.#wal.adopt(wal)
    this.#isWalMode ||= isWalOpen
  }

  /**
   * A transaction makes the counters in the header equal to what the mount has shown: otherwise clients would take the
   * present content for the one they remember. When this throws, nothing has changed, and it can be called again.
   */
  undisguise(disguise: number): void {
    if (disguise === 0 || this.history.commit === 0) return
    const { pageSize, commit } = this.history
    // In the WAL of a replica page 1 is as clients see it.
    const isInWal = this.#wal.pages.frames.newest(1) !== undefined
    this.#wal.pages.readPage(1, page)
    if (decodeDatabaseHeader(page.bytes) === undefined) return // nobody remembers anything of it
    if (!isInWal) disguiseHeader(page.bytes, 0, disguise)
    const content = page.bytes.slice(0, pageSize)
    const readPage = (_: number, into: Region) => into.bytes.set(content)
    const isInFile = !this.#wal.pages.hasUnwritten(1)
    // Nothing may fail once the transaction is there.
    if (isInFile && !this.#overlay.write(0, pageSize, page, pageSize, this.#database.size())) {
      throw new LitefsError(
        "unavailable",
        "Cannot take a database over: too much is held in memory",
      )
    }
    try {
      this.history.append({ pageSize, commit, pgnos: [1], readPage })
    } catch (error) {
      this.#overlay.clear()
      throw error
    }
    this.#onCommit()
    if (isInFile) this.#finish()
  }

  /**
   * Ends capturing, for the thread that continues, which holds WRITE if clients write past the daemon. An unfinished
   * transaction is lost: its pages were held back, or `undo` puts those back that are in the file. When this throws, the
   * capture goes on as if nobody had asked.
   */
  handOver(undo: () => void): DatabaseHandover {
    this.assertUsable()
    this.#followLast()
    const { history } = this
    const wal = this.#wal.handOver()
    const isWalOpen = this.#wal.isOpen
    if (this.#isWritingThrough) undo() // the last that can fail: its journal stays then
    const isUndone = this.#journal.isActive || this.#journal.isDirty
    this.#endJournal()
    this.#views.break()
    const state = sharedState(history)
    return { name: history.name, state, wal, isWalOpen, disguise: 0, isUndone }
  }

  /** The last transaction that is completely in the database file, though perhaps not durably. */
  get writtenTxid(): Txid {
    return this.isTorn ? 0n : this.#wal.pages.writtenTxid
  }

  /** Whether the file lacks something of the last transaction. */
  get isTorn(): boolean {
    return this.#failure !== undefined || this.#isUnfinished
  }

  /**
   * After the last client has gone: moves everything that only the WAL has into the database file, durably. False when
   * a rollback transaction is unfinished; the next start then finds its journal.
   */
  settle(): boolean {
    if (!this.finish()) return false
    if (this.#past?.areThere === true || this.#isBehind) this.#follow(undefined)
    if (this.#journal.isDirty) return false
    if (this.history.commit === 0) return true
    this.#wal.pages.checkpoint()
    this.#database.truncate(this.history.commit * this.history.pageSize)
    this.#database.sync()
    return true
  }

  thaw(view: FrozenView): void {
    this.#views.thaw(view)
  }

  /** Size of the database file as clients see it, bytes. */
  databaseSize(): number {
    return this.#overlay.size ?? this.#database.size()
  }

  readDatabase(offset: number, size: number, into: Region): number {
    if (this.#isTorn) this.assertUsable()
    if (this.#overlay.isEmpty) return this.#database.read(into.address, size, offset)
    const end = Math.min(offset + size, this.databaseSize())
    const wanted = Math.max(0, end - offset)
    this.#readOverlaid(into, wanted, offset)
    return wanted
  }

  /** The file as the open transaction sees it; zeros beyond its end. */
  #readOverlaid(into: Region, size: number, offset: number): void {
    const left = Math.min(size, Math.max(0, this.#overlay.cut - offset))
    this.#database.readPadded(into, left, offset)
    into.bytes.fill(0, left, size)
    this.#overlay.patch(into.bytes, offset, size)
  }

  /**
   * A page of the open rollback transaction, which is held back until the commit. Or a page of a checkpoint: it must
   * already be in a captured transaction, otherwise it is refused.
   */
  writeDatabase(offset: number, size: number, from: Region): void {
    this.assertUsable()
    this.#database.checkSize(offset + size)
    this.follow()
    if (!this.#journal.isActive) {
      let newest: readonly number[] | undefined
      const bytes = from.bytes.subarray(0, size)
      if (this.#isGrowth(offset, bytes)) this.#noteGrowth()
      else if (!this.#isBeyondEnd(offset) || !isZero(bytes)) {
        if (this.#isForeign(offset, bytes)) this.#refuseForeign()
        if (!this.#isWalMode) this.#refuse("a write without a rollback journal")
        newest = this.#wal.pages.copied(offset, size, from.bytes)
        if (newest === undefined) this.#refuse("a write of what is not in its WAL")
      }
      this.#writeFile(from.address, size, offset)
      this.#wal.pages.checkpointed(offset, size, from.bytes, newest)
      return
    }
    this.#isBlank = false
    this.#checkWriter()
    this.#journal.databaseWritten(offset, size, this.history.pageSize)
    if (this.#hold(offset, size, from)) return
    try {
      this.#writeThrough(offset, size)
    } catch (error) {
      if (!this.#mayPass(offset, size)) throw error
    }
    this.#writeFile(from.address, size, offset)
  }

  truncateDatabase(size: number): void {
    this.assertUsable()
    this.#database.checkSize(size)
    this.follow()
    if (this.#journal.isActive) {
      this.#checkWriter()
      this.#journal.databaseCut(size, this.history)
      return this.#overlay.truncate(size)
    }
    if (!this.#mayHaveSize(size)) {
      this.#refuse(`a change of size to ${size} bytes without a rollback journal`)
    } else if (size > this.#database.size()) {
      this.#noteGrowth()
    }
    this.#truncateFile(size)
  }

  /**
   * Outside of a transaction the file may have any end beyond the end of the database. SQLite cuts it only after a
   * commit, when the journal has ended (pager.c: pager_end_transaction), and not always to the size of the database
   * (SQLITE_FCNTL_CHUNK_SIZE). A checkpoint cuts it to the size that its client knows; the WAL then holds everything
   * that goes.
   */
  #mayHaveSize(size: number): boolean {
    if (this.#isBeyondEnd(size) || size >= this.#database.size()) return true
    if (!this.#isWalMode || !this.#wal.pages.holdsFrom(size)) return false
    const least = this.#wal.leastCommit // no checkpoint makes it smaller
    return least !== undefined && size >= least * this.history.pageSize
  }

  /** Whether the write only makes the file longer: that is how SQLite follows SQLITE_FCNTL_SIZE_HINT. */
  #isGrowth(offset: number, bytes: Uint8Array): boolean {
    return isZero(bytes) && offset >= this.#database.size()
  }

  #noteGrowth(): void {
    this.#isBlank ||= this.history.commit === 0 && this.#database.size() === 0
  }

  /** SQLite opens a file of zeros as no database. When the content for it is refused, it becomes empty again. */
  #takeBackGrowth(): void {
    if (!this.#isBlank || this.#journal.isActive) return
    this.#isBlank = false
    this.#truncateFile(0)
    this.#onRewrite()
  }

  /** Whether the existing part of the file, if any, does not belong to the database. */
  #isBeyondEnd(offset: number): boolean {
    const { commit, pageSize } = this.history
    return commit > 0 && offset >= commit * pageSize
  }

  /** Reserves room in the file, and with `isGrowing` makes it that long. False where the disk cannot promise it. */
  reserveDatabase(offset: number, size: number, isGrowing: boolean): boolean {
    this.assertUsable()
    if (!this.#database.claim(offset, size)) return false
    if (isGrowing && offset + size > this.databaseSize()) this.truncateDatabase(offset + size)
    return true
  }

  /** Holds pages back. New parts of the file get their room on the disk now, while the write can be refused. */
  #hold(offset: number, size: number, from: Region): boolean {
    const pageSize = this.history.pageSize || this.#journal.pageSize
    const fileSize = this.#database.size()
    if (offset + size > fileSize && !this.#database.reserve(offset, size)) return false
    return this.#overlay.write(offset, size, from, pageSize, fileSize)
  }

  /**
   * Puts what is held, and makes room for a write of `size` bytes at `offset`, into the file. From here on the
   * transaction is there, and what undoes it must be durable before.
   */
  #writeThrough(offset: number, size: number): void {
    this.#syncJournal()
    this.#saveUnjournaled(offset, size)
    if (!this.#isWritingThrough) this.#database.halfWritten()
    this.#isWritingThrough = true
    this.#writeOverlay()
  }

  #syncJournal(): void {
    if (this.#isJournalSynced) return
    this.#journalFile.sync()
    this.#isJournalSynced = true
    const { pageSize } = this.history
    const source = {
      size: this.#journalFile.size(),
      readAt: (offset: number, target: Uint8Array) => this.#journalFile.readAt(offset, target),
    }
    if (this.#savedUpTo === undefined || readJournalHeader(source)?.pageSize !== pageSize) return
    for (const { pgno } of readJournal(source, this.#savedUpTo)) this.#saved.add(pgno)
  }

  /**
   * SQLite's journal does not have pages that were free (store/undo-file.ts). All that go into the file now are saved at
   * once, because that takes a sync.
   */
  #saveUnjournaled(offset: number, size: number): void {
    const { pageSize, commit } = this.history
    const unsaved = new Set<number>()
    const add = (from: number, to: number) => {
      const last = Math.min(commit, Math.ceil(to / pageSize))
      for (let pgno = Math.floor(from / pageSize) + 1; pgno <= last; pgno++) {
        if (!this.#saved.has(pgno) && pgno !== lockPgno(pageSize)) unsaved.add(pgno)
      }
    }
    if (commit === 0) return
    add(offset, offset + size)
    add(this.#overlay.cut, commit * pageSize)
    for (const [pgno, { bytes }] of this.#overlay.pages()) {
      add((pgno - 1) * bytes.length, pgno * bytes.length)
    }
    if (unsaved.size === 0) return
    this.#undo.save(this.history, unsaved, (pgno, into) => this.#wal.pages.readPage(pgno, into))
    for (const pgno of unsaved) this.#saved.add(pgno)
  }

  /** Whether a write may go into the file past what is held. A rollback must not fail because the disk is full. */
  #mayPass(offset: number, size: number): boolean {
    const { pageSize, commit } = this.history
    const end = offset + size
    if (!this.#isWritingThrough || !this.#isJournalSynced) return false
    if (end > Math.min(this.#overlay.cut, commit * pageSize)) return false
    for (let pgno = Math.floor(offset / pageSize) + 1; pgno <= Math.ceil(end / pageSize); pgno++) {
      if (!this.#saved.has(pgno) || this.#overlay.page(pgno) !== undefined) return false
    }
    return true
  }

  /** No page is saved for the transaction any more. `place`: what its journal has from there on still counts. */
  #forgetSaved(place?: JournalPlace): void {
    this.#undo.end()
    this.#saved.clear()
    this.#savedUpTo = place
  }

  /**
   * Before a transaction that was written through is captured: its pages that have their old content again are in no LTX
   * file, so they are in the file, durably. What the file does not have yet needs nothing that undoes it: that follows
   * when it is captured.
   */
  #writeBack(): void {
    const { pageSize, commit } = this.history
    const { size, cut } = this.#overlay
    const isSimple = cut >= commit * pageSize && this.#overlay.pageSize === pageSize
    if (size !== undefined && !isSimple) this.#writeThrough(0, 0)
    else if (size !== undefined) {
      for (const [pgno, page] of this.#overlay.pages()) {
        if (this.#saved.has(pgno)) this.#writeFile(page.address, pageSize, (pgno - 1) * pageSize)
      }
      if (size < this.#database.size()) this.#truncateFile(size)
    }
    this.#database.sync()
  }

  /** Puts the pages that were held back into the file. */
  #writeOverlay(): void {
    const { size } = this.#overlay
    if (size === undefined) return this.#overlay.clear()
    this.#writeCut(Math.min(size, this.#database.size()))
    for (const [pgno, page] of this.#overlay.pages()) {
      this.#writeFile(page.address, page.bytes.length, (pgno - 1) * page.bytes.length)
    }
    if (this.#database.size() !== size) this.#truncateFile(size)
    this.#overlay.clear()
  }

  /** Parts that were cut off and have come back become zero. Cutting the file would give back its room on the disk. */
  #writeCut(end: number): void {
    const { cut } = this.#overlay
    if (cut < end) page.bytes.fill(0)
    for (let at = cut; at < end; at += page.bytes.length) {
      this.#writeFile(page.address, Math.min(page.bytes.length, end - at), at)
    }
  }

  #writeFile(address: number, size: number, offset: number): void {
    this.#views.saveRange(offset, size)
    this.#database.write(address, size, offset)
  }

  #truncateFile(size: number): void {
    this.#views.saveRange(size, Number.MAX_SAFE_INTEGER - size)
    this.#database.truncate(size)
  }

  /** The first bytes of the database as of the last transaction; undefined when there is no content. */
  databaseHeader(): Uint8Array | undefined {
    if (this.history.commit > 0) {
      this.assertUsable()
      this.#wal.pages.readPage(1, page)
      return page.bytes.slice(0, HEADER_SIZE)
    }
    return this.#readHeader() === undefined ? undefined : header.bytes.slice(0, HEADER_SIZE)
  }

  /**
   * Before the transaction of another content. What clients have committed past the daemon comes before it, and the
   * database file has all of it: at no time may a WAL of the present content be beside the next one.
   */
  replacing(): void {
    this.assertUsable()
    if (this.#past?.areThere !== true) return
    this.follow()
    if (this.#wal.pages.checkpoint()) this.#onRewrite()
  }

  /**
   * Replaces the present content, while no client is in a transaction. It is already the last transaction of the
   * history. What fails is done again, a few times at once: the new content is a file of the import's, which goes with
   * it. When that does not help, only a restart brings log and file together.
   */
  replace(content: Replacement): void {
    this.#onCommit()
    this.#isTorn = true
    for (let left = REPLACE_TRIES; left > 0; left--) {
      try {
        this.#putInPlace(content)
        break
      } catch (error) {
        if (left === 1) this.#fail(error)
        this.#log.warn("cannot replace a database, trying again", { db: this.history.name, error })
      }
    }
    this.#isTorn = false
    this.#isBlank = false
    this.#isWalMode = content.isWalMode
    this.#unpublishedBy = 0
    this.#endJournal()
  }

  /** Can be repeated. */
  #putInPlace({ path, oldPath }: Replacement): void {
    this.#views.leaveFile()
    this.#wal.discard()
    if (this.#walFile.open()) this.#walFile.truncate(0)
    this.#database.replaceBy(path, oldPath)
    if (this.#journalFile.open()) this.#journalFile.truncate(0) // of a writer that died
  }

  /** Whether there is neither a database nor the beginning of one: at most an empty file. */
  get isEmpty(): boolean {
    return this.history.commit === 0 && !this.#journal.isDirty && this.#database.size() === 0
  }

  /** The file is removed: drops the database, and frees its name. */
  databaseRemoving(remove = () => {}): void {
    this.follow()
    if (this.history.appendDrop()) this.#onCommit()
    this.#isUnfinished = false
    remove()
    this.#isWalMode = false
    this.#isBlank = false
    this.#views.leave()
    this.#endJournal()
    this.#wal.discard()
    this.#journalFile.close() // in some modes it stays, and nobody may use it again
  }

  /**
   * Before everything that changes the database, or looks at its file alone. Throws when the file lacks something of the
   * last transaction: what the disk has refused is tried again each time.
   */
  assertUsable(): void {
    if (this.#failure !== undefined) throw this.#failure
    if (!this.#isUnfinished) return
    const { name } = this.history
    try {
      this.#writeOverlay()
    } catch (error) {
      const problem = "its last transaction, which is in the log, could not be written to its file"
      throw new LitefsError("io", `Cannot use database "${name}": ${problem}, try again`, {
        cause: error,
      })
    }
    this.#isUnfinished = false
    this.#log.info("wrote a transaction to the database file after all", { db: name })
  }

  /** Does what the disk has refused. False when it still does. */
  finish(): boolean {
    try {
      this.assertUsable()
      return true
    } catch {
      return false
    }
  }

  journalWriting(offset: number, size: number, bytes: Uint8Array, write = () => {}): void {
    if (this.#journal.isEnd(offset, size, bytes)) this.journalEnding(write)
    else write()
  }

  journalWritten(offset: number, size: number, bytes: Uint8Array): void {
    this.#isJournalSynced = false
    const wasActive = this.#journal.isActive
    this.#journal.journalWritten(offset, size, bytes)
    if (!wasActive && this.#journal.isActive) this.#writer = this.#thread()
  }

  /**
   * `end` is about to remove, empty or invalidate the journal, which commits. When `end` fails, the transaction is
   * captured, but SQLite will roll it back, which is then another transaction.
   *
   * Pages that were written through and have their old content again are in no LTX file, and the disk may have an
   * intermediate content of them: only journal and undo file take that back, until they are durable.
   */
  journalEnding(end = () => {}): void {
    if (this.#journal.isDirty) this.#checkEnder()
    if (this.#isWritingThrough) this.#writeBack()
    if (this.#journal.isDirty) this.#captureDatabase()
    end()
    if (this.#isWritingThrough) this.#database.wholeAgain()
    this.#endJournal()
  }

  /**
   * Another program that writes to the file meanwhile, `dd` for example, takes no lock, and what it writes would be
   * committed with the transaction.
   */
  #checkWriter(): void {
    const thread = this.#thread()
    if (this.#isOther(thread)) {
      const { name } = this.history
      this.#refuseWith(
        `Cannot write "${name}": another program is in a transaction, use litefs import --name ${name} FILE to bring a database here`,
      )
    }
    this.#writer = thread
  }

  /** Whether the thread belongs to another program than the one whose transaction is open. */
  #isOther(thread: number): boolean {
    const isKnown = thread !== 0 && this.#writer !== 0
    return isKnown && thread !== this.#writer && !this.#mayEnd(thread, this.#writer)
  }

  /**
   * SQLite ends a transaction just after it has written the last page of it, in the same thread as a rule. Another program
   * that takes the journal away, `rm` for example, would commit half a transaction.
   */
  #checkEnder(): void {
    if (!this.#isOther(this.#thread())) return
    const { name } = this.history
    this.#refuseWith(
      `Cannot end a transaction of "${name}": its journal is in use, and only the client that has written its pages may take it away`,
    )
  }

  #endJournal(): void {
    this.#journal.ended()
    this.#writer = 0
    if (!this.#isUnfinished) this.#overlay.clear()
    this.#forgetSaved(startOfJournal())
    this.#isWritingThrough = false
    for (const act of this.#whenClean.splice(0)) act()
  }

  walWriting(offset: number, size: number, bytes: Uint8Array): void {
    this.assertUsable()
    const before = this.history.pos.txid
    this.#wal.writing(offset, size, bytes)
    if (this.history.pos.txid !== before) this.#onCommit()
  }

  /**
   * `thread` is the kernel's id of the thread that wrote, 0 if unknown. True when it wrote nothing new, but again a part of
   * a transaction that is captured.
   */
  walWritten(offset: number, size: number, thread: number): boolean {
    if (!this.#wal.written(offset, size)) return this.#wal.isRepeat
    this.#unpublishedBy = thread
    this.#onCommit()
    return false
  }

  /**
   * A thread closes a descriptor of the wal-index. If its process wrote the newest transaction, it may have died before
   * it published it. Returns what must be checked, once.
   *
   * A writer that lives publishes by itself. The thread that wrote identifies its process: that thread is gone, or
   * belongs to the process that closes the file now.
   */
  takeUnpublished(thread: number): LastTransaction | undefined {
    const writer = this.#unpublishedBy
    if (writer === 0 || thread === 0) return undefined
    const process = processOfThread(writer)
    if (process !== undefined && process !== processOfThread(thread)) return undefined
    this.#unpublishedBy = 0
    return this.#wal.lastTransaction()
  }

  walTruncating(size: number, truncate = () => {}, isSqlite = true): void {
    this.follow()
    const before = this.history.pos.txid
    this.#wal.truncating(size, truncate, isSqlite)
    if (this.history.pos.txid !== before) this.#onCommit()
  }

  #captureDatabase(): void {
    this.assertUsable()
    const found = this.#readHeader()
    const size = this.databaseSize()
    if (found === undefined) {
      if (size === 0 && this.history.commit === 0) return // the creation of the database was rolled back
      throw new LitefsError(
        "damaged",
        `Cannot commit to database "${this.history.name}": its file has no SQLite header`,
      )
    }
    const { pageSize } = found
    const commit = trustedPageCount(found) ?? Math.ceil(size / pageSize)
    const writtenSize = (from: number) => this.#journal.writtenSize(from)
    checkClaim({ pageSize, commit, fileSize: size, writtenSize }, this.history, this.#refused)
    const isNew = this.history.append({
      pageSize,
      commit,
      pgnos:
        pageSize === this.history.pageSize
          ? this.#journal.dirtyPages(this.history.commit) // every page of another page size is new
          : [],
      readPage: (pgno, into) => this.#readPage(pgno, pageSize, into),
    })
    if (isNew) {
      this.#finish()
      this.#forgetSaved()
    }
    this.#isWalMode = isWalMode(found)
    if (isNew) this.#onCommit()
  }

  #readPage(pgno: number, pageSize: number, into: Region): void {
    this.#readOverlaid(into, pageSize, (pgno - 1) * pageSize)
  }

  /**
   * The transaction is durable, and now goes into the file. There is room for it. Until all of it is there, the overlay
   * has the pages, which is where readers find them, and the log has them for a start after a crash. Nothing else happens
   * to the file meanwhile (assertUsable()).
   */
  #finish(): void {
    try {
      this.#writeOverlay()
    } catch (error) {
      this.#isUnfinished = true
      this.#log.error("cannot write a transaction to the database file, trying again", {
        db: this.history.name,
        error,
      })
    }
  }

  /** The log has the transaction, the file does not. A restart brings them together; until then nobody may continue. */
  #fail(error: unknown): never {
    this.#failure = new LitefsError(
      "io",
      `Cannot use database "${this.history.name}": its file could not be written, restart litefs to recover it from its log`,
      { cause: error },
    )
    this.#log.error(this.#failure.message, { error })
    throw this.#failure
  }

  #readHeader(): DatabaseHeader | undefined {
    if (!this.#database.open()) return undefined
    const n = this.readDatabase(0, HEADER_SIZE, header)
    return n < HEADER_SIZE ? undefined : decodeDatabaseHeader(header.bytes.subarray(0, n))
  }

  /** Whether a new file begins as none of SQLite's does. */
  #isForeign(offset: number, bytes: Uint8Array): boolean {
    return offset === 0 && this.history.commit === 0 && !startsLikeDatabase(bytes)
  }

  #refuseForeign(): never {
    const problem = "it is not a SQLite database, and nothing else can be in the mount"
    this.#refuseWith(`Cannot write "${this.history.name}": ${problem}, choose another directory`)
  }

  #refuse(what: string): never {
    const { name } = this.history
    this.#refuseWith(
      `Cannot write "${name}": ${what} cannot be captured, use journal_mode DELETE, TRUNCATE, PERSIST or WAL, and litefs import --name ${name} FILE to bring a database here`,
    )
  }

  #refuseWith(message: string): never {
    this.#refused(message)
    this.#takeBackGrowth()
    throw new LitefsError("unsupported", message)
  }
}
