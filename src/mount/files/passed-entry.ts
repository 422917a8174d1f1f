import { FuseError } from "../../fuse/fuse-error.ts"
import type { BackedFile } from "../../store/backed-file.ts"
import { Errno } from "../../sys/errno.ts"
import type { Bypass } from "../bypass.ts"
import type { MountedDatabase } from "../databases/mounted-database.ts"
import { UsedEntry } from "./used-entry.ts"

/**
 * A file beside a database that clients may read, write and map past the daemon (mount/bypass.ts). The kernel has it open
 * in one way at a time: whoever opens it first decides for everybody, until nobody has it open.
 *
 *               the first open, on a primary           the role goes
 *     cached ──────────────────────────────▶ passed ─────────────────▶ kept
 *       ▲         nobody has it open           │ ▲     the role comes   │
 *       ├──────────────────────────────────────┘ └──────────────────────┤
 *       └───────────────────────────────────────────────────────────────┘
 *                 no client has it open: the peer thread opens it anew
 *
 *   cached   Each write is a request, as with --capture strict. A client that has it so when the role comes goes on
 *            so: its commits are captured at its WRITE requests.
 *   passed   Clients write to it, and the daemon captures behind them.
 *   kept     On a replica, for clients of the time when it was the primary. The peer thread took WRITE before the fs
 *            thread captured for the last time, and has it until this state ends (peer/locks/held-locks.ts): nobody but
 *            the peer thread adds a frame. It applies through handles that pass like theirs, so they see its frames.
 *            Whoever opens the WAL to write is refused, and SQLite then opens it to read. Nobody borrows the write lock,
 *            also when readers alone are left and WRITE is given up (MountedDatabase.borrow()).
 *
 * While the role goes, from shut() to kept, nobody begins to pass. A sync of the WAL is refused, and with it the commit of
 * a FULL writer. A NORMAL writer may commit until it gives WRITE up: that is captured last, on top of what the new primary
 * has, and kept as diverged. A client in locking_mode=EXCLUSIVE has no WRITE to give up, and is waited for.
 *
 *   handle, state           begins to write               commits       sync of the WAL   checkpoint
 *   cached, on a primary    may                           captured      done              captured
 *   cached, on a replica    may, its first write fails    –             done              "busy"
 *   passed                  may                           captured      captures          captured before it
 *   passed, role goes       may, until the peer waits     NORMAL only   refused           refused
 *   kept                    "database is locked"          –             refused           "busy"
 *   kept, opened by then    "readonly database"           –             refused           "busy"
 *
 * These pass:
 *
 *   SQLite          whoever else writes to the file does so through the daemon, which refuses it, or not at all
 *   clients that    are found by the next daemon, which has to keep them from writing when this one was killed
 *                   (sys/process/stale-handles.ts)
 *   clients that    share the database. One in locking_mode=EXCLUSIVE could not be kept from writing: it takes no lock
 *                   for that
 */
export abstract class PassedEntry extends UsedEntry {
  protected readonly database: MountedDatabase
  #backingId = 0
  /** Handles of clients, as long as they pass. */
  readonly #clients = new Set<number>()

  constructor(nodeId: number, name: string, database: MountedDatabase, file: BackedFile) {
    super(nodeId, name, file)
    this.database = database
  }

  /** The other one of the WAL and its wal-index: clients have both past the daemon, or none. */
  protected abstract readonly other: PassedEntry | undefined
  protected abstract openBacking(bypass: Bypass): number

  /** Clients, or the peer thread, have it open past the daemon. */
  get isPassed(): boolean {
    return this.#backingId > 0
  }

  /** Clients have. */
  get hasPassedClients(): boolean {
    return this.#clients.size > 0
  }

  get hasName(): boolean {
    return !this.isRemoved
  }

  /** It passes on a replica, for clients of the time when that was the primary. */
  protected get isKept(): boolean {
    return this.isPassed && !this.isRemoved && this.database.isReplica
  }

  override get backingId(): number {
    return this.#backingId
  }

  override checkWritable(thread: number): void {
    if (!this.isRemoved) this.noting(() => this.database.assertWriter(thread, this.name))
  }

  override opened(thread: number, isToWrite: boolean, handle: number): void {
    const { database } = this
    if (!database.mayBePassed) return super.opened(thread, isToWrite, handle)
    const isPeer = database.isPeer(thread)
    const isSeen = isPeer || database.clients.areSeenToHave(thread)
    if (!isSeen && isToWrite && database.clients.has(thread)) database.hasUnseen = true
    if (this.isPassed && isToWrite && !isSeen) this.#refuse(thread)
    const isFirst = !this.hasUsers
    super.opened(thread, isToWrite, handle)
    if (isFirst && isSeen && !database.hasUnseen) this.#beginPassing()
    if (!this.isPassed) return
    if (!isPeer) this.#clients.add(handle)
    else this.database.endKeeping()
  }

  #beginPassing(): void {
    const { database, other } = this
    const { bypass } = database
    if (bypass === undefined) return
    if (other?.hasUsers === true ? !other.isPassed : database.isHeldAlone) return
    this.#backingId = this.openBacking(bypass)
  }

  /** It cannot be open in two ways at a time. From the next one that opens it first, nobody passes. */
  #refuse(thread: number): never {
    const { database, name } = this
    if (!database.clients.has(thread)) return database.refuseStranger(name)
    database.sayUnseen(name)
    throw FuseError.of(Errno.EACCES)
  }

  override released(handle: number): void {
    super.released(handle)
    this.#clients.delete(handle)
    if (!this.isPassed) return
    if (this.hasUsers) return this.database.endKeeping()
    this.database.endPassing(this.#backingId)
    this.#backingId = 0
  }

  /** Clients that pass would go on in a file that nobody shares with them. */
  override removing(): void {
    this.checkRemover()
    if (this.isKept && !this.database.isPeerAsking) throw FuseError.of(Errno.EBUSY)
    super.removing()
  }

  /** Throws when another program removes what clients have in use: they would go on in it without the others. */
  protected checkRemover(): void {
    if (this.hasUsers) this.database.assertRemover(this.name)
  }
}
