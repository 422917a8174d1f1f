/** What the main thread and the peer thread tell each other. */
import type { FrozenState } from "../capture/frozen-view.ts"
import type { DatabaseHandover } from "../capture/handover.ts"
import type { LastTransaction } from "../capture/wal-tracker.ts"
import type { ErrorCode } from "../lib/errors.ts"
import type { LogOptions } from "../lib/log.ts"
import type { Outcome } from "../lib/outcome.ts"
import type { Pos, Txid } from "../ltx/pos.ts"
import type { ReplaceOutcome } from "../mount/replace.ts"
import type { Fd } from "../sys/file.ts"
import type { HistoryVerdict } from "./history-verdict.ts"
import type { MaintenanceRequest } from "./maintenance.ts"
import type { SnapshotFormat } from "./snapshot-format.ts"

export interface PeerThreadOptions {
  readonly dataDir: string
  readonly fuseDir: string
  readonly positions: SharedArrayBuffer
  readonly flags: SharedArrayBuffer
  readonly isPrimary: boolean
  readonly databases: readonly string[] | undefined // that a replica has, as patterns; undefined for all
  readonly nodeId: bigint
  readonly mailboxFd: Fd // write end of the fs thread's mailbox
  readonly log: LogOptions
}

export type PeerCommand =
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
  /** On a replica: keep the database as it is now. Answered by `frozen`. */
  | { readonly type: "freeze"; readonly snapshot: number; readonly database: string }
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
  /** `writtenTxid` is undefined on a replica, where the peer thread knows. Answered by `maintained`. */
  | {
      readonly type: "maintain"
      readonly request: Omit<MaintenanceRequest, "writtenTxid"> & {
        readonly writtenTxid: Txid | undefined
      }
    }
  /** The daemon has changed the database file: tell the kernel. */
  | { readonly type: "rewritten"; readonly database: string }
  /** Publish the transaction if its writer has not. Answered by `published`. */
  | { readonly type: "publish"; readonly database: string; readonly last: LastTransaction }
  /** On the primary: put the content of a file in the place of a database. Answered by `imported`. */
  | {
      readonly type: "import"
      readonly request: number
      readonly database: string
      readonly file: number
    }
  /** The fs thread's answer to a `replace` of this thread. */
  | { readonly type: "replaced"; readonly request: number; readonly outcome: ReplaceOutcome }
  /** Keep clients from writing, within the time, until `unlock-writes` with the same number. Answered by `locked`. */
  | {
      readonly type: "lock-writes"
      readonly lock: number
      readonly databases: readonly string[]
      readonly limitMs: number
      readonly isApplying: boolean // transactions, meanwhile
    }
  | { readonly type: "unlock-writes"; readonly lock: number }
  /** Give up what a replica has, for the fs thread. Answered by `handed-over`. */
  | { readonly type: "hand-over" }
  /** The fs thread has taken over: let go of the files, and tell the kernel. Answered by `switched`. */
  | { readonly type: "let-go" }
  /** Take over from the fs thread. Answered by `switched`. */
  | { readonly type: "take-over"; readonly handovers: readonly DatabaseHandover[] }
  /**
   * The write lock of one database is lent, borrowed or given back. Give it up, for the fs thread, as with `hand-over`
   * and `let-go`; answered by `given` and `exchanged`. Take it from there; answered by `exchanged`: `lock` is what
   * clients are kept from writing with, and stays.
   */
  | { readonly type: "give"; readonly request: number; readonly database: string }
  | { readonly type: "let-go-of"; readonly request: number; readonly database: string }
  | {
      readonly type: "take"
      readonly request: number
      readonly handover: DatabaseHandover
      readonly lock: number | undefined
    }
  /** Sync everything, then set the segment of the commit log free. */
  | { readonly type: "release-segment"; readonly segment: number }
  /** Make files for transactions, as many as are wanted. */
  | { readonly type: "make-spares" }
  /** The mount is gone: leave the databases ready for a quick start. Answered by `settled`. */
  | { readonly type: "settle" }
  /** Close everything that is open in the mount, so that it can be unmounted. */
  | { readonly type: "detach" }

export type ImportResult =
  /** Undefined: the file has to be prepared again, since the database has changed. */
  | { readonly kind: "done"; readonly pos: Pos | undefined }
  | { readonly kind: "failed"; readonly code: ErrorCode; readonly message: string }

export type HandoverResult =
  | { readonly kind: "done"; readonly handovers: readonly DatabaseHandover[] }
  /** Nothing has changed. */
  | { readonly kind: "failed"; readonly message: string }

export type PeerEvent =
  | { readonly type: "ready"; readonly believed: readonly string[] }
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
  | { readonly type: "maintained"; readonly database: string; readonly removed: number }
  /** How many LTX files a database has, before the `maintained` that counted them. */
  | {
      readonly type: "ltx-usage"
      readonly database: string
      readonly count: number
      readonly size: number
    }
  | { readonly type: "published"; readonly database: string }
  /** Undefined: all is locked. */
  | { readonly type: "locked"; readonly lock: number; readonly problem: string | undefined }
  | { readonly type: "given"; readonly request: number; readonly result: Outcome<DatabaseHandover> }
  | { readonly type: "exchanged"; readonly request: number; readonly result: Outcome<undefined> }
  | { readonly type: "handed-over"; readonly result: HandoverResult }
  | { readonly type: "switched" }
  /** Undefined: there is no such database. */
  | { readonly type: "frozen"; readonly snapshot: number; readonly state: FrozenState | undefined }
  | { readonly type: "imported"; readonly request: number; readonly result: ImportResult }
  | { readonly type: "detached" }
  | { readonly type: "settled" }
