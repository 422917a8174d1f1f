/**
 * One database on a replica: what has come from the primary, in order, and nothing else.
 *
 *   accept(): a transaction: check that it follows on ─▶ store it durably ─▶ apply it ─▶ publish the position
 *             a snapshot: check it ─▶ keep what would be lost ─▶ decide ─▶ switch the files, publish ─▶ done
 *
 * Files are accepted one after the other. One that does not follow on is refused and changes nothing; the
 * main thread then reconnects with our position, and the primary answers with what does. A snapshot has come as a
 * whole database file: clients are locked out for a few renames, however large it is (diverged/takeover.ts).
 */
import { FrozenView } from "../../capture/frozen-view.ts"
import { FrozenViews } from "../../capture/frozen-views.ts"
import { type DatabaseHandover, sharedState, type WalHandover } from "../../capture/handover.ts"
import type { HistoryState } from "../../capture/history.ts"
import { discardKept, keepHistory } from "../../diverged/kept-history.ts"
import {
  beginTakeover,
  endTakeover,
  isDecided,
  moveIn,
  type Takeover,
} from "../../diverged/takeover.ts"
import type { Clock } from "../../lib/clock.ts"
import { LitefsError } from "../../lib/errors.ts"
import type { Logger } from "../../lib/log.ts"
import { formatSize } from "../../lib/size.ts"
import { ChecksumAccumulator, lockPgno } from "../../ltx/checksum.ts"
import { isSnapshot, type LtxHeader } from "../../ltx/header.ts"
import { formatChecksum, formatPos, formatTxid, type Pos, type Txid } from "../../ltx/pos.ts"
import { posAfter, posBefore } from "../../ltx/span.ts"
import { saveCleanState } from "../../recovery/clean-stop.ts"
import {
  DATABASE_HEADER_SIZE,
  decodeDatabaseHeader,
  pageCountIn,
} from "../../sqlite/database-header.ts"
import { MIN_PAGE_SIZE } from "../../sqlite/page-size.ts"
import type { BackedFile } from "../../store/backed-file.ts"
import type { DataDir } from "../../store/data-dir.ts"
import type { TransactionLog } from "../../store/log/commit-log.ts"
import { readBytesAt, unlinkFile } from "../../sys/file.ts"
import type { Application, Applier, Changes } from "./applier.ts"
import type { FileSwitch } from "./file-switch.ts"
import { divergence } from "./history-verdict.ts"
import { IncomingFile } from "./incoming-file.ts"
import type { PageSums } from "./page-sums.ts"

export interface ReplicaDatabaseContext {
  readonly dataDir: DataDir
  readonly clock: Clock
  /** Where what is received becomes durable. */
  readonly transactions: TransactionLog
  readonly log: Logger
  makeApplier(file: BackedFile, view: ClientView): Applier
  /** Changes the files while no client is in a transaction, and has clients and kernel forget the old ones. */
  switchFiles(files: FileSwitch): Promise<void>
  /** The name of the primary, as far as it is known. */
  primaryName(): string | undefined
  /** The database has the state; clients see it from when this returns. */
  publish(name: string, state: HistoryState): void
  /** The database's file is gone. */
  dropped(name: string): void
}

/** What clients see that the database file does not say. */
export interface ClientView {
  /** Clients have the WAL of the database open. */
  readonly isWalOpen: boolean
  /** What is added to the counters in its header: see sqlite/header-disguise.ts. */
  readonly disguise: number
  /** What is in the WAL already. */
  readonly wal?: WalHandover | undefined
}

export class ReplicaDatabase {
  readonly name: string
  readonly #context: ReplicaDatabaseContext
  #file: BackedFile
  #applier: Applier
  #state: HistoryState
  readonly #views = new FrozenViews()
  /** What snapshots that are being sent have to know. */
  readonly #changes: Changes = {
    overwriting: (offset, size) => this.#views.saveRange(offset, size),
    loseWal: () => this.#views.loseWal(),
  }
  #unfinished: Takeover | undefined
  #disguise = 0
  /** Applies a transaction that is in the log, and perhaps not in the database. */
  #unapplied: (() => Promise<void>) | undefined

  constructor(
    name: string,
    context: ReplicaDatabaseContext,
    state: HistoryState,
    view: ClientView = { isWalOpen: false, disguise: 0 },
  ) {
    this.name = name
    this.#context = context
    this.#state = state
    this.#file = context.dataDir.file(name, "database")
    this.#applier = context.makeApplier(this.#file, view)
  }

  get pos(): Pos {
    return this.#state.pos
  }

  receive(): IncomingFile {
    return new IncomingFile(this.name, this.#context.dataDir, this.#context.transactions)
  }

  /** The database as it is now, kept until thaw(). Undefined when there is none. */
  freeze(sidePath: string): FrozenView | undefined {
    if (this.#state.commit === 0) return undefined
    const wal = this.#context.dataDir.file(this.name, "wal")
    const { frames } = this.#applier
    const files = {
      ...{ database: this.#file, wal, walDisguise: this.#disguise },
      closed: () => wal.close(),
    }
    return this.#views.add(new FrozenView(this.#state, frames, files, sidePath))
  }

  thaw(view: FrozenView): void {
    this.#views.thaw(view)
  }

  /** Keeps clients from taking the WAL away that is here. */
  async attach(): Promise<void> {
    if (this.#state.commit > 0) await this.#applier.attach()
  }

  detach(): void {
    this.#applier.detach()
  }

  /** After handOver(), or when another one takes its place. Nothing more is done with it but thaw(). */
  close(): void {
    this.#applier.close()
    this.#file.close()
  }

  /**
   * For the thread that captures transactions from here on. What is open in the mount stays so until close(): it
   * keeps clients from taking the WAL away.
   */
  handOver(): DatabaseHandover {
    this.#endTakeover()
    if (this.#unapplied !== undefined) {
      throw new LitefsError(
        "unavailable",
        `Cannot take writes of "${this.name}": its last transaction could not be applied, see the log`,
      )
    }
    this.#views.break()
    const isThere = this.#state.commit > 0
    const { wal, isWalOpen } = isThere
      ? this.#applier.handOver()
      : { wal: undefined, isWalOpen: false }
    return {
      name: this.name,
      state: sharedState(this.#state),
      ...{ wal, isWalOpen, disguise: this.#disguise, isUndone: false },
    }
  }

  /** Tries again what could not be applied when it came, and has clients see all that was applied. */
  async applyRest(): Promise<void> {
    await this.#unapplied?.()
    await this.#applier.rejoin(this.#changes)
  }

  /** The last transaction of which everything is in the database file. */
  get writtenTxid(): Txid {
    return this.#applier.writtenTxid(this.#state.pos.txid)
  }

  /** After the mount has gone. */
  settle(): void {
    const { dataDir } = this.#context
    const { commit, pageSize } = this.#state
    if (commit === 0 || !this.#file.open()) return
    this.#applier.settle()
    if (this.#file.size() !== commit * pageSize) return // an apply was cut short; recovery finishes it
    this.#file.sync()
    saveCleanState(dataDir, this.name, this.#file, this.#state)
  }

  async accept(incoming: IncomingFile): Promise<void> {
    const { header } = incoming
    this.#endTakeover() // of the last snapshot, if the disk would not let it
    this.#checkFollowsOn(incoming)
    if (isSnapshot(header)) return this.#takeOver(incoming)
    incoming.store()
    const publish = () => {
      this.#advance(incoming)
      this.#context.publish(this.name, this.#state)
    }
    if (header.commit === 0) {
      this.#complete(incoming)
      return this.#drop(publish)
    }
    const application: Application = {
      header,
      readPages: (take) => incoming.read({ page: take }),
      isNew: this.#state.commit === 0,
      pgnos: incoming.sums.pgnos(),
      ...this.#changes,
      publish,
    }
    this.#unapplied = () => {
      const readPages: Application["readPages"] = (take) => incoming.readStored({ page: take })
      return this.#applier.apply({ ...application, readPages })
    }
    try {
      await this.#applier.apply(application)
    } finally {
      this.#complete(incoming)
    }
    this.#context.log.trace("applied", {
      db: this.name,
      pos: formatPos(posAfter(incoming)),
      pages: incoming.sums.count,
    })
  }

  /** The transaction is durable already. Before the next one, this is tried again. */
  #complete(incoming: IncomingFile): void {
    try {
      incoming.complete()
    } catch (error) {
      this.#context.log.warn("cannot make an LTX file, its transaction is in the commit log", {
        db: this.name,
        error,
      })
    }
  }

  #checkFollowsOn(incoming: IncomingFile): void {
    const { header, trailer, sums } = incoming
    const { pos } = this.#state
    const follows =
      header.minTxid === pos.txid + 1n &&
      header.preApplyChecksum === (pos.txid === 0n ? 0n : pos.checksum)
    if (!isSnapshot(header) && !follows) {
      const before = formatPos(posBefore(header))
      throw new LitefsError(
        "position-mismatch",
        `Cannot apply a transaction to "${this.name}": it follows on ${before}, the database is at ${formatPos(pos)}`,
      )
    }
    const isWhole = isSnapshot(header) || header.pageSize !== this.#state.pageSize
    this.#checkGrowth(header, sums, isWhole ? 0 : this.#state.commit)
    const checksum = new ChecksumAccumulator()
    if (isWhole) checksum.reset()
    else checksum.reset(pos.checksum)
    const old = this.#state.sums
    sums.each((pgno, hi, lo) => {
      if (!isWhole) checksum.toggle(old.hi(pgno), old.lo(pgno))
      checksum.toggle(hi, lo)
    })
    if (!isWhole) {
      for (let pgno = header.commit + 1; pgno <= this.#state.commit; pgno++) {
        checksum.toggle(old.hi(pgno), old.lo(pgno))
      }
    }
    if (checksum.checksum === trailer.postApplyChecksum) return
    throw new LitefsError(
      "damaged",
      `Cannot apply TXID ${formatTxid(header.maxTxid)} to "${this.name}": the database would sum to ${formatChecksum(checksum.checksum)}, ${formatChecksum(trailer.postApplyChecksum)} expected`,
    )
  }

  /**
   * Every page by which the database grows is in the transaction that does it (capture/history.ts). One that is not
   * would be there as zeros, and in no sum: nobody could make a copy of the database, or recover it.
   */
  #checkGrowth({ pageSize, commit, maxTxid }: LtxHeader, sums: PageSums, before: number): void {
    const lock = lockPgno(pageSize)
    const hasLockPage = before < lock && lock <= commit
    const missing = commit - before - (hasLockPage ? 1 : 0) - sums.countBeyond(before)
    if (missing <= 0) return
    const message =
      `Cannot apply TXID ${formatTxid(maxTxid)} to "${this.name}": ` +
      `it says that the database has ${commit} pages, and ${missing} new ones are not in it`
    throw new LitefsError("damaged", message)
  }

  /** What the database will be, without a way back: the transaction is stored and in place. */
  #advance(incoming: IncomingFile): void {
    const { header, sums } = incoming
    const table = this.#state.sums
    this.#unapplied = undefined
    if (isSnapshot(header) || header.pageSize !== this.#state.pageSize) table.clear()
    table.resize(header.commit)
    sums.each((pgno, hi, lo) => table.set(pgno, hi, lo))
    this.#state = {
      pos: posAfter(incoming),
      pageSize: header.pageSize,
      commit: header.commit,
      sums: table,
      timestampMs: header.timestampMs,
    }
  }

  /** It is gone, whether or not its files go: the next database of this name is written over what is left. */
  #drop(publish: () => void): void {
    publish()
    try {
      this.#applier.dropped()
      unlinkFile("database:unlink", this.#file.path)
    } finally {
      this.#openAnew(false)
      this.#context.dropped(this.name)
    }
  }

  /** The snapshot becomes the database, and its log the only file of ours. */
  async #takeOver(incoming: IncomingFile): Promise<void> {
    const { dataDir, clock, log, transactions } = this.#context
    const { header } = incoming
    const before = this.#state.pos
    const next = posAfter(incoming)
    const reason = divergence(before, next, incoming.verdict, this.#file.size() > 0)
    const kept = reason === undefined ? undefined : this.#keep(reason, next)
    const takeover: Takeover = {
      number: incoming.number,
      minTxid: header.minTxid,
      maxTxid: header.maxTxid,
      commit: header.commit,
      kept: kept?.label,
    }
    // Another one than any client has seen.
    const disguise = kept && Math.floor(clock.random() * 0xffffffff) + 1
    try {
      if (before.txid > 0n) transactions.clear()
      else transactions.materialize()
      let isWalOpen = false
      await this.#context.switchFiles({
        name: this.name,
        pageSize: header.pageSize,
        commit: header.commit,
        disguise,
        yield: () => {
          isWalOpen = this.#applier.yield()
          return isWalOpen
        },
        decide: () => this.#decide(incoming, takeover),
        change: () => moveIn(dataDir, this.name, takeover),
        publish: () => {
          this.#advance(incoming)
          this.#disguise = disguise ?? this.#disguise
          this.#openAnew(isWalOpen)
          this.#context.publish(this.name, this.#state)
        },
      })
    } catch (error) {
      if (kept !== undefined && !incoming.isClaimed) discardKept(dataDir, kept.label)
      throw error
    }
    this.#endTakeover()
    if (header.commit === 0) this.#context.dropped(this.name)
    if (kept === undefined) {
      log.info("took a snapshot of the primary", { db: this.name, pos: formatPos(next) })
      return
    }
    log.warn(
      "the database has diverged from the primary's, which takes its place; the old one is kept",
      {
        db: this.name,
        reason,
        pos: formatPos(before),
        primary: formatPos(next),
        directory: dataDir.divergedDir(kept.label),
        size: formatSize(kept.size),
      },
    )
  }

  #decide(incoming: IncomingFile, takeover: Takeover): void {
    const { dataDir } = this.#context
    let isUndecided = false
    try {
      beginTakeover(dataDir, this.name, takeover)
    } catch (error) {
      isUndecided = !isDecided(dataDir, this.name)
      throw error
    } finally {
      // Also when it has failed and its record will not go: the next start needs the files then.
      if (!isUndecided) incoming.claim()
    }
    this.#unfinished = takeover
  }

  #endTakeover(): void {
    if (this.#unfinished !== undefined) {
      endTakeover(this.#context.dataDir, this.name, this.#unfinished)
    }
    this.#unfinished = undefined
  }

  #keep(reason: string, next: Pos): { label: string; size: number } {
    const { dataDir, clock, primaryName } = this.#context
    const { pos } = this.#state
    const { pageSize, commit } = pos.txid === 0n ? this.#unloggedSize() : this.#state
    return keepHistory(dataDir, {
      database: this.name,
      pos,
      pageSize,
      commit,
      keptMs: clock.wallMs(),
      reason,
      primary: { name: primaryName(), pos: next },
    })
  }

  /** Of a file without a log. */
  #unloggedSize(): { pageSize: number; commit: number } {
    const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
    readBytesAt("database:read", this.#file.fd, bytes, 0)
    const header = decodeDatabaseHeader(bytes)
    const pageSize = header?.pageSize ?? MIN_PAGE_SIZE
    const size = this.#file.size()
    return { pageSize, commit: header ? pageCountIn(header, size) : Math.ceil(size / pageSize) }
  }

  /** The name stands for another file now. */
  #openAnew(isWalOpen: boolean): void {
    this.#views.leave()
    this.close()
    this.#file = this.#context.dataDir.file(this.name, "database")
    this.#applier = this.#context.makeApplier(this.#file, { isWalOpen, disguise: this.#disguise })
  }
}
