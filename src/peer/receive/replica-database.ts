/**
 * One database on a replica: what has come from the primary, in order, and nothing else.
 *
 *   accept(): a transaction: check that it follows on ─▶ store it ─▶ apply it, set the position ─▶ make it durable
 *             a snapshot: check it ─▶ keep what would be lost ─▶ decide ─▶ switch the files, set the position ─▶ done
 *
 * Files are accepted one after the other. One that does not follow on is refused and changes nothing; the main thread
 * then reconnects with our position, and the primary answers with what follows on it.
 *
 * Readers need not wait for the disk, because the primary has the transaction: a power cut here takes the last one at
 * most, and the node is behind by that. Before the database file gets anything of it, it is durable; and at once where
 * somebody counts on that (--sync-replicas), or where nothing can be shown before (a new database, a drop).
 *
 * A snapshot has arrived as a whole
 * database file: clients are locked out for a few renames, however large it is (diverged/takeover.ts).
 */
import type { FrozenView } from "../../capture/frozen-view.ts"
import { FrozenViews } from "../../capture/frozen-views.ts"
import {
  type DatabaseHandover,
  sharedState,
  type WalHandover,
  type WrittenState,
} from "../../capture/handover.ts"
import type { HistoryState } from "../../capture/history.ts"
import { LitefsError } from "../../lib/errors.ts"
import { isSnapshot, type LtxHeader } from "../../ltx/header.ts"
import { formatPos, type Pos, posEquals, type Txid } from "../../ltx/pos.ts"
import { saveCleanState } from "../../recovery/clean-stop.ts"
import type { BackedFile } from "../../store/backed-file.ts"
import type { TransactionLog } from "../../store/log/commit-log.ts"
import type { NotedFile } from "../../store/noted-file.ts"
import { unlinkFile } from "../../sys/file.ts"
import type { Applier, Changes, ReceivedTransaction } from "./applier.ts"
import type { FileSwitch } from "./file-switch.ts"
import { checkFollowsOn } from "./follows-on.ts"
import { IncomingFile } from "./incoming-file.ts"
import { checkRoom } from "./snapshot-image.ts"
import { SnapshotTakeover, type SnapshotTakeoverContext } from "./snapshot-takeover.ts"

/** Bytes by which a transaction may enlarge the database without a look at the disk. */
const UNCHECKED_GROWTH_MAX = 64 * 1024 * 1024

export interface ReplicaDatabaseContext extends SnapshotTakeoverContext {
  /** Makes received transactions durable. */
  readonly transactions: TransactionLog
  /** Whether somebody waits for what is durable here. */
  acknowledges(): boolean
  makeApplier(file: BackedFile, view: ClientView): Applier
  /** Changes the files while no client is in a transaction, and makes clients and kernel forget the old ones. */
  switchFiles(files: FileSwitch): Promise<void>
  /** What was accepted is durable up to there. */
  stored(pos: Pos): void
  /** The database has the state; clients see it when this returns. The last LTX file may not be there yet. */
  setPosition(name: string, state: HistoryState): void
  /** The last LTX file is there. */
  completed(name: string): void
  /** The database's file is gone. */
  dropped(name: string): void
}

/** What clients see beyond the content of the database file. */
export interface ClientView {
  /** Clients have the WAL of the database open. */
  readonly isWalOpen: boolean
  /** What is added to the counters in its header: see sqlite/header-disguise.ts. */
  readonly disguise: number
  /** What is in the WAL already. */
  readonly wal?: WalHandover | undefined
}

/** A transaction that is in the log. The database may have half of it. */
interface Unapplied {
  readonly posAfter: Pos
  apply(): Promise<void>
}

export class ReplicaDatabase {
  readonly name: string
  readonly #context: ReplicaDatabaseContext
  #file: NotedFile
  #applier: Applier
  #state: HistoryState
  readonly #views = new FrozenViews()
  /** Tells snapshots that are being sent. */
  readonly #changes: Changes = {
    overwriting: (offset, size) => {
      this.#context.transactions.sync(this.name)
      this.#views.saveRange(offset, size)
    },
    loseWal: () => this.#views.loseWal(),
  }
  #unfinished: SnapshotTakeover | undefined
  #disguise: number
  #unapplied: Unapplied | undefined

  constructor(
    name: string,
    context: ReplicaDatabaseContext,
    state: HistoryState,
    view: ClientView = { isWalOpen: false, disguise: 0 },
  ) {
    this.name = name
    this.#context = context
    this.#state = state
    this.#disguise = view.disguise
    this.#file = context.dataDir.databaseFile(name)
    this.#applier = context.makeApplier(this.#file, view)
  }

  get pos(): Pos {
    return this.#state.pos
  }

  /** Whether nothing has ever been stored for it. */
  get isNothing(): boolean {
    return this.pos.txid === 0n && this.#unapplied === undefined && this.#unfinished === undefined
  }

  receive(): IncomingFile {
    const { dataDir, transactions } = this.#context
    return new IncomingFile(this.name, dataDir, transactions, (header) => {
      // One with a history has them. If they are broken it takes nothing, and the others go on.
      if (this.pos.txid === 0n) dataDir.createDatabase(this.name)
      if (!isSnapshot(header)) this.#checkGrowth(header)
    })
  }

  /**
   * A transaction that makes the database larger than there is room for is refused before its pages come: it is a claim,
   * and the sums of its pages would take memory. What waits to be applied may be counted twice; the next time it is not.
   */
  #checkGrowth({ pageSize, commit }: LtxHeader): void {
    const growth = pageSize * commit - this.#state.pageSize * this.#state.commit
    if (growth > UNCHECKED_GROWTH_MAX) checkRoom(this.#context.dataDir.root, growth)
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
    return this.#views.freeze(this.#state, frames, files, sidePath)
  }

  thaw(view: FrozenView): void {
    this.#views.thaw(view)
  }

  /** Keeps clients from taking the existing WAL away. */
  async attach(): Promise<void> {
    if (this.#state.commit > 0) await this.#applier.attach()
  }

  /** Whether readers see the last transaction. When not, attach() tries again. */
  get isShown(): boolean {
    return this.#state.commit === 0 || this.#applier.isShown
  }

  /** Opens the WAL and its index anew, as new clients do. */
  async reopen(): Promise<void> {
    if (this.#state.commit > 0) await this.#applier.reopen()
  }

  async mendIndex(): Promise<void> {
    if (this.#state.commit > 0) await this.#applier.mendIndex()
  }

  detach(): void {
    this.#applier.detach()
  }

  /** After handOver(), or when another one takes its place. Only thaw() may follow. */
  close(): void {
    this.#applier.close()
    this.#file.close()
  }

  /**
   * For the thread that captures transactions from here on. Files that are open in the mount stay open until close():
   * they keep clients from taking the WAL away.
   */
  handOver(): DatabaseHandover {
    this.#endTakeover()
    if (this.#unapplied !== undefined) {
      throw new LitefsError(
        "unavailable",
        `Cannot take writes of "${this.name}": its last transaction could not be applied, see the log`,
      )
    }
    this.#context.transactions.sync(this.name) // whoever has it next writes to the database file
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

  /** Retries a failed apply, and lets clients see everything that was applied. */
  async applyRest(): Promise<void> {
    await this.#unapplied?.apply()
    await this.#applier.rejoin(this.#changes)
  }

  /** The last transaction that is completely in the database file. */
  get writtenTxid(): Txid {
    return this.#applier.writtenTxid(this.#state.pos.txid)
  }

  get written(): WrittenState {
    return { txid: this.writtenTxid, state: sharedState(this.#state) }
  }

  /** After the mount has gone. */
  settle(): void {
    const { dataDir } = this.#context
    const { commit, pageSize } = this.#state
    if (commit === 0 || !this.#file.open()) return
    this.#context.transactions.sync(this.name)
    this.#applier.settle()
    if (this.#file.size() !== commit * pageSize) return // an apply was cut short; recovery finishes it
    this.#file.sync()
    saveCleanState(dataDir, this.name, this.#file, this.#state)
  }

  async accept(incoming: IncomingFile): Promise<void> {
    const { header } = incoming
    this.#endTakeover() // of the last snapshot, if the disk would not let it
    if (!isSnapshot(header)) await this.#endHalf(incoming)
    checkFollowsOn(this.name, this.#state, incoming)
    if (isSnapshot(header)) {
      await this.#replace(incoming)
      return this.#context.stored(this.pos)
    }
    const isNew = this.#state.commit === 0
    const isLater = !isNew && header.commit > 0 && !this.#context.acknowledges()
    incoming.store(isLater)
    if (!isLater) this.#context.stored(incoming.posAfter)
    const applied = () => {
      this.#advance(incoming)
      this.#context.setPosition(this.name, this.#state)
    }
    if (header.commit === 0) {
      const isComplete = this.#complete(incoming)
      this.#drop(applied)
      if (isComplete) this.#context.completed(this.name)
      return
    }
    const transaction: ReceivedTransaction = {
      header,
      readPages: (take) => incoming.read({ page: take }),
      isNew,
      pgnos: incoming.sums.pgnos(),
      ...this.#changes,
      applied,
    }
    this.#unapplied = {
      posAfter: incoming.posAfter,
      apply: async () => {
        incoming.complete()
        const readPages: ReceivedTransaction["readPages"] = (take) =>
          incoming.readStored({ page: take })
        await this.#applier.apply({ ...transaction, readPages })
        this.#context.completed(this.name)
      },
    }
    let isComplete = false
    try {
      await this.#applier.apply(transaction)
    } finally {
      isComplete = this.#complete(incoming)
    }
    if (isComplete) this.#context.completed(this.name)
    if (isComplete && isLater) this.#context.stored(incoming.posAfter)
    this.#context.log.trace("applied", {
      db: this.name,
      pos: formatPos(incoming.posAfter),
      pages: incoming.sums.count,
    })
  }

  /** The same transaction writes all its pages again. Beside those of another one, some of them would stay. */
  async #endHalf({ posAfter }: IncomingFile): Promise<void> {
    const half = this.#unapplied
    if (half !== undefined && !posEquals(half.posAfter, posAfter)) await half.apply()
  }

  /** False when that is to be tried again before the next one: without it that one is refused. */
  #complete(incoming: IncomingFile): boolean {
    try {
      incoming.complete()
      return true
    } catch (error) {
      this.#context.log.warn("cannot make the LTX file of a transaction, trying again", {
        db: this.name,
        error,
      })
      return false
    }
  }

  /** The next state of the database, without a way back: the transaction is stored and in place. */
  #advance(incoming: IncomingFile): void {
    const { header, sums } = incoming
    const table = this.#state.sums
    this.#unapplied = undefined
    if (isSnapshot(header) || header.pageSize !== this.#state.pageSize) table.clear()
    table.resize(header.commit)
    sums.each((pgno, hi, lo) => table.set(pgno, hi, lo))
    this.#state = {
      pos: incoming.posAfter,
      pageSize: header.pageSize,
      commit: header.commit,
      sums: table,
      timestampMs: header.timestampMs,
    }
  }

  /** The database is gone, even if its files cannot be removed: the next one of this name overwrites the remains. */
  #drop(applied: () => void): void {
    applied()
    try {
      this.#applier.dropped()
      unlinkFile("database:unlink", this.#file.path)
    } finally {
      this.#openAnew(false)
      this.#context.dropped(this.name)
    }
  }

  /** The snapshot becomes the database, and its file the whole log. */
  async #replace(incoming: IncomingFile): Promise<void> {
    const { transactions } = this.#context
    const { header } = incoming
    const { pos, pageSize, commit } = this.#state
    const old = { pos, pageSize, commit, file: this.#file }
    const takeover = new SnapshotTakeover(this.name, this.#context, incoming, old)
    const { disguise } = takeover
    const { lockedOut } = this.#applier
    try {
      transactions.materialize(this.name)
      if (pos.txid > 0n) transactions.clear()
      let isWalOpen = lockedOut?.shm !== undefined
      await this.#context.switchFiles({
        name: this.name,
        pageSize: header.pageSize,
        commit: header.commit,
        disguise,
        lockedOut,
        yield: () => {
          isWalOpen = this.#applier.yield()
          return isWalOpen
        },
        decide: () => {
          takeover.decide()
          this.#unfinished = takeover
        },
        change: () => takeover.moveIn(),
        switched: () => {
          this.#advance(incoming)
          this.#disguise = disguise ?? this.#disguise
          try {
            this.#context.setPosition(this.name, this.#state)
            this.#context.completed(this.name)
          } finally {
            this.#openAnew(isWalOpen) // lets clients in
          }
        },
      })
    } catch (error) {
      takeover.discard()
      throw error
    }
    this.#endTakeover()
    if (header.commit === 0) this.#context.dropped(this.name)
    takeover.say()
  }

  #endTakeover(): void {
    this.#unfinished?.end()
    this.#unfinished = undefined
  }

  /** The name stands for another file now. A client with the old one open may read it: nobody writes to it any more. */
  #openAnew(isWalOpen: boolean): void {
    this.#views.leave()
    this.close()
    this.#file = this.#context.dataDir.databaseFile(this.name)
    this.#file.noteReplaced()
    this.#applier = this.#context.makeApplier(this.#file, { isWalOpen, disguise: this.#disguise })
  }
}
