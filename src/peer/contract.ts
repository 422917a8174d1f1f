/** What the peer thread and the main thread do for each other (lib/port.ts says how). */
import type { MessagePort } from "node:worker_threads"
import type { FrozenState } from "../capture/frozen-view.ts"
import type { DatabaseHandover, SharedHistoryState, WrittenState } from "../capture/handover.ts"
import type { DatabaseOwner } from "../capture/ownership.ts"
import type { ErrorCode } from "../lib/errors.ts"
import type { LogLine, LogOptions } from "../lib/log.ts"
import type { Pos } from "../ltx/pos.ts"
import type { CachedRange } from "../mount/contract.ts"
import type { ReplaceOutcome, ReplaceRequest } from "../mount/names/replace.ts"
import type { LastRun } from "../recovery/recover.ts"
import type { Fd } from "../sys/file.ts"
import type { FileAccess } from "../sys/file-access.ts"
import type { HistoryVerdict } from "./receive/history-verdict.ts"
import type { MaintenanceRequest } from "./serve/maintenance.ts"
import type { SnapshotFormat } from "./serve/snapshot-format.ts"

export interface PeerThreadOptions {
  readonly dataDir: string
  readonly access: FileAccess | undefined // for databases that no client makes
  readonly fuseDir: string
  readonly hostname: string
  readonly positions: SharedArrayBuffer
  readonly flags: SharedArrayBuffer
  readonly counters: SharedArrayBuffer
  readonly isPrimary: boolean
  readonly databases: readonly string[] | undefined // patterns of a replica's databases; undefined: all
  readonly nodeId: bigint
  readonly lastRun: LastRun
  readonly mailboxFd: Fd // write end of the fs thread's mailbox
  readonly log: LogOptions
}

/** `written` is undefined for a database of the peer thread, which then knows it. */
export type UpkeepRequest = Omit<MaintenanceRequest, "writtenTxid" | "state"> & {
  readonly written: WrittenState | undefined
}

export type RecoveredDatabase =
  | { readonly kind: "taken"; readonly isBelieved: boolean } // the thread has it, if there is anything of it
  /** For the fs thread. */
  | {
      readonly kind: "found"
      readonly state: SharedHistoryState | undefined
      readonly isBelieved: boolean
    }
  | { readonly kind: "refused"; readonly problem: string; readonly mayPass: boolean }

/** Databases that clients may write to past the fs thread, and the lock that keeps them from it. */
export interface KeptWrites {
  readonly lock: number
  readonly databases: readonly string[]
}

/** Called by the main thread. DatabaseOwner hands databases over. */
export interface PeerThread extends DatabaseOwner {
  /**
   * Recovers the databases, on a replica. Returns those whose saved checksums were believed. `fromFs` brings what the
   * fs thread asks directly.
   */
  start(options: PeerThreadOptions, fromFs: MessagePort): readonly string[]
  /**
   * Tries a database again that was refused. It takes time in proportion to the database's size, in which the thread
   * does nothing else. Call it on the primary, too, but not while the role changes.
   */
  recover(database: string): RecoveredDatabase
  /**
   * The mount answers; `device` is its device, for invalidations, and `fsThread` the kernel's id of the thread that has
   * it, too, in a table of its own; 0: in that of all. Returns whether that one is used: then the caller closes `device`.
   */
  mounted(device: Fd, fsThread: number): boolean
  /** The name of the primary that this node follows has changed. */
  primary(name: string | undefined): void

  /** Before the first part of a snapshot: the primary's word on the state that it will replace. */
  judge(file: number, database: string, verdict: HistoryVerdict): void
  /**
   * A part of an LTX file, by the number of the file. Parts of one file come in order; files do not mix. Answered when
   * the main thread need not hold it any more, for the last part after `applied` or `refusedFile`.
   */
  ltx(file: number, database: string, bytes: Uint8Array, isLast: boolean): void
  /** The connection broke inside a file. */
  abort(file: number): void

  /** `kept` stay locked until `unpassed`. */
  inherit(handovers: readonly DatabaseHandover[], kept?: KeptWrites): void
  /** On a replica: no client has the WAL or its index open past the fs thread any more. */
  unpassed(database: string): void

  /** On a replica: keeps the database as it is now, until `thaw`. Undefined: there is no such database here. */
  freeze(snapshot: number, database: string): FrozenState | undefined
  thaw(snapshot: number): void
  /** Reads a frozen database and sends it, as parts. Answered when there are no more. */
  snapshot(snapshot: number, database: string, state: FrozenState, format: SnapshotFormat): void
  /** The receiver has taken this many bytes of a snapshot and wants more. */
  snapshotCredit(snapshot: number, size: number): void
  cancelSnapshot(snapshot: number): void

  /**
   * Keeps clients from writing to the databases, until `unlockWrites` with the returned number. Fails when that takes
   * too long. `isApplying`: the thread itself applies transactions meanwhile. `passed` are those that clients may write
   * to past the fs thread.
   */
  lockWrites(
    databases: readonly string[],
    limitMs: number,
    isApplying: boolean,
    passed?: readonly string[],
  ): number
  /** Fails unless the lock keeps clients from writing to the WALs of all these databases. */
  checkWrites(lock: number, databases: readonly string[]): void
  unlockWrites(lock: number): void
  /** `lock` keeps clients from writing to the database, and stays. */
  borrow(handover: DatabaseHandover, lock?: number): void
  takeBack(handover: DatabaseHandover, lock?: number): void
  /** The fs thread has the lent or returned database: closes its files, and tells the kernel. */
  letGo(database: string): void
  /** The same for all databases that were handed over. */
  letGoAll(): void

  /** On the primary: makes a database without content. Does nothing when it exists. */
  makeDatabase(database: string): void
  /**
   * On the primary: puts the content of DataDir.importPath(file) in the place of a database. Undefined: the file has to
   * be prepared again, because the database has changed.
   */
  import(database: string, file: number): Pos | undefined

  /** The daemon has taken a file out of the mount: tells the kernel. */
  vanished(name: string): void
  /** Makes the kernel forget bytes that were not written. */
  writeRefused(range: CachedRange): void

  /** Syncs a database and removes LTX files that nobody needs. Returns their number. */
  maintain(request: UpkeepRequest): number
  /** Like the fs thread's `retire`, for a database of this thread. */
  retire(database: string): void
  /** Syncs everything, then frees the segment of the commit log. */
  releaseSegment(segment: number): void
  /** Makes spare files for transactions, as many as are wanted. */
  makeSpares(): void
  /** Fills Counters, and looks whether files can be opened again. */
  measure(): void

  /** Closes everything that is open in the mount, so that it can be unmounted. */
  detach(): void
  /** The mount is gone: leaves the databases ready for a quick start. */
  settle(): void
}

export interface PeerHost {
  /** Positions have changed: look at Positions. */
  changed(): void
  /** Nothing is applied to the database, until the next start or, when that may pass, until it is recovered. */
  refused(database: string, problem: string, mayPass: boolean): void
  /** As FsHost has it. */
  unmade(problems: [database: string, problem: string][]): void
  /** What has come for the database waits for a reader, "PID (NAME)"; undefined: no longer. */
  waiting(database: string, process: string | undefined): void
  /** A segment of the commit log is missing and must be prepared. */
  segmentMissing(segment: number): void
  /** What has come for the database is durable up to there, and may not be applied yet. Only while somebody wants it. */
  stored(database: string, pos: Pos): void
  applied(file: number): void
  /** The LTX file cannot be applied. */
  refusedFile(file: number, code: ErrorCode, message: string): void
  snapshotPart(snapshot: number, bytes: Uint8Array): void
  /** The number and the size of a database's LTX files, before the answer to the `maintain` that counted them. */
  ltxUsage(database: string, count: number, size: number): void
  /** Has the fs thread put the content of a file in the place of a database. */
  replace(request: ReplaceRequest): ReplaceOutcome
  /** A line of this thread's log, which is written. */
  logged(line: LogLine): void
  /** The thread cannot go on. */
  failed(message: string): void
}
