/** What the peer thread and the main thread do for each other (lib/port.ts says how). */
import type { FrozenState } from "../capture/frozen-view.ts"
import type { DatabaseHandover } from "../capture/handover.ts"
import type { LastTransaction } from "../capture/wal-tracker.ts"
import type { ErrorCode } from "../lib/errors.ts"
import type { LogOptions } from "../lib/log.ts"
import type { Pos, Txid } from "../ltx/pos.ts"
import type { CachedRange } from "../mount/contract.ts"
import type { ReplaceOutcome, ReplaceRequest } from "../mount/names/replace.ts"
import type { Fd } from "../sys/file.ts"
import type { FileAccess } from "../sys/file-access.ts"
import type { HistoryVerdict } from "./receive/history-verdict.ts"
import type { MaintenanceRequest } from "./serve/maintenance.ts"
import type { SnapshotFormat } from "./serve/snapshot-format.ts"

export interface PeerThreadOptions {
  readonly dataDir: string
  readonly access: FileAccess | undefined // of databases that no client makes
  readonly fuseDir: string
  readonly hostname: string
  readonly positions: SharedArrayBuffer
  readonly flags: SharedArrayBuffer
  readonly counters: SharedArrayBuffer
  readonly isPrimary: boolean
  readonly databases: readonly string[] | undefined // that a replica has, as patterns; undefined for all
  readonly nodeId: bigint
  readonly mailboxFd: Fd // write end of the fs thread's mailbox
  readonly log: LogOptions
}

/** `writtenTxid` is undefined of a database that the peer thread has: then it knows. */
export type UpkeepRequest = Omit<MaintenanceRequest, "writtenTxid"> & {
  readonly writtenTxid: Txid | undefined
}

export interface PeerThread {
  /** Recovers the databases, on a replica. Returns those whose saved checksums were believed. */
  start(options: PeerThreadOptions): readonly string[]
  /** The mount answers; its device, for invalidations. */
  mounted(device: Fd): void
  /** The name of the primary that this node follows has changed. */
  primary(name: string | undefined): void

  /** Before the first part of a snapshot: what the primary says of the state that it is to replace. */
  judge(file: number, database: string, verdict: HistoryVerdict): void
  /**
   * A part of an LTX file, by the number of the file. Parts of one file come in order; files do not mix. Answered when
   * it is off the main thread's hands, the last one after `applied` or `refusedFile`.
   */
  ltx(file: number, database: string, bytes: Uint8Array, isLast: boolean): void
  /** The connection broke inside a file. */
  abort(file: number): void

  /** On a replica: keeps the database as it is now, until `thaw`. Undefined: there is no such database here. */
  freeze(snapshot: number, database: string): FrozenState | undefined
  thaw(snapshot: number): void
  /** Reads a frozen database and sends it, as parts. Answered when there are no more. */
  snapshot(snapshot: number, database: string, state: FrozenState, format: SnapshotFormat): void
  /** The receiver has taken that many bytes of a snapshot and wants more. */
  snapshotCredit(snapshot: number, size: number): void
  cancelSnapshot(snapshot: number): void

  /**
   * Keeps clients from writing to the databases, until `unlockWrites` with the number that is returned. Fails when
   * that takes too long. `isApplying`: the thread itself applies transactions meanwhile.
   */
  lockWrites(databases: readonly string[], limitMs: number, isApplying: boolean): number
  unlockWrites(lock: number): void
  /** Gives up one database, for the fs thread, when what has come is applied; then `letGoOf`. */
  give(database: string): DatabaseHandover
  /** The fs thread has taken the database: clients may write it. */
  letGoOf(database: string): void
  /** Takes one database. `lock` keeps clients from writing to it, and stays. */
  take(handover: DatabaseHandover, lock?: number): void
  /** Ends applying, when what has come is applied: gives up everything, for the fs thread; then `letGo`. */
  handOver(): readonly DatabaseHandover[]
  /** The fs thread has taken over: lets go of the files, and tells the kernel. */
  letGo(): void
  /** Begins to apply, on what the fs thread has given up. */
  takeOver(handovers: readonly DatabaseHandover[]): void

  /** On the primary: makes a database without content. Nothing happens when it is there. */
  makeDatabase(database: string): void
  /**
   * On the primary: puts the content of DataDir.importPath(file) in the place of a database. Undefined: the file has
   * to be prepared again, since the database has changed.
   */
  import(database: string, file: number): Pos | undefined
  /** Publishes the transaction if its writer has not, and if that can be done. */
  publish(database: string, last: LastTransaction): void
  /** Locks `<db>-lock` of the mount before any client can, until `letLockFileGo`: see locks/halt-bytes.ts. */
  holdLockFile(database: string): void
  /** Whether a client may have the lock of it that it waits for. */
  lockFileGranted(database: string, isGranted: boolean): void
  letLockFileGo(database: string): void

  /** The daemon has changed the database file: tells the kernel. */
  rewritten(database: string): void
  /** It has taken a file out of the mount: the same. */
  vanished(name: string): void
  /** Has the kernel forget what was not written. */
  writeRefused(range: CachedRange): void

  /** Syncs a database and removes LTX files that nobody needs. Returns how many. */
  maintain(request: UpkeepRequest): number
  /** As the fs thread's `retire`, of a database that this thread has. */
  retire(database: string): void
  /** Syncs everything, then sets the segment of the commit log free. */
  releaseSegment(segment: number): void
  /** Makes files for transactions, as many as are wanted. */
  makeSpares(): void
  /** For Counters, and whether files can be opened again. */
  measure(): void

  /** Closes everything that is open in the mount, so that it can be unmounted. */
  detach(): void
  /** The mount is gone: leaves the databases ready for a quick start. */
  settle(): void
}

export interface PeerHost {
  /** Positions have changed: look at Positions. */
  changed(): void
  /** A database is damaged: nothing is applied to it until the next start. */
  refused(database: string, problem: string): void
  /** Of the commit log, which is not there and is to be prepared. */
  segmentMissing(segment: number): void
  applied(file: number): void
  /** The LTX file cannot be applied. */
  refusedFile(file: number, code: ErrorCode, message: string): void
  /** A state that the primary does not have was replaced, and is kept. */
  diverged(database: string): void
  snapshotPart(snapshot: number, bytes: Uint8Array): void
  /** How many LTX files a database has, and their size, before the answer to the `maintain` that counted them. */
  ltxUsage(database: string, count: number, size: number): void
  /** Has the fs thread put the content of a file in the place of a database. */
  replace(request: ReplaceRequest): ReplaceOutcome
  /** The thread cannot go on. */
  failed(message: string): void
}
