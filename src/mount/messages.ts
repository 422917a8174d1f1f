/** What the other threads and the fs thread tell each other. */
import type { MessagePort } from "node:worker_threads"
import type { FrozenState } from "../capture/frozen-view.ts"
import type { DatabaseHandover } from "../capture/handover.ts"
import type { LastTransaction } from "../capture/wal-tracker.ts"
import type { Answer, CallTo } from "../lib/calls.ts"
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

/** From the main thread, before it serves. */
export type FsCommand =
  | { readonly type: "start"; readonly options: FsThreadOptions; readonly handovers: MessagePort }
  /** `unwanted` are descriptors that it is not to keep open. */
  | {
      readonly type: "serve"
      readonly device: Fd
      readonly directory: Fd // below the mount
      readonly unwanted: readonly Fd[]
    }

/** What the main thread calls it for, while it serves. */
export interface FsCalls {
  /** Keeps the database as it is now, for a snapshot, until `thaw`. Undefined: there is no such database. */
  freeze(given: { snapshot: number; database: string }): FrozenState | undefined
  /** The last transaction of which everything is in the database file. */
  "written-txid"(given: { database: string }): Txid | undefined
  /** Takes no transaction any more, until `open`, and makes the LTX files of all there are, if there is room. */
  shut(): void
  /** Becomes a replica: gives up everything. */
  "hand-over"(): readonly DatabaseHandover[]
  /** Becomes the primary of what comes through the port for handovers. */
  "take-over"(): void
  /** Gives up one database, for the peer thread: its write lock is lent. */
  lend(given: { database: string }): DatabaseHandover
  /** The same on a replica: its write lock, which was borrowed, is given back. */
  "give-back"(given: { database: string }): DatabaseHandover
  /** Takes one database, which comes through the port for handovers: its write lock is borrowed. */
  borrow(): void
  /** The same on the primary: its write lock, which was lent, is back. */
  "take-back"(): void
}

/** Through the mailbox, while it serves. */
export type FsMessage =
  | CallTo<FsCalls>
  | { readonly type: "primary"; readonly name: string | undefined }
  | { readonly type: "dropped"; readonly database: string }
  /**
   * The name of a replica's database stands for another file now. `disguise` is what is added to the counters
   * in its header from now on (sqlite/header-disguise.ts); undefined: as before.
   */
  | {
      readonly type: "switched"
      readonly database: string
      readonly disguise: number | undefined
    }
  /** Whether a client keeps WRITE of its WAL that does not know of all that counts (peer/wal/wal-touch.ts). */
  | { readonly type: "kept"; readonly database: string; readonly isKept: boolean }
  | { readonly type: "thaw"; readonly snapshot: number }
  | { readonly type: "open" }
  /** For Counters, and whether files can be opened again. */
  | { readonly type: "measure" }
  /** The database was dropped, and nothing is kept of it but that: it need not be known any more. */
  | { readonly type: "retire"; readonly database: string }
  /** On the primary: whether another node waits for its clients to end their write transactions. */
  | { readonly type: "lending"; readonly database: string; readonly isWanted: boolean }
  /** A write lock that is borrowed is about to be given back. */
  | { readonly type: "closing"; readonly database: string }
  /** A write lock that was borrowed is lost: no transaction is added any more. */
  | { readonly type: "lost"; readonly database: string }
  /** The primary's word on what was proposed. `code` is why not; undefined: it has it. */
  | {
      readonly type: "proposal-answer"
      readonly request: number
      readonly database: string
      readonly code: ErrorCode | undefined
    }
  /** Whether the write lock is borrowed that a `borrow-for-flock` has asked for. */
  | {
      readonly type: "flock-answer"
      readonly request: number
      readonly code: ErrorCode | undefined
    }
  /** Whether it is borrowed for a `borrow-for-writer`. `isLate`: nobody knows yet, and it takes longer. */
  | {
      readonly type: "writer-answer"
      readonly database: string
      readonly isLate: boolean
      readonly code: ErrorCode | undefined
    }
  /** Whether the peer thread has locked `<db>-lock`, as a `hold-lock-file` asks. */
  | { readonly type: "lock-file-held"; readonly database: string; readonly isHeld: boolean }
  /** A client waits for a lock of `<db>-lock`. Answered by `lock-file-granted`. */
  | { readonly type: "lock-file-wanted"; readonly database: string }
  /** It has given its lock up. */
  | { readonly type: "lock-file-unwanted"; readonly database: string }
  /** The peer thread has looked at the transaction of a `publish`. */
  | { readonly type: "published"; readonly request: number }
  /** Put the content of a file in the place of a database. Answered by `replaced`. */
  | { readonly type: "replace"; readonly request: number; readonly replace: ReplaceRequest }

/** What a write lock is borrowed for: flock(2) on `<db>-lock`, or a client's own lock of the database. */
export type Borrower = "flock" | "writer"

/**
 * To the main thread. What is asked in it is answered by an FsMessage: while the thread serves it has no event loop,
 * and cannot await a call.
 */
export type FsEvent =
  | Answer
  | { readonly type: "ready"; readonly believed: readonly string[] }
  /** A database is damaged: nobody may use it until the next start. */
  | { readonly type: "refused-database"; readonly database: string; readonly problem: string }
  | { readonly type: "changed" } // positions have; look at Positions
  /** A transaction of a database whose write lock is borrowed. Answered by `proposal-answer`. */
  | {
      readonly type: "propose"
      readonly request: number
      readonly database: string
      readonly bytes: Uint8Array
    }
  /** A client wants the write lock of a database. Answered by `flock-answer`. */
  | {
      readonly type: "borrow-for-flock"
      readonly request: number
      readonly database: string
      readonly waits: boolean
    }
  | { readonly type: "borrow-for-writer"; readonly database: string; readonly isPatient: boolean }
  /** The peer thread is to lock `<db>-lock`. Answered by `lock-file-held`. */
  | { readonly type: "hold-lock-file"; readonly database: string }
  /** Whether the client that waits for a lock of it may have it. */
  | {
      readonly type: "lock-file-granted"
      readonly database: string
      readonly isGranted: boolean
    }
  /** The peer thread is to close it. */
  | { readonly type: "let-lock-file-go"; readonly database: string }
  /** What is borrowed has a writer again. */
  | { readonly type: "in-use"; readonly database: string }
  /** `isUnused`: whoever it was borrowed for is about to ask again. */
  | {
      readonly type: "give-back"
      readonly database: string
      readonly user: Borrower
      readonly isUnused: boolean
    }
  /** The primary has taken a transaction of a borrowed database that could not be made here. */
  | { readonly type: "behind"; readonly database: string }
  | { readonly type: "replaced"; readonly request: number; readonly outcome: ReplaceOutcome }
  /** The daemon has changed the database file: the kernel must forget what it has of it. */
  | { readonly type: "rewritten"; readonly database: string }
  /** A file is gone without a request: the kernel must forget the name, and its listing. */
  | { readonly type: "vanished"; readonly name: string }
  /** The kernel must forget what it has of these bytes: they were not written. */
  | ({ readonly type: "write-refused" } & CachedRange)
  /** Somebody died who may not have published this transaction. Answered by `published`. */
  | {
      readonly type: "publish"
      readonly request: number
      readonly database: string
      readonly last: LastTransaction
    }
  /** A segment of the commit log is full: it is free when everything is synced. */
  | { readonly type: "segment-full"; readonly segment: number }
  | { readonly type: "segment-missing"; readonly segment: number }
  /** SpareFiles are running out. */
  | { readonly type: "spares-wanted" }
  /** Whether the thread has the device to itself, when the others close it. */
  | { readonly type: "serving"; readonly isOwner: boolean }
  | { readonly type: "unmounted" }
  | { readonly type: "stopped" } // everything is settled
  | { readonly type: "failed"; readonly message: string }
