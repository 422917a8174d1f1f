/** What the other threads and the fs thread tell each other. */
import type { MessagePort } from "node:worker_threads"
import type { FrozenState } from "../capture/frozen-view.ts"
import type { DatabaseHandover } from "../capture/handover.ts"
import type { LastTransaction } from "../capture/wal-tracker.ts"
import type { ErrorCode } from "../lib/errors.ts"
import type { LogOptions } from "../lib/log.ts"
import type { Outcome } from "../lib/outcome.ts"
import type { Txid } from "../ltx/pos.ts"
import type { Fd } from "../sys/file.ts"
import type { ReplaceOutcome, ReplaceRequest } from "./replace.ts"

export interface FsThreadOptions {
  readonly dataDir: string
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
  readonly log: LogOptions
}

/** From the main thread, before it serves. */
export type FsCommand =
  | { readonly type: "start"; readonly options: FsThreadOptions; readonly handovers: MessagePort }
  /** `unwanted` are descriptors that it is not to keep open. */
  | { readonly type: "serve"; readonly device: Fd; readonly unwanted: readonly Fd[] }

/** Through the mailbox, while it serves. */
export type FsMessage =
  | { readonly type: "primary"; readonly name: string | undefined }
  | { readonly type: "dropped"; readonly database: string }
  /**
   * The name of a replica's database stands for another file now. `disguise` is what is added to the counters
   * in its header from now on (header-disguise.ts); undefined: as before.
   */
  | {
      readonly type: "switched"
      readonly database: string
      readonly disguise: number | undefined
    }
  /** Whether a client keeps WRITE of its WAL that does not know of all that counts (peer/wal-touch.ts). */
  | { readonly type: "kept"; readonly database: string; readonly isKept: boolean }
  /** Keep the database as it is now, for a snapshot; answered by `frozen`. */
  | { readonly type: "freeze"; readonly snapshot: number; readonly database: string }
  | { readonly type: "thaw"; readonly snapshot: number }
  /** Take no transaction any more, and make the LTX files of all there are. Answered by `shut`. */
  | { readonly type: "shut" }
  | { readonly type: "open" }
  /** Become a replica: give up everything. Answered by `handed-over`. */
  | { readonly type: "hand-over" }
  /** Become the primary of what comes through the port for handovers. Answered by `taken-over`. */
  | { readonly type: "take-over" }
  /**
   * The write lock of a database is lent, is borrowed, or is given back. `lend`, `give-back`: to the peer thread.
   * Answered by `given`. `borrow`, `take-back`: from it, through the port for handovers. Answered by `taken`.
   */
  | { readonly type: "lend" | "give-back"; readonly request: number; readonly database: string }
  | { readonly type: "borrow" | "take-back"; readonly request: number }
  /** On the primary: whether another node waits for its clients to end their write transactions. */
  | { readonly type: "lending"; readonly database: string; readonly isWanted: boolean }
  /** A write lock that is borrowed is about to be given back. */
  | { readonly type: "closing"; readonly database: string }
  /** A write lock that was borrowed is lost: no transaction is added any more. */
  | { readonly type: "lost"; readonly database: string }
  /** The primary's word on what was proposed. `code` is why not; undefined: it has it. */
  | {
      readonly type: "answer"
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
  /** The peer thread has looked at the transaction of a `publish`. */
  | { readonly type: "published"; readonly request: number }
  /** Up to where is everything in the database file? Answered by `written`. */
  | { readonly type: "ask-written"; readonly request: number; readonly database: string }
  /** Put the content of a file in the place of a database. Answered by `replaced`. */
  | { readonly type: "replace"; readonly request: number; readonly replace: ReplaceRequest }

/** What a write lock is borrowed for: flock(2) on `<db>-lock`, or a client's own lock of the database. */
export type Borrower = "flock" | "writer"

/** To the main thread. */
export type FsEvent =
  | { readonly type: "ready"; readonly believed: readonly string[] }
  | { readonly type: "changed" } // positions have; look at Positions
  /** Undefined: there is no such database. */
  | { readonly type: "frozen"; readonly snapshot: number; readonly state: FrozenState | undefined }
  /** Undefined: it is done. */
  | { readonly type: "shut"; readonly problem: string | undefined }
  | { readonly type: "handed-over"; readonly handovers: readonly DatabaseHandover[] }
  | { readonly type: "taken-over" }
  | { readonly type: "given"; readonly request: number; readonly result: Outcome<DatabaseHandover> }
  | { readonly type: "taken"; readonly request: number; readonly result: Outcome<undefined> }
  /** A transaction of a database whose write lock is borrowed. Answered by `answer`. */
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
  | { readonly type: "written"; readonly request: number; readonly txid: Txid | undefined }
  | { readonly type: "replaced"; readonly request: number; readonly outcome: ReplaceOutcome }
  /** The daemon has changed the database file: the kernel must forget what it has of it. */
  | { readonly type: "rewritten"; readonly database: string }
  /** Somebody died who may not have published this transaction. Answered by `published`. */
  | {
      readonly type: "publish"
      readonly request: number
      readonly database: string
      readonly last: LastTransaction
    }
  /** A segment of the commit log is full: it is free when everything is synced. */
  | { readonly type: "segment-full"; readonly segment: number }
  /** Whether the thread has the device to itself, when the others close it. */
  | { readonly type: "serving"; readonly isOwner: boolean }
  | { readonly type: "unmounted" }
  | { readonly type: "stopped" } // everything is settled
  | { readonly type: "failed"; readonly message: string }
