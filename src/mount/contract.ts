/** What the fs thread and the other threads do for each other (lib/port.ts says how). */
import type { MessagePort } from "node:worker_threads"
import type { FrozenState } from "../capture/frozen-view.ts"
import type { SharedHistoryState, WrittenState } from "../capture/handover.ts"
import type { DatabaseOwner } from "../capture/ownership.ts"
import type { LastTransaction } from "../capture/wal-tracker.ts"
import type { ErrorCode } from "../lib/errors.ts"
import type { LogLine, LogOptions } from "../lib/log.ts"
import type { Pos } from "../ltx/pos.ts"
import type { LastRun } from "../recovery/recover.ts"
import type { Fd } from "../sys/file.ts"
import type { FileAccess } from "../sys/file-access.ts"
import type { ReplaceOutcome, ReplaceRequest } from "./names/replace.ts"

export interface FsThreadOptions {
  readonly dataDir: string
  readonly access: FileAccess | undefined // for databases that no client makes
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
  /** Commits of a primary wait for replicas, and in strict mode are refused while too few can acknowledge them. */
  readonly sync: "strict" | "degrade" | undefined
  readonly lastRun: LastRun
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

/**
 * Called by the main thread, and all but `start` and `serve` while the thread serves. DatabaseOwner hands databases
 * over.
 */
export interface FsThread extends DatabaseOwner {
  /**
   * Recovers the databases, on a primary. Returns those whose saved checksums were believed. The port carries messages
   * that do not fit through the mailbox; `toPeer` leads to the peer thread.
   */
  start(options: FsThreadOptions, beside: MessagePort, toPeer: MessagePort): readonly string[]
  /**
   * Answers the mount from now on. `directory` lies below the mount, which is the device `mountedOn`. `mayPass`: clients
   * of a primary write to WALs past it, if the kernel lets them, which `passing` tells. Returns the kernel's id of the
   * thread when its descriptors are its own, in which case the caller closes the device and the directory; otherwise 0.
   */
  serve(device: Fd, directory: Fd, mountedOn: string, mayPass: boolean): number
  /**
   * Captures what clients have written past it: the positions have all of it when this is answered, except that of a
   * database that is returned.
   */
  follow(): string | undefined
  /** Keeps the database as it is now, for a snapshot, until `thaw`. Undefined: there is no such database. */
  freeze(snapshot: number, database: string): FrozenState | undefined
  thaw(snapshot: number): void
  /** What the database file holds, and what there is; undefined when there is no such database. */
  written(database: string): WrittenState | undefined
  /** Accepts no transaction until `open`. Makes the LTX files of all transactions, if there is room. */
  shut(): void
  open(): void
  /** Databases that clients may write to past the thread. While it is shut there come no more. */
  passed(): readonly string[]
  /** The node stops: on a replica, those who still pass commit nothing more. */
  bar(): void
  /** On the primary: whether another node waits for clients to end their write transactions. */
  lending(database: string, isWanted: boolean): void
  /** The borrowed write lock is about to go back: nobody begins to write. */
  closing(database: string): void
  /** The borrowed write lock is lost: clients commit nothing from here on. */
  lost(database: string): void
  /** A `borrowForWriter` takes longer, and nobody knows its outcome yet. */
  writerLate(database: string): void
  /** Puts the content of a file in the place of a database. */
  replace(request: ReplaceRequest): ReplaceOutcome
  /** On the primary: a database that was refused can be used; without a state there is nothing of it. */
  recovered(database: string, state: SharedHistoryState | undefined): void
  /** The database was dropped, and only its drop is kept: the thread may forget it. */
  retire(database: string): void
  /** Fills Counters, and looks whether files can be opened again. */
  measure(): void
}

/** For the peer thread. */
export interface FsThreadOfPeer {
  /** The name of the primary that this node follows has changed. */
  primary(name: string | undefined): void
  dropped(database: string): void
  /** The kernel no longer has any page of the transaction that a handover has undone (`isUndone`). */
  undoneForgotten(database: string): void
  /**
   * The name of a replica's database stands for another file now. From now on `disguise` is added to the counters in
   * its header (sqlite/header-disguise.ts); undefined: it stays as before.
   */
  switched(database: string, disguise: number | undefined): void
  /** Whether a client that does not know everything that counts holds WRITE of its WAL (peer/wal/wal-touch.ts). */
  staleWriter(database: string, isThere: boolean): void
  /** A client waits for a lock of `<db>-lock`. Answered by `lockFileGranted`. */
  lockFileWanted(database: string): void
  /** The client has given its lock up. */
  lockFileUnwanted(database: string): void
}

/**
 * What the peer thread does for the fs thread, which asks it directly: clients wait for it, and the main thread may be
 * busy. Between this and what passes through the main thread there is no order.
 */
export interface FsPeer {
  /** Publishes the transaction if its writer, who may have died, has not, and if that is possible. */
  publish(database: string, last: LastTransaction): void
  /** The fs thread has changed the database file: makes the kernel forget what it has of it. */
  rewritten(database: string): void
  /** On a replica: a client has taken the name of the WAL or of its index away. New clients must find what it has. */
  walRemoved(database: string): void
  /** Locks `<db>-lock` of the mount before any client can, until `letLockFileGo`: see peer/locks/halt-bytes.ts. */
  holdLockFile(database: string): void
  /** Whether the client that waits for a lock of the file may have it. */
  lockFileGranted(database: string, isGranted: boolean): void
  letLockFileGo(database: string): void
}

export const FS_PEER: ReadonlySet<string> = new Set<keyof FsPeer>([
  ...(["publish", "rewritten", "walRemoved"] as const),
  ...(["holdLockFile", "lockFileGranted", "letLockFileGo"] as const),
])

/** What the main thread does for the fs thread. */
export interface FsHost {
  /** Clients of a primary may write to WALs past the fs thread, or `problem` says why not. Told once, if they may. */
  passing(problem: string | undefined): void
  /** Positions have changed: look at Positions. */
  changed(): void
  /** Nobody may use the database, until the next start or, when that may pass, until it is recovered. */
  refused(database: string, problem: string, mayPass: boolean): void
  /** All databases whose LTX files cannot be made, and why. Each takes no transaction until that is over. */
  unmade(problems: [database: string, problem: string][]): void
  /** On a replica: only the peer thread has the WAL or its index open past the fs thread. */
  unpassed(database: string): void
  /** A file is gone without a request: the kernel must forget its name and its listing. */
  vanished(name: string): void
  /** These bytes were not written: the kernel must forget what it has of them. */
  writeRefused(range: CachedRange): void
  /** A segment of the commit log is full. It becomes free when everything is synced. */
  segmentFull(segment: number): void
  /** A segment is missing. */
  segmentMissing(segment: number): void
  /** SpareFiles are running out. */
  sparesWanted(): void
  /** A transaction of a database whose write lock is borrowed. Returns why the primary refuses it. */
  propose(database: string, bytes: Uint8Array): ErrorCode | undefined
  /**
   * Whether a transaction of a database may be made. Returns why it may not: too few replicas have what came before.
   * `isPatient`: the client may wait for them.
   */
  mayCommit(database: string, isPatient: boolean): ErrorCode | undefined
  /** A transaction is durable here. Returns when enough replicas have it; why, when nobody knows what becomes of it. */
  acknowledged(database: string, pos: Pos, isBorrowed: boolean): ErrorCode | undefined
  /** The primary has taken a transaction of a borrowed database that could not be made here. */
  behind(database: string): void
  /** A client wants the write lock of a database. Returns why it cannot have it. */
  borrowForFlock(database: string, waits: boolean): ErrorCode | undefined
  /** The same for a writer with its own locks. Before the answer, `writerLate` may come. */
  borrowForWriter(database: string, isPatient: boolean): ErrorCode | undefined
  /** A borrowed database has a writer again. */
  inUse(database: string): void
  /** `isUnused`: the client that it was borrowed for is about to ask again. */
  giveBack(database: string, user: Borrower, isUnused: boolean): void
  /** The mount is gone: no client has a file of it open. */
  unmounted(): void
  /** After that, the databases are left ready for a quick start, and all that clients have committed is captured. */
  stopped(isSettled: boolean): void
  /** A line of this thread's log, which is written. */
  logged(line: LogLine): void
  /** The thread cannot go on. */
  failed(message: string): void
}
