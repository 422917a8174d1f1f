/**
 * The files of one database as opened through our own mount, to take part in SQLite's locking there.
 *
 *   detached ── attach() ──▶ attached (in WAL mode with SHARED and DMS) ── detach() ──▶ detached
 *
 * Whoever holds one of these must not be the fs thread, which answers the opens.
 */
import { join } from "node:path"
import { must } from "../../lib/assert.ts"
import {
  closeFile,
  type Fd,
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  unlinkFile,
  writeAt,
} from "../../sys/file.ts"
import { openOwnFile } from "../../sys/file-access.ts"
import { emptyStatus, inodeAt, sizeOf, statusOf } from "../../sys/file-status.ts"
import type { LockedOut } from "../locks/client-locks.ts"
import { untilLocked } from "../locks/lock-wait.ts"
import { PATIENCE_MS, Patience } from "../locks/patience.ts"
import { ReadersTurn } from "../locks/readers-turn.ts"
import {
  DMS,
  holderOfFile,
  holderOfWal,
  releaseAndClose,
  releaseFile,
  SHARED,
  tryLockFile,
  tryTake,
} from "../locks/sqlite-locks.ts"
import { type WaitListener, WaitReport } from "../locks/wait-report.ts"
import { WalIndexFile } from "../wal/wal-index-file.ts"
import type { WalTarget } from "../wal/wal-writer.ts"
import type { KernelCache } from "./kernel-cache.ts"

/** The kernel's node of an open file of the mount: it stays what it is while the file is open. */
function nodeIdOf(fd: Fd): number {
  const status = emptyStatus()
  statusOf("mount:stat", fd, status)
  return status.inode
}

/** A file and its node. Nothing stays open when it throws. */
function openNode(path: string, flags: number): { readonly fd: Fd; readonly nodeId: number } {
  const fd = openOwnFile("mount:open", path, flags)
  try {
    return { fd, nodeId: nodeIdOf(fd) }
  } catch (error) {
    closeFile(fd)
    throw error
  }
}

/** For a file that nobody here has open. */
export function nodeIdAt(directory: string, name: string): number {
  const { fd, nodeId } = openNode(join(directory, name), O_RDONLY)
  closeFile(fd)
  return nodeId
}

export interface MountedFilesContext extends WaitListener {
  readonly name: string
  readonly fuseDir: string
  /** Aborted when the node stops, and before the files are closed. */
  readonly signal: AbortSignal
}

interface Wait {
  attempt(isLate: boolean): boolean
  /** The process that holds the lock, if it is known. */
  holder(): number | undefined
}

export class MountedFiles {
  readonly #context: MountedFilesContext
  readonly #readersTurn: ReadersTurn
  readonly #patience: Patience
  #database: Fd | undefined
  #nodeId = 0
  #shm: Fd | undefined
  #wal: Fd | undefined
  #walNodeId = 0
  #shmNodeId = 0
  #isLockedOut = false // every client, in a rollback mode

  constructor(context: MountedFilesContext) {
    this.#context = context
    this.#readersTurn = new ReadersTurn(context.clock)
    this.#patience = new Patience(context.clock)
  }

  /** The kernel's node of the database file, while it is attached. */
  get nodeId(): number {
    return this.#nodeId
  }

  /** The kernel's node of the WAL, while it is attached in WAL mode. */
  get walNodeId(): number {
    return this.#walNodeId
  }

  /** The WAL. It is attached in WAL mode. */
  get wal(): WalTarget {
    const wal = must(this.#wal, "WAL")
    return {
      write: (address, size, offset) => writeAt("mount:write", wal, address, size, offset),
    }
  }

  get hasWalIndex(): boolean {
    return this.#shm !== undefined
  }

  /**
   * Whether the files that are attached in WAL mode still have their names. While SHARED is held, no client that
   * follows SQLite's protocol takes the names away. Behind a client that does not, nobody sees what is written here.
   */
  get areNamed(): boolean {
    return (
      this.nodeOf("-wal") === this.#walNodeId &&
      this.nodeOf("-shm") === this.#shmNodeId &&
      this.nodeOf("") === this.#nodeId
    )
  }

  /** The kernel's node of the file that has the name now. */
  nodeOf(suffix: "" | "-wal" | "-shm"): number | undefined {
    return inodeAt("mount:stat", this.#path(suffix))
  }

  /** The wal-index. It is attached in WAL mode. */
  get walIndex(): { readonly shm: Fd; readonly index: WalIndexFile } {
    const shm = must(this.#shm, "wal-index")
    return { shm, index: new WalIndexFile(shm) }
  }

  /** True when the WAL was not attached before. */
  async attach(isWalMode: boolean): Promise<boolean> {
    const database = this.#attachDatabase()
    if (!isWalMode) {
      this.#leaveWalMode()
      return false
    }
    if (this.#shm !== undefined) return false
    await this.#until("share the database", {
      attempt: () => tryTake(database, SHARED),
      holder: () => holderOfFile(database),
    })
    if (this.#wal === undefined) {
      const wal = openNode(this.#path("-wal"), O_RDWR | O_CREAT)
      this.#wal = wal.fd
      this.#walNodeId = wal.nodeId
    }
    const { fd: shm, nodeId } = openNode(this.#path("-shm"), O_RDWR | O_CREAT)
    try {
      await this.#until("share the wal-index", {
        attempt: () => tryTake(shm, DMS),
        holder: () => holderOfWal(shm),
      })
    } catch (error) {
      closeFile(shm)
      throw error
    }
    this.#shm = shm
    this.#shmNodeId = nodeId
    return true
  }

  /**
   * Makes the kernel forget pages of the database file, and asks for its size at once. A reader that asks loses the
   * answer when the kernel is told to forget again meanwhile, and reads on with the old size (Linux:
   * fuse_change_attributes_i). Nobody tells the kernel while this asks.
   */
  forgetPages(cache: KernelCache, pageSize: number, pgnos: readonly number[]): void {
    cache.forgetPages(this.#nodeId, pageSize, pgnos)
    sizeOf("mount:stat", must(this.#database, "database"))
  }

  #attachDatabase(): Fd {
    if (this.#database !== undefined) return this.#database
    const { fd, nodeId } = openNode(this.#path(""), O_RDWR)
    this.#database = fd
    this.#nodeId = nodeId
    return fd
  }

  #leaveWalMode(): void {
    if (this.#shm === undefined && this.#wal === undefined) return
    this.closeWal()
    if (this.#database !== undefined) releaseFile(this.#database)
  }

  /** Closes the WAL and its index, with all locks on that. attach() opens them again. */
  closeWal(): void {
    if (this.#shm !== undefined) closeFile(this.#shm)
    if (this.#wal !== undefined) closeFile(this.#wal)
    this.#shm = undefined
    this.#wal = undefined
  }

  /** Gives up the files with all locks. */
  detach(): void {
    this.closeWal()
    if (this.#database !== undefined) releaseAndClose(this.#database)
    this.#database = undefined
    this.#isLockedOut = false
  }

  /**
   * Runs `write` while no client is in a transaction, in a rollback mode. When it throws, the locks stay (lockedOut),
   * and clients wait for another try: the file may have half of a transaction.
   */
  async exclusively(write: () => void): Promise<void> {
    const { clock, signal } = this.#context
    const database = must(this.#database, "database")
    await this.#readersTurn.over(signal)
    const startMs = clock.monotonicMs()
    let sinceMs = startMs // since when nobody is let in
    const attempt = (isLate: boolean) => {
      if (!isLate) sinceMs = clock.monotonicMs()
      return tryLockFile(database, isLate)
    }
    const holder = () => holderOfFile(database)
    await this.#until("write the database", { attempt, holder }, this.#patience.leftMs)
    this.#patience.spend(sinceMs - startMs)
    this.#isLockedOut = true
    write()
    this.#isLockedOut = false
    releaseFile(database)
    this.#readersTurn.begin(sinceMs)
  }

  /** After exclusively() has thrown, what every client is still locked out with. */
  get lockedOut(): LockedOut | undefined {
    if (this.#database === undefined || !this.#isLockedOut) return undefined
    return { database: this.#database, shm: undefined }
  }

  /** Runs `leave` when nobody else has the database open in WAL mode, and detaches. */
  tryAlone(leave: () => void): void {
    const database = must(this.#database, "database")
    if (!tryLockFile(database, false)) return
    try {
      leave()
    } finally {
      this.detach()
    }
  }

  /** Removes the WAL and the wal-index, which nobody needs any more. */
  removeWal(): void {
    unlinkFile("mount:unlink", this.#path("-wal"))
    unlinkFile("mount:unlink", this.#path("-shm"))
  }

  #path(suffix: string): string {
    return join(this.#context.fuseDir, this.#context.name + suffix)
  }

  async #until(what: string, { attempt, holder }: Wait, patienceMs = PATIENCE_MS): Promise<void> {
    const { clock, signal, name } = this.#context
    using report = new WaitReport(this.#context, name, what)
    const waited = () => report.waited(holder)
    await untilLocked({ clock, signal, patienceMs, isCrowded: true, waited }, attempt)
  }
}
