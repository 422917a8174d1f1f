/**
 * One database on a replica: what has come from the primary, in order, and nothing else.
 *
 *   accept(): check that the file follows on ─▶ store it durably ─▶ apply it ─▶ publish the position
 *
 * Files are accepted one after the other. One that does not follow on is refused and changes nothing; the
 * main thread then reconnects with our position, and the primary answers with what does.
 */
import { cpSync, mkdirSync } from "node:fs"
import { basename, join } from "node:path"
import { FrozenView } from "../capture/frozen-view.ts"
import type { HistoryState } from "../capture/history.ts"
import type { Clock } from "../lib/clock.ts"
import { LitefsError } from "../lib/errors.ts"
import type { Logger } from "../lib/log.ts"
import { ChecksumAccumulator } from "../ltx/checksum.ts"
import { isSnapshot } from "../ltx/header.ts"
import { formatChecksum, formatPos, formatTxid, type Pos, type Txid } from "../ltx/pos.ts"
import { saveCleanState } from "../recovery/clean-stop.ts"
import { BackedFile } from "../store/backed-file.ts"
import type { TransactionLog } from "../store/commit-log.ts"
import type { DataDir } from "../store/data-dir.ts"
import { LtxDirectory } from "../store/ltx-directory.ts"
import { renameFile, unlinkFile } from "../sys/file.ts"
import type { Application, Applier } from "./applier.ts"
import { IncomingFile } from "./incoming-file.ts"

export interface ReplicaDatabaseContext {
  readonly dataDir: DataDir
  readonly clock: Clock
  /** Where what is received becomes durable. */
  readonly transactions: TransactionLog
  readonly log: Logger
  makeApplier(name: string, file: BackedFile): Applier
  /** The database has the state; clients see it from when this returns. */
  publish(name: string, state: HistoryState): void
  /** The database's file is gone. */
  dropped(name: string): void
}

export class ReplicaDatabase {
  readonly name: string
  readonly #context: ReplicaDatabaseContext
  readonly #ltx: LtxDirectory
  #file: BackedFile
  #applier: Applier
  #state: HistoryState
  readonly #views = new Set<FrozenView>()

  constructor(name: string, context: ReplicaDatabaseContext, state: HistoryState) {
    this.name = name
    this.#context = context
    this.#state = state
    this.#ltx = new LtxDirectory(context.dataDir.ltxDir(name))
    this.#file = new BackedFile("database", context.dataDir.path(name, "database"))
    this.#applier = context.makeApplier(name, this.#file)
  }

  get pos(): Pos {
    return this.#state.pos
  }

  receive(): IncomingFile {
    return new IncomingFile(this.name, this.#ltx, this.#context.transactions)
  }

  /** The database as it is now, kept until thaw(). Undefined when there is none. */
  freeze(sidePath: string): FrozenView | undefined {
    if (this.#state.commit === 0) return undefined
    const wal = new BackedFile("wal", this.#context.dataDir.path(this.name, "wal"))
    const { frames } = this.#applier
    const view = new FrozenView(this.#state, frames, this.#file, wal, sidePath)
    this.#views.add(view)
    return view
  }

  thaw(view: FrozenView): void {
    this.#views.delete(view)
    view.close()
  }

  detach(): void {
    this.#applier.detach()
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
    const { header, trailer } = incoming
    this.#checkFollowsOn(incoming)
    if (isSnapshot(header)) this.#leaveHistory()
    const path = incoming.store()
    const publish = () => {
      this.#advance(incoming)
      this.#context.publish(this.name, this.#state)
    }
    if (header.commit === 0) return this.#drop(publish)
    const application: Application = {
      path,
      header,
      isNew: this.#state.commit === 0,
      pgnos: incoming.sums.map(({ pgno }) => pgno),
      overwriting: (offset, size) => {
        for (const view of this.#views) view.saveRange(offset, size)
      },
      loseWal: () => {
        for (const view of this.#views) view.loseWal()
      },
      publish,
    }
    await this.#applier.apply(application)
    this.#context.log.trace("applied", {
      db: this.name,
      pos: formatPos({ txid: header.maxTxid, checksum: trailer.postApplyChecksum }),
      pages: incoming.sums.length,
    })
  }

  #checkFollowsOn(incoming: IncomingFile): void {
    const { header, trailer, sums } = incoming
    const { pos } = this.#state
    const follows =
      header.minTxid === pos.txid + 1n &&
      header.preApplyChecksum === (pos.txid === 0n ? 0n : pos.checksum)
    if (!isSnapshot(header) && !follows) {
      const before = `${formatTxid(header.minTxid - 1n)}/${formatChecksum(header.preApplyChecksum)}`
      throw new LitefsError(
        "position-mismatch",
        `Cannot apply a transaction to "${this.name}": it follows on ${before}, the database is at ${formatPos(pos)}`,
      )
    }
    const isWhole = isSnapshot(header) || header.pageSize !== this.#state.pageSize
    const checksum = new ChecksumAccumulator()
    if (isWhole) checksum.reset()
    else checksum.reset(pos.checksum)
    const old = this.#state.sums
    for (const { pgno, hi, lo } of sums) {
      if (!isWhole) checksum.toggle(old.hi(pgno), old.lo(pgno))
      checksum.toggle(hi, lo)
    }
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

  /** What the database will be, without a way back: the transaction is stored and in place. */
  #advance({ header, trailer, sums }: IncomingFile): void {
    const table = this.#state.sums
    if (isSnapshot(header) || header.pageSize !== this.#state.pageSize) table.clear()
    table.resize(header.commit)
    for (const { pgno, hi, lo } of sums) table.set(pgno, hi, lo)
    this.#state = {
      pos: { txid: header.maxTxid, checksum: trailer.postApplyChecksum },
      pageSize: header.pageSize,
      commit: header.commit,
      sums: table,
      timestampMs: header.timestampMs,
    }
  }

  #drop(publish: () => void): void {
    publish()
    this.#views.clear() // their reader has the file open, and nobody writes to it any more
    this.#applier.dropped()
    unlinkFile("database:unlink", this.#file.path)
    this.#file.close()
    this.#file = new BackedFile("database", this.#file.path)
    this.#applier = this.#context.makeApplier(this.name, this.#file)
    this.#context.dropped(this.name)
  }

  /** A snapshot replaces the history: what there was of another is kept under a name that says so. */
  #leaveHistory(): void {
    if (this.#state.pos.txid === 0n) return
    this.#context.transactions.clear()
    const { dataDir, clock, log } = this.#context
    const time = new Date(clock.wallMs()).toISOString().replaceAll(":", "-")
    const { txid, checksum } = this.#state.pos
    const position = `${formatTxid(txid)}-${formatChecksum(checksum)}`
    const directory = dataDir.divergedDir(`${time}-${this.name}-${position}`)
    mkdirSync(join(directory, "ltx"), { recursive: true })
    cpSync(this.#file.path, join(directory, "database"))
    for (const file of this.#ltx.list()) {
      renameFile("diverged:rename", file.path, join(directory, "ltx", basename(file.path)))
    }
    log.warn("replaced by a snapshot of the primary, the old state is kept", {
      db: this.name,
      pos: formatPos(this.#state.pos),
      directory,
    })
  }
}
