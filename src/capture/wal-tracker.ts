/**
 * The write-ahead log of one database, followed through the writes to it: where transactions end.
 *
 *     0        captured              valid                  size of the file
 *     ├──────────┼─────────────────────┼ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─┤
 *      frames of   frames whose chain    not yet written, being rewritten,
 *      captured    of checksums holds,   or left from before the last restart
 *      commits     no commit yet
 *
 * 1. A transaction is captured at the write that makes the chain of salts and checksums hold up to a frame with a
 *    commit size. Nothing else counts: SQLite may write a page twice and re-checksum the headers after the commit frame
 *    (walRewriteChecksums), spill before it, and pad after it.
 * 2. When capture fails, the write that completed the commit is spoilt before the writer hears of it, so that no
 *    recovery of the WAL finds a refused commit. If the kernel has split a write in two and the second part was
 *    refused, the writer just writes that part again: it completes the commit once more.
 * 3. A write below `captured` comes from a writer that does not know those commits: the client that wrote them died, or
 *    failed, before it published them in the wal-index. A transaction that restores the old content takes them back, so
 *    that the history never disagrees with what clients read.
 * 4. A header at offset 0 restarts the log; SQLite writes it only when every frame that it knows is in the database
 *    file. SQLite did not know the frames that are missing there, and they are taken back as well. Frames that another
 *    thread has written or captured, and that are published (adopt()), are an exception: a writer that does not know
 *    them began before they came, and is refused. Otherwise it would take back what other nodes have committed. Such a
 *    writer may have spilled frames before the WAL changed hands, and continues after them. The first frame written
 *    afterwards must therefore follow on the adopted ones, in its place and by its checksum: a writer that writes
 *    elsewhere, or without a header, is refused, because none of its commits could be captured.
 * 5. A transaction leaves out pages that the database file holds. A database without a file, because it was removed or
 *    the log was put back without it, therefore has no transactions. Nor has one with pages of another size.
 * 6. A write of the bytes that are already there changes nothing. When a transaction has written a page twice with the
 *    same content, the chain holds at its commit frame, and walRewriteChecksums still follows.
 *
 * wal-pages.ts knows where the content of pages is. The rest is one file, because each of these rules concerns all of
 * header, chain, captured frames and pending ones.
 */
import { assert } from "../lib/assert.ts"
import { LitefsError } from "../lib/errors.ts"
import type { Logger } from "../lib/log.ts"
import {
  DATABASE_HEADER_SIZE,
  type DatabaseHeader,
  decodeDatabaseHeader,
  trustedPageCount,
} from "../sqlite/database-header.ts"
import {
  decodeWalFrameHeader,
  decodeWalHeader,
  verifyWalFrame,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  WalChecksum,
  type WalHeader,
  walFrameOffset,
  walFrameSize,
} from "../sqlite/wal.ts"
import type { WalIndexHeader } from "../sqlite/wal-index.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { allocate } from "../sys/memory.ts"
import { checkClaim } from "./claim.ts"
import type { WalHandover } from "./handover.ts"
import type { History } from "./history.ts"
import { WalPages } from "./wal-pages.ts"

/** A transaction in the WAL as the wal-index sees it. Frames are counted from 1, as in SQLite. */
export interface LastTransaction {
  readonly firstFrame: number
  readonly pgnos: readonly number[] // of its frames, in order
  readonly pageSize: number
  readonly commit: number // pages of the database after it
  readonly salt1: number
  readonly salt2: number
  readonly checksum1: number // of its last frame
  readonly checksum2: number
}

export interface WalListener {
  /** Before a write overwrites the frame with the newest content of the page. */
  pageGoing(pgno: number): void
  /** Before all frames go: every page is in the database file. */
  allGoing(): void
  /** We have changed the database file, and the kernel does not know. */
  databaseRewritten(): void
  /** A client's request is about to fail: what is to be said of that. */
  refused(message: string): void
}

interface CapturedCommit {
  readonly end: number // frames up to the end of it
  readonly isNew: boolean // false for one that changes nothing, such as one that pads a transaction
  readonly checksum1: number // of its last frame
  readonly checksum2: number
}

/** Commits that are captured as one transaction. */
interface Group {
  said: number // pages of the database in the last commit frame
  frameCount: number // up to there, of those that are pending
  readonly ends: Omit<CapturedCommit, "isNew">[]
}

/** A frame of a commit whose writer was refused. */
interface SpoiltFrame {
  readonly index: number
  readonly salt1: number
  readonly salt2: number
  readonly byte: number // its first one
}

/** What the wal-index says that clients know of. */
export type Published = Pick<WalIndexHeader, "frameCount" | "salt1" | "salt2">

export const CANNOT_INVALIDATE = "cannot invalidate a refused commit in the WAL"

/** One transaction is not made of more, if its clients have made several. */
const GROUP_FRAMES_MAX = 4096

const frame = allocate(WAL_FRAME_HEADER_SIZE + 65536)
const page = allocate(65536)

export class WalTracker {
  readonly pages: WalPages
  readonly #history: History
  readonly #wal: BackedFile
  readonly #database: BackedFile
  readonly #log: Logger
  readonly #on: WalListener
  #header: WalHeader | undefined
  #size = 0
  #valid = 0
  #adopted = 0 // published frames of another thread
  #hasSpilled = false // the last writes go beyond the captured frames
  #isUnproven = false // no frame that follows on another thread's has been written yet
  #isRefusedThere = false // a refused commit could not be invalidated
  #isRepeat = false // the write in progress repeats the present bytes
  #spoilt: SpoiltFrame | undefined
  readonly #pending: number[] = [] // page numbers of the frames between captured and valid
  readonly #commits: CapturedCommit[] = []
  readonly #chain = new WalChecksum() // up to `valid`, when it is known
  #isChainKnown = false

  constructor(
    history: History,
    wal: BackedFile,
    database: BackedFile,
    log: Logger,
    on: WalListener,
  ) {
    this.#on = on
    this.#history = history
    this.#wal = wal
    this.#database = database
    this.pages = new WalPages(history, wal, database)
    this.#log = log
  }

  get captured(): number {
    return this.pages.frames.count
  }

  /** Whether clients have a WAL, though it may hold nothing that counts. */
  get isOpen(): boolean {
    return this.#header !== undefined
  }

  /** Whether the last write had only bytes that were already there, of commits that are captured (rule 6). */
  get isRepeat(): boolean {
    return this.#isRepeat
  }

  /** The frames that count, for the thread that continues with them; undefined when there are none. */
  handOver(): WalHandover | undefined {
    if (this.#isRefusedThere) this.endAtCaptured()
    const header = this.#header
    const count = this.captured
    if (header === undefined || count === 0) return undefined
    this.#wal.read(frame.address, WAL_FRAME_HEADER_SIZE, this.#offset(count - 1))
    const { commit, checksum1, checksum2 } = decodeWalFrameHeader(frame.bytes)
    return {
      header,
      pgnos: Uint32Array.from({ length: count }, (_, index) => this.pages.frames.pgno(index)),
      published: count,
      ends: this.#commits.map(({ end }) => end),
      unwritten: [...this.pages.unwritten.entries()],
      hasSpilled: this.#hasSpilled,
      pageCount: commit,
      checksum1,
      checksum2,
    }
  }

  /** Continues with frames that another thread has written, or captured before. */
  adopt({ header, pgnos, published, ends, unwritten, hasSpilled }: WalHandover): void {
    this.#header = header
    for (const pgno of pgnos) this.pages.frames.add(pgno)
    for (const end of ends) this.#commits.push({ end, isNew: true, ...this.#checksumsAt(end) })
    for (const [pgno, since] of unwritten) this.pages.unwritten.add(pgno, since)
    this.#valid = pgnos.length
    this.#adopted = published
    this.#isUnproven = true
    this.#hasSpilled = hasSpilled
    this.#size = this.#offset(this.captured) // what follows was never committed
  }

  /** The database is gone, and so is its content in the WAL. */
  discard(): void {
    this.pages.unwritten.clear()
    this.#on.allGoing()
    this.#forget()
  }

  /** The newest captured transaction with its padding, as the wal-index would have to describe it. */
  lastTransaction(): LastTransaction | undefined {
    const header = this.#header
    const end = this.captured
    const start = this.#startOfNewest()
    if (header === undefined || start === undefined) return undefined
    const pgnos: number[] = []
    for (let index = start; index < end; index++) pgnos.push(this.pages.frames.pgno(index))
    this.#wal.read(frame.address, WAL_FRAME_HEADER_SIZE, this.#offset(end - 1))
    const { commit, checksum1, checksum2 } = decodeWalFrameHeader(frame.bytes)
    const { pageSize, salt1, salt2 } = header
    return { firstFrame: start + 1, pgnos, pageSize, commit, salt1, salt2, checksum1, checksum2 }
  }

  /** Frames before the newest transaction that changes something. */
  #startOfNewest(): number | undefined {
    const newest = this.#commits.findLastIndex(({ isNew }) => isNew)
    return newest < 0 ? undefined : (this.#commits[newest - 1]?.end ?? 0)
  }

  /** Whether a checkpoint knew every transaction except the newest: the file then holds all the others. */
  #isNewestUnpublished(): boolean {
    const start = this.#startOfNewest()
    if (start === undefined || this.pages.unwritten.count === 0) return false
    const newest = new Map<number, number>()
    for (let index = 0; index < start; index++) newest.set(this.pages.frames.pgno(index), index)
    const commit = this.#commitAt(start)
    for (const [pgno, index] of newest) {
      if (pgno <= commit && !this.pages.isInFile(pgno, index)) return false
    }
    return true
  }

  /** Before bytes of the file change. Throws when they may not. */
  writing(offset: number, size: number, bytes: Uint8Array): void {
    this.#isRepeat = false
    if (this.#history.commit === 0 && this.#database.size() === 0) throw this.#homeless()
    if (offset < WAL_HEADER_SIZE) return this.#header && this.#restarting()
    if (this.#header === undefined) throw this.#stale()
    if (this.#isUnproven && offset > this.#size) throw this.#stale()
    const first = this.#frameAt(offset)
    if (first >= this.captured) return
    this.#isRepeat = this.pages.holds(offset, bytes.subarray(0, size))
    if (this.#isRepeat) return
    if (first < this.#adopted) throw this.#stale()
    this.#revoke(first)
  }

  /** After bytes of the file have changed. True when that completed transactions, which are durable now. */
  written(offset: number, size: number): boolean {
    this.#size = Math.max(this.#size, offset + size)
    if (offset < WAL_HEADER_SIZE) this.#readHeader()
    if (offset + size <= WAL_HEADER_SIZE) return false
    if (this.#header === undefined || this.#isRepeat) return false
    const first = this.#frameAt(Math.max(offset, WAL_HEADER_SIZE)) // a program that copies a WAL writes both at once
    if (first < this.#valid) this.#retreat(first)
    this.#hasSpilled = true
    try {
      // Even when the write is further on: the part between may be whole since commits were taken back.
      const hasCaptured = this.#advance()
      this.#hasSpilled = offset + size > this.#offset(this.captured)
      if (hasCaptured) return true
    } catch (error) {
      this.#spoil(offset)
      throw error
    }
    if (this.#isUnproven && offset + size >= this.#offset(this.#valid + 1)) throw this.#stale()
    return false
  }

  /**
   * Captures what clients have written past the daemon: commits of up to so many frames as are published; undefined: all
   * that are whole. What was captured together is one transaction. True when there was one.
   *
   * A checkpoint tells us of each page that it copies, before which everything that is published is captured. So a log
   * that was started over has lost nothing (rule 4).
   */
  follow(published: Published | undefined): boolean {
    const before = this.#history.pos.txid
    if (!this.#followHeader()) return this.#history.pos.txid !== before
    const header = this.#header as WalHeader
    const isOther = published?.salt1 !== header.salt1 || published.salt2 !== header.salt2
    if (published !== undefined && isOther) return this.#history.pos.txid !== before
    const limit = published?.frameCount ?? Number.POSITIVE_INFINITY
    if (published !== undefined) this.#unspoil(header, limit)
    this.#revokeReplaced(limit)
    this.#size = this.#wal.size()
    // What follows on captured frames may have been written anew since the last look. A writer that writes a page again,
    // which it had spilled, first ends its transaction with sums that hold for the old page, and then corrects them
    // (SQLite: walRewriteChecksums): who had believed the old frames would find a commit with half of its content.
    if (this.#valid > this.captured) this.#retreat(this.captured)
    if (limit > this.captured) this.#advance(limit, true)
    return this.#history.pos.txid !== before
  }

  /**
   * After follow(), while nobody writes: no recovery of the WAL is to find a commit that follows on the captured ones.
   * Its writer was refused, or died before it published it.
   */
  endAtCaptured(): void {
    if (this.#header === undefined) return
    this.#retreat(this.captured)
    this.#findChain(this.#header)
    const n = this.#wal.read(frame.address, this.#frameSize, this.#offset(this.captured))
    const isWhole =
      n === this.#frameSize && verifyWalFrame(frame.bytes, 0, this.#header, this.#chain)
    this.#isChainKnown = false
    if (isWhole) this.#invalidate(this.#offset(this.captured))
    this.#isRefusedThere = false
  }

  /**
   * The sync of a client that holds WRITE fails. SQLite then goes back to the frames that are published, and what follows
   * on them was refused: no recovery of the WAL is to find it. Another connection of that client may be the writer, and
   * go on: what it publishes is made whole again.
   */
  refuse(published: Published): void {
    if (this.#wal.size() < WAL_HEADER_SIZE) return
    this.#wal.read(frame.address, WAL_HEADER_SIZE, 0)
    const header = decodeWalHeader(frame.bytes.subarray(0, WAL_HEADER_SIZE))
    if (header === undefined) return
    const { salt1, salt2 } = header
    const isOther = published.salt1 !== salt1 || published.salt2 !== salt2
    const { frameCount: index } = published
    if (isOther && index > 0) return // a new file's salts are published with its first frames
    const offset = walFrameOffset(index, header.pageSize)
    const byte = this.#byteAt(offset)
    const known = this.#spoilt
    const isKnown = known?.index === index && known.salt1 === salt1 && known.salt2 === salt2
    if (byte === undefined || (isKnown && byte === flipped(known.byte))) return
    this.#putByte(offset, flipped(byte))
    this.#spoilt = { index, salt1, salt2, byte }
  }

  /** The frame counts after all, unless another has taken its place. */
  #unspoil(header: WalHeader, published: number): void {
    const spoilt = this.#spoilt
    if (spoilt === undefined) return
    const { index, salt1, salt2, byte } = spoilt
    const isOther = salt1 !== header.salt1 || salt2 !== header.salt2
    if (!isOther && index >= published) return
    if (!isOther && this.#byteAt(this.#offset(index)) === flipped(byte)) {
      this.#putByte(this.#offset(index), byte)
    }
    this.#spoilt = undefined
  }

  #byteAt(offset: number): number | undefined {
    return this.#wal.read(frame.address, 1, offset) === 1 ? frame.bytes[0] : undefined
  }

  #putByte(offset: number, byte: number): void {
    frame.bytes[0] = byte
    this.#wal.write(frame.address, 1, offset)
  }

  /** False when the log has no header that counts. */
  #followHeader(): boolean {
    if (this.#wal.size() < WAL_HEADER_SIZE) return false
    this.#wal.read(frame.address, WAL_HEADER_SIZE, 0)
    const header = decodeWalHeader(frame.bytes.subarray(0, WAL_HEADER_SIZE))
    if (header === undefined) return false
    const known = this.#header
    if (known?.salt1 === header.salt1 && known.salt2 === header.salt2) return true
    if (known !== undefined) this.#restarting()
    this.#header = header
    this.#forgetFrames()
    return true
  }

  /**
   * Takes back transactions whose writer died, or failed, before it published them: others have written over them. What
   * is not published yet, since its writer has just synced it, is still there.
   */
  #revokeReplaced(limit: number): void {
    const isThere = ({ end, checksum1, checksum2 }: CapturedCommit) => {
      const found = this.#checksumsAt(end)
      return found.checksum1 === checksum1 && found.checksum2 === checksum2
    }
    const last = this.#commits.at(-1)
    if (last === undefined) return
    // Who starts the log over publishes that it is empty, and then writes to it.
    const isEnd =
      limit === 0 || limit >= this.captured || this.#commits.some(({ end }) => end === limit)
    if (isEnd && isThere(last)) return
    const kept = this.#commits.findLast((commit) => commit.end <= limit && isThere(commit))
    this.#revoke(kept?.end ?? 0)
  }

  #checksumsAt(end: number): { checksum1: number; checksum2: number } {
    this.#wal.read(frame.address, WAL_FRAME_HEADER_SIZE, this.#offset(end - 1))
    const { checksum1, checksum2 } = decodeWalFrameHeader(frame.bytes)
    return { checksum1, checksum2 }
  }

  /**
   * Around the cut of the file to `size` bytes, or its removal. SQLite does both after a checkpoint, which knows all
   * published commits. Somebody else, not `isSqlite`, knows of none.
   */
  truncating(size: number, truncate = () => {}, isSqlite = true): void {
    if (size < WAL_HEADER_SIZE) {
      const mayBeUnpublished = isSqlite && this.captured > this.#adopted
      if (mayBeUnpublished && this.#isNewestUnpublished()) this.#restarting()
      this.#save()
      truncate() // when it fails, the frames still exist, and frames that follow on them count
      return this.#forget()
    }
    const whole = this.#header === undefined ? 0 : this.#frameAt(size)
    if (whole < this.#adopted) throw this.#stale()
    if (whole < this.captured) this.#revoke(whole)
    truncate()
    if (this.#header === undefined) return
    if (whole < this.#valid) this.#retreat(whole)
    this.#size = Math.min(this.#size, size)
  }

  #forget(): void {
    this.#header = undefined
    this.#size = 0
    this.#forgetFrames()
  }

  /**
   * A client starts the log over. It has checkpointed every commit that it knows. A commit that the database file lacks
   * was therefore not published, and the client continues without it.
   */
  #restarting(): void {
    if (this.pages.unwritten.count > 0 && this.captured > 0) {
      if (!this.#isAdoptedInFile()) throw this.#stale()
      this.#revoke(0)
    }
    this.#on.allGoing()
  }

  /** Whether no adopted frame is lost when all frames go. */
  #isAdoptedInFile(): boolean {
    if (this.#adopted === 0) return true
    const commit = Math.min(this.#commitAt(this.#adopted), this.#history.commit)
    const newest = new Map<number, number>()
    for (let index = 0; index < this.#adopted; index++)
      newest.set(this.pages.frames.pgno(index), index)
    for (const [pgno, index] of newest) {
      if (pgno > commit || !this.pages.unwritten.has(pgno)) continue
      if (this.pages.isInFile(pgno, index)) continue
      const last = this.pages.frames.newest(pgno)
      if (last === undefined || last === index || !this.pages.isInFile(pgno, last)) return false
    }
    return true
  }

  #homeless(): LitefsError {
    const { name } = this.#history
    this.#on.refused("refused a write to a WAL: its database was removed or replaced")
    return new LitefsError(
      "unsupported",
      `Cannot write the WAL of "${name}": its database was removed or replaced`,
    )
  }

  #stale(): LitefsError {
    const { name } = this.#history
    this.#on.refused("refused a write: its transaction began before others came from the primary")
    return new LitefsError(
      "position-mismatch",
      `Cannot write the WAL of "${name}": its transaction began before others came from the primary, it has to begin again`,
    )
  }

  /**
   * All frames go. SQLite has checkpointed them. A user who removed the file has not: we then do it while its content
   * can still be read.
   */
  #save(): void {
    this.#on.allGoing()
    if (this.pages.checkpoint()) {
      this.#log.warn("saved transactions from a WAL that was removed before its checkpoint", {
        db: this.#history.name,
      })
      this.#on.databaseRewritten()
    }
  }

  #readHeader(): void {
    const n = this.#wal.read(frame.address, WAL_HEADER_SIZE, 0)
    const header = n < WAL_HEADER_SIZE ? undefined : decodeWalHeader(frame.bytes.subarray(0, n))
    const known = this.#header
    this.#header = header
    if (known?.salt1 === header?.salt1 && known?.salt2 === header?.salt2) return
    this.#forgetFrames()
  }

  #forgetFrames(): void {
    this.pages.frames.clear()
    this.#adopted = 0
    this.#isUnproven = false
    this.#hasSpilled = false
    this.#isRefusedThere = false
    this.#commits.length = 0
    this.#retreat(0)
  }

  /** Frames from `count` on are no longer known to be valid. */
  #retreat(count: number): void {
    assert(count >= this.captured, "captured frames are revoked first")
    this.#valid = count
    this.#pending.length = count - this.captured
    this.#isChainKnown = false
  }

  /** The chain up to `valid`, read again on demand: a read may fail. */
  #findChain(header: WalHeader): void {
    if (this.#valid === 0) {
      this.#chain.set(header.checksum1, header.checksum2)
    } else {
      this.#wal.read(frame.address, WAL_FRAME_HEADER_SIZE, this.#offset(this.#valid - 1))
      const last = decodeWalFrameHeader(frame.bytes)
      this.#chain.set(last.checksum1, last.checksum2)
    }
    this.#isChainKnown = true
  }

  /** Verifies the frames that follow the valid ones, as far as the chain holds. */
  #advance(limit = Number.POSITIVE_INFINITY, isGrouped = false): boolean {
    const header = this.#header as WalHeader
    const size = this.#frameSize
    let hasCaptured = false
    let group: Group | undefined
    if (!this.#isChainKnown) this.#findChain(header)
    while (this.#valid < limit && this.#offset(this.#valid + 1) <= this.#size) {
      this.#wal.read(frame.address, size, this.#offset(this.#valid))
      if (!verifyWalFrame(frame.bytes, 0, header, this.#chain)) break
      const { pgno, commit } = decodeWalFrameHeader(frame.bytes)
      this.#pending.push(pgno)
      this.#valid += 1
      this.#isUnproven = false
      if (commit === 0) continue
      const { s0: checksum1, s1: checksum2 } = this.#chain
      group ??= { said: 0, frameCount: 0, ends: [] }
      group.ends.push({ end: this.#valid, checksum1, checksum2 })
      group.said = commit
      group.frameCount = this.#pending.length
      if (isGrouped && group.frameCount < GROUP_FRAMES_MAX) continue
      hasCaptured = this.#capture(group) || hasCaptured
      group = undefined
    }
    if (group !== undefined) hasCaptured = this.#capture(group) || hasCaptured
    return hasCaptured
  }

  #capture({ said, frameCount, ends }: Group): boolean {
    const header = this.#header as WalHeader
    if (header.pageSize !== this.#pageSizeOfFile()) throw this.#homeless()
    const first = this.captured
    const { pageSize } = header
    const pgnos = this.#pending.slice(0, frameCount)
    const writtenSize = (from: number) => sizeFrom(pgnos, from, pageSize)
    for (const pgno of pgnos) this.pages.frames.add(pgno)
    try {
      const roomForPages = Math.ceil(this.#database.size() / pageSize)
      const claim = { pageSize, commit: said, roomForPages, writtenSize }
      checkClaim(claim, this.#history, this.#on.refused)
      const commit = said > this.#history.commit ? this.#trueCommit(said) : said
      const isNew = this.#history.append({
        pageSize,
        commit,
        pgnos: ascending(pgnos),
        readPage: (pgno, into) => this.pages.read(pgno, header.pageSize, into),
        wal: {
          offset: this.#offset(first),
          size: frameCount * this.#frameSize,
          salt1: header.salt1,
          salt2: header.salt2,
        },
      })
      if (isNew) {
        for (const pgno of pgnos) this.pages.unwritten.add(pgno, this.#history.pos.txid)
        this.pages.unwritten.truncate(commit)
      }
      this.#pending.splice(0, frameCount)
      for (const end of ends) this.#commits.push({ ...end, isNew })
      return isNew
    } catch (error) {
      this.pages.frames.truncate(first)
      throw error
    }
  }

  /** Makes a refused write complete nothing. Its bytes exist, so this needs no space on the disk. */
  #spoil(offset: number): void {
    const from = Math.max(offset, this.#offset(this.captured))
    this.#retreat(Math.min(this.#valid, this.#frameAt(from)))
    try {
      this.#invalidate(from)
    } catch (error) {
      // The writer is refused all the same. A recovery of the WAL could still find the commit, until another one takes its
      // place, or the WAL changes hands.
      this.#isRefusedThere = true
      this.#log.error(CANNOT_INVALIDATE, {
        db: this.#history.name,
        error: String(error),
      })
    }
  }

  #invalidate(offset: number): void {
    const byte = this.#byteAt(offset)
    if (byte !== undefined) this.#putByte(offset, flipped(byte))
  }

  /** Takes back the captured transactions that hold frame `index` or a later one. */
  #revoke(index: number): void {
    const kept = this.#commits.findLast(({ end }) => end <= index)?.end ?? 0
    const header = this.#header as WalHeader
    const revoked: number[] = []
    for (let at = kept; at < this.captured; at++) revoked.push(this.pages.frames.pgno(at))
    for (const pgno of revoked) this.#on.pageGoing(pgno)
    const said = this.#commitAt(kept)
    const count = this.captured
    const revokedCommit = this.#history.commit
    this.pages.frames.truncate(kept)
    let commit: number
    try {
      commit = this.#trueCommit(said)
      this.#history.append({
        pageSize: header.pageSize,
        commit,
        pgnos: ascending(revoked),
        readPage: (pgno, into) => this.pages.readPage(pgno, into),
      })
    } catch (error) {
      for (let at = kept; at < count; at++) this.pages.frames.add(revoked[at - kept] as number)
      throw error
    }
    for (const pgno of revoked) this.pages.lookWhere(pgno)
    for (const [pgno] of this.pages.frames.entries()) {
      if (pgno > revokedCommit) this.pages.lookWhere(pgno) // back again
    }
    this.pages.unwritten.truncate(commit)
    while ((this.#commits.at(-1)?.end ?? 0) > kept) this.#commits.pop()
    this.#retreat(kept)
    this.#log.warn("took back transactions that their writer did not publish", {
      db: this.#history.name,
      frames: count - kept,
      txid: this.#history.pos.txid.toString(16),
    })
  }

  /** Size of the database, in pages, after the first `count` frames. */
  /** The least size of the database at the end of a transaction in the log, pages; undefined when there is none. */
  get leastCommit(): number | undefined {
    if (this.#commits.length === 0) return undefined
    return Math.min(...this.#commits.map(({ end }) => this.#commitAt(end)))
  }

  #commitAt(count: number): number {
    if (count === 0) return Math.floor(this.#database.size() / this.#history.pageSize)
    this.#wal.read(frame.address, WAL_FRAME_HEADER_SIZE, this.#offset(count - 1))
    return decodeWalFrameHeader(frame.bytes).commit
  }

  /**
   * Size of the database by its first page, pages. The file may be longer (SQLITE_FCNTL_CHUNK_SIZE), and SQLite then
   * also puts the size of the file into its commits.
   */
  #trueCommit(said: number): number {
    this.pages.readStart(1, (this.#header as WalHeader).pageSize, DATABASE_HEADER_SIZE, page)
    const header = decodeDatabaseHeader(page.bytes.subarray(0, DATABASE_HEADER_SIZE))
    return Math.min(said, (header && trustedPageCount(header)) ?? said)
  }

  /** Undefined when the file is not a database. */
  #pageSizeOfFile(): number | undefined {
    return this.#history.commit > 0 ? this.#history.pageSize : this.#readFileHeader()?.pageSize
  }

  #readFileHeader(): DatabaseHeader | undefined {
    this.#database.readPadded(page, DATABASE_HEADER_SIZE, 0)
    return decodeDatabaseHeader(page.bytes.subarray(0, DATABASE_HEADER_SIZE))
  }

  get #frameSize(): number {
    return walFrameSize((this.#header as WalHeader).pageSize)
  }

  #offset(index: number): number {
    return walFrameOffset(index, (this.#header as WalHeader).pageSize)
  }

  #frameAt(offset: number): number {
    return Math.floor((offset - WAL_HEADER_SIZE) / this.#frameSize)
  }
}

function flipped(byte: number): number {
  return byte ^ 0xff
}

/** Size of the pages from an offset in the database on. */
function sizeFrom(pgnos: readonly number[], from: number, pageSize: number): number {
  return new Set(pgnos.filter((pgno) => pgno * pageSize > from)).size * pageSize
}

function ascending(pgnos: readonly number[]): number[] {
  return [...new Set(pgnos)].sort((a, b) => a - b)
}
