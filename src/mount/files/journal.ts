import { FuseError } from "../../fuse/fuse-error.ts"
import { writerOfJournal } from "../../sqlite/first-writes.ts"
import type { BackedFile } from "../../store/backed-file.ts"
import { Column } from "../../store/counters.ts"
import { Errno } from "../../sys/errno.ts"
import type { FileAccess } from "../../sys/file-access.ts"
import type { Region } from "../../sys/memory.ts"
import type { MountedDatabase } from "../databases/mounted-database.ts"
import { MadeUpEntry } from "./entry.ts"
import { UsedEntry } from "./used-entry.ts"

/**
 * `<db>-journal`: the rollback journal, whose end is the commit. No journal on a replica holds anything.
 *
 * A client that still writes to a removed one is in a transaction that was undone when this node lost its role. It must
 * not go on when the node has its role again: without the undone pages it would commit half a transaction.
 */
export class JournalEntry extends UsedEntry {
  readonly #database: MountedDatabase

  constructor(nodeId: number, name: string, database: MountedDatabase, file: BackedFile) {
    super(nodeId, name, file)
    this.#database = database
  }

  /** A journal undoes nothing that is on the disk; capture syncs it before it does (Capture). As where nobody asks. */
  override sync(): void {}

  override checkWritable(thread: number): void {
    if (!this.isRemoved) this.noting(() => this.#database.assertWriter(thread, this.name))
  }

  override checkStored(): void {
    if (!this.isRemoved) this.noting(() => this.#database.refuseStores(this.name))
  }

  override checkWriter(handle: number): void {
    this.#database.assertUndropped(handle)
  }

  override write(offset: number, size: number, from: Region, thread: number): void {
    this.#database.countWrite(Column.JOURNAL_WRITES)
    const capture = this.#capture
    const writer = writerOfJournal(offset, from.bytes.subarray(0, size))
    this.noting(() => this.#database.assertSqlite(writer, this.name))
    this.#database.assertKnown()
    if (offset === 0) this.#database.assertSynced()
    capture.journalWriting(offset, size, from.bytes, () => {
      super.write(offset, size, from, thread)
    })
    capture.journalWritten(offset, size, from.bytes)
  }

  override cuttingOff(size: number, handle: number | undefined, thread: number): void {
    if (this.isRemoved || size >= this.file.size()) return
    if (handle === undefined || !this.#database.clients.has(thread)) {
      this.#database.assertNotCutOff(this.name)
    }
  }

  override truncate(size: number): void {
    if (size === 0) this.#capture.journalEnding(() => super.truncate(size))
    else super.truncate(size)
  }

  override removing(): void {
    this.#capture.journalEnding(() => super.removing())
  }

  /** The daemon has undone the transaction in it. */
  abandon(): void {
    super.removing()
  }

  get #capture() {
    const { capture } = this.#database
    if (this.isRemoved) throw FuseError.of(Errno.EIO)
    if (capture === undefined) throw FuseError.of(Errno.EACCES)
    return capture
  }
}

/**
 * The journal that a client makes on a replica, and can write nothing to. It has no file, and goes with the client that
 * made it.
 *
 * If making it were refused, SQLite would say "attempt to write a readonly database", and a client inside an open
 * transaction would keep its locks, which block every writer. When instead the first write fails, SQLite undoes the
 * transaction and gives up all locks, whatever its client does (SQLite: sqlite3VdbeHalt, SQLITE_IOERR).
 */
export class RefusedJournalEntry extends MadeUpEntry {
  readonly #database: MountedDatabase
  readonly #madeMs: number
  #userCount = 0

  constructor(nodeId: number, name: string, database: MountedDatabase, madeMs: number) {
    super(nodeId, name)
    this.#database = database
    this.#madeMs = madeMs
  }

  /** Clients can write here by now: the name stands for a real journal. */
  get isOver(): boolean {
    return this.#database.capture !== undefined
  }

  get isUnused(): boolean {
    return this.#userCount === 0
  }

  override opened(): void {
    this.#userCount += 1
  }

  override released(): void {
    this.#userCount -= 1
  }

  override write(): void {
    throw FuseError.of(Errno.EROFS)
  }

  override truncate(): void {}

  override removing(): void {}

  protected content(): string {
    return ""
  }

  protected access(): FileAccess {
    return this.#database.access
  }

  protected modifiedMs(): number {
    return this.#madeMs
  }
}
