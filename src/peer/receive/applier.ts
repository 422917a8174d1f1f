/** How a transaction that is stored in an LTX file gets into a database that clients have open. */
import type { WalHandover } from "../../capture/handover.ts"
import type { WalFrames } from "../../capture/wal-frames.ts"
import type { LtxHeader } from "../../ltx/header.ts"
import type { Txid } from "../../ltx/pos.ts"

export interface ReceivedTransaction {
  readonly header: LtxHeader
  readonly pgnos: readonly number[] // the pages in it, ascending
  /** Hands on the pages, in order. */
  readPages(take: (pgno: number, data: Uint8Array) => void): void
  /** There is no such database yet, for any client. */
  readonly isNew: boolean
  /** Called before these bytes of the database file change. */
  overwriting(offset: number, size: number): void
  /** Called before the frames of the WAL go. */
  loseWal(): void
  /** Called when the content is in place: no client sees the position before it. */
  applied(): void
}

/** What has to know that a database is changed. */
export type Changes = Pick<ReceivedTransaction, "overwriting" | "loseWal">

export interface Applier {
  /** Where the newest content of pages is, when it is in the WAL. */
  readonly frames: Pick<WalFrames, "entries">
  apply(transaction: ReceivedTransaction): Promise<void>
  /** The last transaction of which everything is in the database file, when `current` is the newest. */
  writtenTxid(current: Txid): Txid
  /**
   * Gives up what would be in the way of who locks every client out. True when clients may have the WAL open: then
   * that is the WAL mode's way to do it.
   */
  yield(): boolean
  /** Opens what keeps clients from taking the WAL away, when there is one. */
  attach(): Promise<void>
  /** Goes on with the files that clients find, when somebody has taken the names away of those that are open. */
  rejoin(changes: Changes): Promise<void>
  /** What is in the WAL, for the thread that goes on; nothing is applied from here on. */
  handOver(): { readonly wal: WalHandover | undefined; readonly isWalOpen: boolean }
  /** Closes what is open in the mount. The next apply() opens it again. */
  detach(): void
  /** Closes everything: another applier goes on, or the fs thread does. */
  close(): void
  /** After the mount has gone: has everything in the database file. */
  settle(): void
  /** The database is gone, and so is what lay beside it. */
  dropped(): void
}
