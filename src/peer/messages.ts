/** What the main thread and the peer thread tell each other. */
import type { FrozenState } from "../capture/frozen-view.ts"
import type { DatabaseHandover } from "../capture/handover.ts"
import type { LastTransaction } from "../capture/wal-tracker.ts"
import type { Answer, CallTo } from "../lib/calls.ts"
import type { ErrorCode } from "../lib/errors.ts"
import type { LogOptions } from "../lib/log.ts"
import type { Pos, Txid } from "../ltx/pos.ts"
import type { CachedRange } from "../mount/messages.ts"
import type { ReplaceOutcome } from "../mount/names/replace.ts"
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

/** What the main thread calls it for. */
export interface PeerCalls {
  /** On a replica: keeps the database as it is now, until `thaw`. Undefined: there is no such database here. */
  freeze(given: { snapshot: number; database: string }): FrozenState | undefined
  /** Syncs a database and removes LTX files that nobody needs. Returns how many. */
  maintain(given: { request: UpkeepRequest }): number
  /** Publishes the transaction if its writer has not, and if that can be done. */
  publish(given: { database: string; last: LastTransaction }): void
  /**
   * On the primary: puts the content of DataDir.importPath() in the place of a database. Undefined: the file has to be
   * prepared again, since the database has changed.
   */
  import(given: { database: string; file: number }): Pos | undefined
  /** Keeps clients from writing, until `unlock-writes` with the same number. Fails when that takes too long. */
  "lock-writes"(given: WriteLockRequest): void
  /** On the primary: makes a database without content. */
  "make-database"(given: { database: string }): void
  /** Locks `<db>-lock` of the mount before any client can, until `let-lock-file-go`. */
  "hold-lock-file"(given: { database: string }): void
  /** Gives up what a replica has, for the fs thread, when what has come is applied; then `let-go`. */
  "hand-over"(): readonly DatabaseHandover[]
  /** The fs thread has taken over: lets go of the files, and tells the kernel. */
  "let-go"(): void
  /** Takes over from the fs thread. */
  "take-over"(given: { handovers: readonly DatabaseHandover[] }): void
  /** Gives up one database, as with `hand-over`: its write lock is borrowed, or back from who has borrowed it. */
  give(given: { database: string }): DatabaseHandover
  "let-go-of"(given: { database: string }): void
  /** Takes one from the fs thread. `lock` is what clients are kept from writing with, and stays. */
  take(given: { handover: DatabaseHandover; lock: number | undefined }): void
}

/** `writtenTxid` is undefined of a database that the peer thread has: then it knows. */
export type UpkeepRequest = Omit<MaintenanceRequest, "writtenTxid"> & {
  readonly writtenTxid: Txid | undefined
}

export interface WriteLockRequest {
  readonly lock: number
  readonly databases: readonly string[]
  readonly limitMs: number
  readonly isApplying: boolean // transactions, meanwhile
}

export type PeerCommand =
  | CallTo<PeerCalls>
  | { readonly type: "start"; readonly options: PeerThreadOptions }
  /** The mount answers; its device, for invalidations. */
  | { readonly type: "mounted"; readonly device: Fd }
  /** A part of an LTX file that a replica receives. Parts of one file come in order; files do not mix. */
  | {
      readonly type: "ltx"
      readonly file: number // counts files
      readonly database: string
      readonly bytes: Uint8Array
      readonly isLast: boolean
    }
  /** Before the first part of a snapshot: what the primary says of the state that it is to replace. */
  | {
      readonly type: "verdict"
      readonly file: number
      readonly database: string
      readonly verdict: HistoryVerdict
    }
  /** The connection broke inside a file. */
  | { readonly type: "ltx-abort"; readonly file: number }
  /** The name of the primary that this node follows has changed. */
  | { readonly type: "primary"; readonly name: string | undefined }
  | { readonly type: "thaw"; readonly snapshot: number }
  /** Read a frozen database and send it. */
  | {
      readonly type: "snapshot"
      readonly snapshot: number
      readonly database: string
      readonly state: FrozenState
      readonly format: SnapshotFormat
    }
  /** The receiver has taken that many bytes of a snapshot and wants more. */
  | { readonly type: "snapshot-credit"; readonly snapshot: number; readonly size: number }
  | { readonly type: "snapshot-cancel"; readonly snapshot: number }
  /** The daemon has changed the database file: tell the kernel. */
  | { readonly type: "rewritten"; readonly database: string }
  /** As the fs thread's `retire`, of a database that this thread has. */
  | { readonly type: "retire"; readonly database: string }
  /** A file is gone without a request: tell the kernel. */
  | { readonly type: "vanished"; readonly name: string }
  /** The kernel has bytes in its cache that were not written. */
  | ({ readonly type: "write-refused" } & CachedRange)
  /** The fs thread's answer to a `replace` of this thread. */
  | { readonly type: "replaced"; readonly request: number; readonly outcome: ReplaceOutcome }
  /** Whether a client may have the lock of `<db>-lock` that it waits for. */
  | {
      readonly type: "lock-file-granted"
      readonly database: string
      readonly isGranted: boolean
    }
  | { readonly type: "let-lock-file-go"; readonly database: string }
  | { readonly type: "unlock-writes"; readonly lock: number }
  /** Sync everything, then set the segment of the commit log free. */
  | { readonly type: "release-segment"; readonly segment: number }
  /** For Counters, and whether files can be opened again. */
  | { readonly type: "measure" }
  /** Make files for transactions, as many as are wanted. */
  | { readonly type: "make-spares" }
  /** The mount is gone: leave the databases ready for a quick start. Answered by `settled`. */
  | { readonly type: "settle" }
  /** Close everything that is open in the mount, so that it can be unmounted. */
  | { readonly type: "detach" }

export type PeerEvent =
  | Answer
  | { readonly type: "ready"; readonly believed: readonly string[] }
  /** A database is damaged: nothing is applied to it until the next start. */
  | { readonly type: "refused-database"; readonly database: string; readonly problem: string }
  /** Of the commit log, which is not there and is to be prepared. */
  | { readonly type: "segment-missing"; readonly segment: number }
  | { readonly type: "failed"; readonly message: string } // cannot go on
  | { readonly type: "applied"; readonly file: number; readonly database: string }
  | {
      readonly type: "refused" // the LTX file cannot be applied
      readonly file: number
      readonly database: string
      readonly code: ErrorCode
      readonly message: string
    }
  /** So many bytes of LTX files have been taken off the main thread's hands. */
  | { readonly type: "taken"; readonly size: number }
  | { readonly type: "changed" }
  /** A state that the primary does not have was replaced, and is kept. */
  | { readonly type: "diverged"; readonly database: string }
  | { readonly type: "snapshot-data"; readonly snapshot: number; readonly bytes: Uint8Array }
  | {
      readonly type: "snapshot-end"
      readonly snapshot: number
      readonly problem: string | undefined
    }
  /** How many LTX files a database has, before the answer to the `maintain` that counted them. */
  | {
      readonly type: "ltx-usage"
      readonly database: string
      readonly count: number
      readonly size: number
    }
  | { readonly type: "detached" }
  | { readonly type: "settled" }
