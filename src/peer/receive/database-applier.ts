/**
 * Applies transactions to a database whatever journal mode it is in, under the clients that have it open.
 *
 *   rollback ── page 1 says WAL ──▶ WAL ── page 1 says rollback ──▶ leaving ── no client has the WAL open ──▶ rollback
 *
 *   rollback   The pages are written to the file while no client is in a transaction.
 *   WAL        A WAL writer (wal-applier.ts). A transaction that replaces the whole database, or has another page size,
 *              is written to the file while every client is locked out, and the log starts over.
 *   leaving    As in WAL mode. Clients that have the WAL open continue with it, and new ones find it: to SQLite a
 *              database is in WAL mode while there is a WAL that is not empty, whatever page 1 says
 *              (pagerOpenWalIfPresent).
 *
 * A crash in the middle leaves a torn database file, and LTX files from which recovery completes it.
 */
import type { WalHandover } from "../../capture/handover.ts"
import { must } from "../../lib/assert.ts"
import { isSnapshot } from "../../ltx/header.ts"
import type { Txid } from "../../ltx/pos.ts"
import {
  DATABASE_HEADER_SIZE,
  decodeDatabaseHeader,
  isWalMode,
} from "../../sqlite/database-header.ts"
import { disguiseHeader } from "../../sqlite/header-disguise.ts"
import type { BackedFile } from "../../store/backed-file.ts"
import type { DataDir } from "../../store/data-dir.ts"
import type { Fd } from "../../sys/file.ts"
import { sizeOf } from "../../sys/file-status.ts"
import { allocate } from "../../sys/memory.ts"
import type { KernelCache } from "../files/kernel-cache.ts"
import { MountedFiles } from "../files/mounted-files.ts"
import { ClientLocks, type ExclusiveLocks, type LockedOut } from "../locks/client-locks.ts"
import { type WaitListener, WaitReport } from "../locks/wait-report.ts"
import { WalApplier } from "../wal/wal-applier.ts"
import { WalIndexFile } from "../wal/wal-index-file.ts"
import type { Applier, Changes, ReceivedTransaction } from "./applier.ts"

export interface DatabaseApplierContext extends WaitListener {
  readonly name: string
  readonly database: BackedFile
  readonly dataDir: DataDir
  readonly fuseDir: string
  readonly cache: KernelCache
  /** Aborted when the node stops. */
  readonly signal: AbortSignal
  /** Whether clients may have the WAL open, whatever the file says. */
  readonly isWalOpen: boolean
  /** What the mount adds to the counters in the header of the file, usually 0: see sqlite/header-disguise.ts. */
  readonly disguise: number
  /** The present content of the WAL. */
  readonly wal?: WalHandover | undefined
  /** Whether this thread holds WRITE elsewhere, so that nobody else has it. */
  isWriteHeld?(): boolean
  /** The same of a database that is not lent: its locks. */
  kept?(): ClientLocks | undefined
  /** Runs work that locks every client out, without locks that this thread holds elsewhere. */
  withoutLocks?(work: () => Promise<void>): Promise<void>
  /** A transaction is about to count that the client holding WRITE does not know. */
  onStaleWriter(): void
}

type Mode = "rollback" | "wal" | "leaving"

const page = allocate(65536)

export class DatabaseApplier implements Applier {
  readonly #context: DatabaseApplierContext
  readonly #files: MountedFiles
  readonly #wal: WalApplier
  /** From a failed replacement: half of it may be in the file. */
  #lock: ExclusiveLocks | undefined
  #mode: Mode | undefined // undefined: the file tells
  #pageSize = 0 // of a database in WAL mode

  constructor(context: DatabaseApplierContext) {
    const { name, dataDir } = context
    this.#context = context
    this.#files = new MountedFiles(context)
    const wal = dataDir.file(name, "wal")
    this.#wal = new WalApplier({ ...context, wal, handover: context.wal, files: this.#files })
  }

  get frames() {
    return this.#wal.wal.frames
  }

  writtenTxid(current: Txid): Txid {
    return this.#wal.wal.writtenTxid(current)
  }

  async apply(transaction: ReceivedTransaction): Promise<void> {
    if (transaction.isNew) return this.#create(transaction)
    const mode = this.#findMode()
    if (mode === "rollback") return this.#write(transaction)
    const { header } = transaction
    const isOther = isSnapshot(header) || header.pageSize !== this.#pageSize
    if (isOther || this.#lock !== undefined) await this.#replace(transaction)
    else await this.#append(transaction)
    if (this.#mode === "leaving") this.#tryLeave(transaction)
  }

  get lockedOut(): LockedOut | undefined {
    return this.#lock ?? this.#files.lockedOut
  }

  yield(): boolean {
    if (this.#findMode() === "rollback") this.#files.detach()
    else this.#wal.unpin()
    return this.#mode !== "rollback"
  }

  async attach(): Promise<void> {
    if (this.#findMode() === "rollback") return
    await this.#wal.attach()
    if (this.#context.isWriteHeld?.() === true) await this.#wal.repairIndex(this.#pageSize)
  }

  get isShown(): boolean {
    return this.#findMode() === "rollback" || this.#wal.isShown
  }

  async reopen(): Promise<void> {
    if (this.#lock !== undefined || !this.#files.hasWalIndex) return
    this.#files.closeWal()
    await this.#wal.attach()
  }

  async mendIndex(): Promise<void> {
    const isOpen = this.#lock === undefined && this.#files.hasWalIndex && this.#files.areNamed
    if (isOpen && this.#findMode() !== "rollback") await this.#wal.mendIndex(this.#pageSize)
  }

  async rejoin(changes: Changes): Promise<void> {
    if (this.#findMode() === "rollback" || !this.#files.hasWalIndex) return
    if (!this.#files.areNamed) await this.#goOver(changes)
  }

  handOver() {
    const isWalOpen = this.#findMode() !== "rollback"
    return { wal: isWalOpen ? this.#wal.handOver() : undefined, isWalOpen }
  }

  detach(): void {
    this.#lock?.[Symbol.dispose]()
    this.#lock = undefined
    this.#files.detach()
  }

  close(): void {
    this.detach()
    this.#wal.wal.file.close()
  }

  settle(): void {
    this.#wal.settle(() => {})
  }

  dropped(): void {
    this.#files.removeWal()
    this.detach()
    this.#wal.forget()
    this.#mode = undefined
  }

  /**
   * Nobody can have a database open that does not exist: it needs no locks, and the name comes last. An existing WAL
   * could not be removed when the last database of this name was, and clients would take it for this one's.
   */
  #create(transaction: ReceivedTransaction): void {
    this.#files.removeWal()
    this.#wal.forget()
    this.#context.database.create()
    this.#writePages(transaction)
    this.#mode = undefined
    transaction.applied()
  }

  async #write(transaction: ReceivedTransaction): Promise<void> {
    const { cache } = this.#context
    await this.#files.attach(false)
    await this.#files.exclusively(() => {
      this.#writePages(transaction)
      this.#files.forgetPages(cache, transaction.header.pageSize, transaction.pgnos)
      this.#mode = this.#modeOfFile()
      transaction.applied()
    })
  }

  async #append(transaction: ReceivedTransaction): Promise<void> {
    await this.rejoin(transaction)
    const { header, overwriting, loseWal, applied } = transaction
    const { pageSize, commit, maxTxid } = header
    let pgnos = transaction.pgnos
    let first: Uint8Array | undefined
    let readPages: ReceivedTransaction["readPages"] = (take) =>
      transaction.readPages((pgno, data) => {
        if (pgno === 1) first = data.slice(0, DATABASE_HEADER_SIZE)
        take(pgno, pgno === 1 ? this.#disguised(data) : data)
      })
    if (pgnos.length === 0) {
      // Only the size has changed, and a frame has to say so.
      pgnos = [1]
      readPages = (take) => take(1, this.#disguised(this.#wal.readPage(1, pageSize)))
    }
    const isSeen = await this.#wal.apply({
      ...{ pageSize, commit, pgnos, maxTxid, readPages },
      ...{ overwriting, applied, restarting: loseWal },
    })
    if (first !== undefined) this.#mode = isWal(first) ? "wal" : "leaving"
    if (isSeen) return
    await this.#goOver(transaction)
    applied()
  }

  /** Clients that never pause are kept out by the appearance of a recovery of the wal-index. */
  async #replace(transaction: ReceivedTransaction): Promise<void> {
    await this.#files.attach(true)
    this.#lock ??= await this.#acquire()
    const { pageSize, commit } = transaction.header
    this.#wal.settle(transaction.overwriting)
    this.#writePages(transaction)
    this.#startOver(this.#lock, { pageSize, commit, loseWal: transaction.loseWal })
    transaction.applied()
    this.#lock[Symbol.dispose]()
    this.#lock = undefined
  }

  /**
   * Moves the content of the open WAL to the database file. Other clients of that WAL see nothing new any more: as on
   * any disk.
   */
  async #goOver(changes: Changes): Promise<void> {
    const { log, name, withoutLocks } = this.#context
    log.warn("the WAL was removed under the clients that have it open, going on with a new one", {
      db: name,
    })
    const goOver = () => this.#goOverAlone(changes)
    await (withoutLocks?.(goOver) ?? goOver())
  }

  async #goOverAlone({ overwriting, loseWal }: Changes): Promise<void> {
    this.#lock ??= await this.#acquire()
    const { last } = this.#wal
    this.#wal.settle(overwriting)
    if (last !== undefined) {
      const { pageSize, pageCount: commit } = last
      this.#startOver(this.#lock, { pageSize, commit, loseWal })
    }
    this.#files.detach()
    this.#lock[Symbol.dispose]()
    this.#lock = undefined
    await this.#wal.attach()
  }

  /** The database file has everything, the log nothing. */
  #startOver(
    lock: LockedOut,
    { pageSize, commit, loseWal }: { pageSize: number; commit: number; loseWal(): void },
  ): void {
    const { clock, cache } = this.#context
    loseWal()
    this.#wal.forget()
    this.#mode = this.#modeOfFile() === "wal" ? "wal" : "leaving"
    const { shm } = lock
    if (shm !== undefined) {
      const index = new WalIndexFile(shm)
      index.restart(clock.random(), { pageSize, pageCount: commit })
      if (this.#mode === "leaving") this.#wal.begin(index, pageSize)
    }
    for (const suffix of ["", "-wal"] as const) {
      const nodeId = this.#files.nodeOf(suffix)
      if (nodeId !== undefined) cache.forgetFile(nodeId)
    }
    sizeOf("mount:stat", lock.database) // see MountedFiles.forgetPages()
  }

  async #acquire(): Promise<ExclusiveLocks> {
    const { fuseDir, name, clock, signal, kept } = this.#context
    this.#wal.unpin()
    using report = new WaitReport(this.#context, name, "replace the database")
    const gateOf = (shm: Fd) => new WalIndexFile(shm)
    const held = kept?.()
    if (held !== undefined) return await held.excludeReaders(report, gateOf)
    const lock = await ClientLocks.lockOut({
      directory: fuseDir,
      database: name,
      clock,
      limitMs: Number.POSITIVE_INFINITY,
      signal,
      isWalMode: () => true,
      gateOf,
      report,
    })
    return must(lock, "database")
  }

  #tryLeave({ overwriting, loseWal }: ReceivedTransaction): void {
    const { cache } = this.#context
    this.#files.tryAlone(() => {
      const pgnos = this.#wal.settle(overwriting)
      this.#files.forgetPages(cache, this.#pageSize, pgnos)
      loseWal()
      this.#files.removeWal()
      this.#wal.forget()
      this.#mode = "rollback"
    })
  }

  #writePages({ header, readPages, overwriting }: ReceivedTransaction): void {
    const { database } = this.#context
    readPages((pgno, data) => {
      const offset = (pgno - 1) * header.pageSize
      overwriting(offset, header.pageSize)
      page.bytes.set(data)
      database.write(page.address, header.pageSize, offset)
    })
    const size = header.commit * header.pageSize
    if (database.size() === size) return
    overwriting(size, Number.MAX_SAFE_INTEGER - size)
    database.truncate(size)
  }

  /** The mount disguises what clients read of the file. */
  #disguised(data: Uint8Array): Uint8Array {
    const bytes = data.slice()
    disguiseHeader(bytes, 0, this.#context.disguise)
    return bytes
  }

  #findMode(): Mode {
    if (this.#mode !== undefined) return this.#mode
    const mode = this.#modeOfFile()
    this.#mode = mode === "rollback" && this.#context.isWalOpen ? "leaving" : mode
    return this.#mode
  }

  /** The mode in the file is right while the WAL is empty. */
  #modeOfFile(): Mode {
    const { database } = this.#context
    if (!database.open()) return "rollback"
    const n = database.read(page.address, DATABASE_HEADER_SIZE, 0)
    const header = decodeDatabaseHeader(page.bytes.subarray(0, n))
    this.#pageSize = header?.pageSize ?? 0
    return header !== undefined && isWalMode(header) ? "wal" : "rollback"
  }
}

function isWal(bytes: Uint8Array): boolean {
  const header = decodeDatabaseHeader(bytes)
  return header !== undefined && isWalMode(header)
}
