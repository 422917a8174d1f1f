/** How a transaction from an LTX file gets into a database that clients have open. */
import type { WalHandover } from "../../capture/handover.ts"
import type { WalFrames } from "../../capture/wal-frames.ts"
import type { LtxHeader } from "../../ltx/header.ts"
import type { Txid } from "../../ltx/pos.ts"
import type { LockedOut } from "../locks/client-locks.ts"

export interface ReceivedTransaction {
  readonly header: LtxHeader
  readonly pgnos: readonly number[] // the pages in it, ascending
  /** Passes the pages on, in order. */
  readPages(take: (pgno: number, data: Uint8Array) => void): void
  /** Whether no client can have the database yet. */
  readonly isNew: boolean
  /** Called before these bytes of the database file change. */
  overwriting(offset: number, size: number): void
  /** Called before the frames of the WAL go. */
  loseWal(): void
  /** Called when the content is in place: no client sees the position before that. */
  applied(): void
}

/** Those who must know that a database changes. */
export type Changes = Pick<ReceivedTransaction, "overwriting" | "loseWal">

export interface Applier {
  /** Where the newest content of pages is, if in the WAL. */
  readonly frames: Pick<WalFrames, "entries">
  apply(transaction: ReceivedTransaction): Promise<void>
  /** The last transaction that is completely in the database file, when `current` is the newest. */
  writtenTxid(current: Txid): Txid
  /**
   * After an apply that has failed, what every client is still locked out with: the file may have half of a transaction.
   * close() lets the clients in.
   */
  readonly lockedOut: LockedOut | undefined
  /**
   * Gives up what would block a lockout of every client. True when clients may have the WAL open: they must then be
   * locked out as in WAL mode.
   */
  yield(): boolean
  /** Opens the files that keep clients from taking an existing WAL away, and lets readers see what is in it. */
  attach(): Promise<void>
  /** False when a client has kept attach() from that. Call it again then. */
  readonly isShown: boolean
  /** Opens the WAL and its index anew: the kernel then has them open in another way (mount/files/passed-entry.ts). */
  reopen(): Promise<void>
  /** Builds the index of the WAL anew if a client has left a wrong one. */
  mendIndex(): Promise<void>
  /** Continues with the files that clients find, when somebody has taken the names of the open ones away. */
  rejoin(changes: Changes): Promise<void>
  /** The content of the WAL, for the thread that continues; nothing is applied from here on. */
  handOver(): { readonly wal: WalHandover | undefined; readonly isWalOpen: boolean }
  /** Closes the open files in the mount. The next apply() opens them again. */
  detach(): void
  /** Closes everything: another applier or the fs thread continues. */
  close(): void
  /** After the mount has gone: moves everything into the database file. */
  settle(): void
  /** The database is gone, with everything beside it. */
  dropped(): void
}
