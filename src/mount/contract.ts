/** What the fs thread and the others do for each other (lib/port.ts says how). */
import type { MessagePort } from "node:worker_threads"
import type { FrozenState } from "../capture/frozen-view.ts"
import type { DatabaseOwner } from "../capture/ownership.ts"
import type { LastTransaction } from "../capture/wal-tracker.ts"
import type { ErrorCode } from "../lib/errors.ts"
import type { LogOptions } from "../lib/log.ts"
import type { Txid } from "../ltx/pos.ts"
import type { Fd } from "../sys/file.ts"
import type { FileAccess } from "../sys/file-access.ts"
import type { ReplaceOutcome, ReplaceRequest } from "./names/replace.ts"

export interface FsThreadOptions {
  readonly dataDir: string
  readonly access: FileAccess | undefined // of databases that no client makes
  readonly positions: SharedArrayBuffer
  readonly flags: SharedArrayBuffer
  readonly lag: SharedArrayBuffer
  readonly counters: SharedArrayBuffer
  readonly recent: SharedArrayBuffer // RecentTransactions
  readonly isPrimary: boolean
  readonly nodeId: bigint
  readonly mailboxFd: Fd
  readonly fuseDebug: boolean
  readonly forwardWrites: boolean // fcntl(2) locks are requests
  readonly readOnlyOpens: boolean // by clients, on a replica
  readonly log: LogOptions
}

/** Bytes of a file of the mount, by its node. */
export interface CachedRange {
  readonly nodeId: number
  readonly offset: number
  readonly size: number
}

/** What a write lock is borrowed for: flock(2) on `<db>-lock`, or a client's own lock of the database. */
export type Borrower = "flock" | "writer"

/** For the main thread. But for the first two, it is done while the thread serves. Who has a database: DatabaseOwner. */
export interface FsThread extends DatabaseOwner {
  /**
   * Recovers the databases, on a primary. Returns those whose saved checksums were believed. Through the port come
   * messages that the mailbox cannot carry.
   */
  start(options: FsThreadOptions, beside: MessagePort): readonly string[]
  /**
   * Answers the mount from now on. `directory` is below it; `unwanted` are descriptors that it is not to keep open.
   * Returns whether it has the device to itself, when the others close it.
   */
  serve(device: Fd, directory: Fd, unwanted: readonly Fd[]): boolean
  /** Keeps the database as it is now, for a snapshot, until `thaw`. Undefined: there is no such database. */
  freeze(snapshot: number, database: string): FrozenState | undefined
  thaw(snapshot: number): void
  /** The last transaction of which everything is in the database file; undefined when there is none. */
  writtenTxid(database: string): Txid | undefined
  /** Takes no transaction any more, until `open`, and makes the LTX files of all there are, if there is room. */
  shut(): void
  open(): void
  /** On the primary: whether another node waits for clients to end their write transactions. */
  lending(database: string, isWanted: boolean): void
  /** A write lock that is borrowed is about to be given back: nobody begins to write. */
  closing(database: string): void
  /** A write lock that was borrowed is lost: clients commit nothing from here on. */
  lost(database: string): void
  /** Nobody knows yet what becomes of a `borrowForWriter`, and it takes longer. */
  writerLate(database: string): void
  /** Puts the content of a file in the place of a database. */
  replace(request: ReplaceRequest): ReplaceOutcome
  /** The database was dropped, and nothing is kept of it but that: it need not be known any more. */
  retire(database: string): void
  /** For Counters, and whether files can be opened again. */
  measure(): void
}

/** For the peer thread. */
export interface FsThreadOfPeer {
  /** The name of the primary that this node follows has changed. */
  primary(name: string | undefined): void
  dropped(database: string): void
  /** The kernel has no page any more of the transaction that a handover has undone (`isUndone`). */
  undoneForgotten(database: string): void
  /**
   * The name of a replica's database stands for another file now. `disguise` is what is added to the counters
   * in its header from now on (sqlite/header-disguise.ts); undefined: as before.
   */
  switched(database: string, disguise: number | undefined): void
  /** Whether a client holds WRITE of its WAL that does not know of all that counts (peer/wal/wal-touch.ts). */
  staleWriter(database: string, isThere: boolean): void
  /** A client waits for a lock of `<db>-lock`. Answered by `lockFileGranted`. */
  lockFileWanted(database: string): void
  /** It has given its lock up. */
  lockFileUnwanted(database: string): void
}

/** What the main thread does for the fs thread. */
export interface FsHost {
  /** Positions have changed: look at Positions. */
  changed(): void
  /** A database is damaged: nobody may use it until the next start. */
  refused(database: string, problem: string): void
  /** The daemon has changed the database file: the kernel must forget what it has of it. */
  rewritten(database: string): void
  /** A file is gone without a request: the kernel must forget the name, and its listing. */
  vanished(name: string): void
  /** The kernel must forget what it has of these bytes: they were not written. */
  writeRefused(range: CachedRange): void
  /** Somebody died who may not have published this transaction. Answered when that was looked at. */
  publish(database: string, last: LastTransaction): void
  /** A segment of the commit log is full: it is free when everything is synced. */
  segmentFull(segment: number): void
  /** One is not there. */
  segmentMissing(segment: number): void
  /** SpareFiles are running out. */
  sparesWanted(): void
  /** A transaction of a database whose write lock is borrowed. Returns why the primary does not take it. */
  propose(database: string, bytes: Uint8Array): ErrorCode | undefined
  /** The primary has taken a transaction of a borrowed database that could not be made here. */
  behind(database: string): void
  /** A client wants the write lock of a database. Returns why it is not to be had. */
  borrowForFlock(database: string, waits: boolean): ErrorCode | undefined
  /** The same for a writer with its own locks. Before the answer, `writerLate` may come. */
  borrowForWriter(database: string, isPatient: boolean): ErrorCode | undefined
  /** What is borrowed has a writer again. */
  inUse(database: string): void
  /** `isUnused`: whoever it was borrowed for is about to ask again. */
  giveBack(database: string, user: Borrower, isUnused: boolean): void
  /** Has the peer thread lock `<db>-lock` before any client can. */
  holdLockFile(database: string): void
  /** Whether the client that waits for a lock of it may have it. */
  lockFileGranted(database: string, isGranted: boolean): void
  /** The peer thread is to close it. */
  letLockFileGo(database: string): void
  /** The mount is gone: no client has a file of it open. */
  unmounted(): void
  /** After that, the databases are left ready for a quick start. */
  stopped(): void
  /** The thread cannot go on. */
  failed(message: string): void
}
