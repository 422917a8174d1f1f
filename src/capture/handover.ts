/**
 * What the thread that has captured a database's transactions hands to the thread that will apply them, and back, when
 * the role of the node changes. The files stay where they are, under the clients that have them open.
 *
 * Threads can send it: the checksums are shared, and one thread uses them at a time.
 */
import type { Pos, Txid } from "../ltx/pos.ts"
import type { WalHeader } from "../sqlite/wal.ts"
import type { WalIndexHeader } from "../sqlite/wal-index.ts"
import type { HistoryState } from "./history.ts"
import { PageChecksums, type SharedChecksums } from "./page-checksums.ts"

/** The frames of the WAL that count: exactly those that are in LTX files. */
export interface WalHandover {
  readonly header: WalHeader
  readonly pgnos: Uint32Array // of the frames
  /** The number that clients know: the last writer may have died before it published the others. */
  readonly published: number
  readonly ends: readonly number[] // how many frames there are at the end of each transaction
  /** Pages that the database file lacks, each with the transaction that first changed it. */
  readonly unwritten: readonly (readonly [pgno: number, since: Txid])[]
  /** Whether frames of an unfinished transaction may follow, and may be in the wal-index. */
  readonly hasSpilled: boolean
  readonly pageCount: number // of the database, after the last frame
  readonly checksum1: number // of the last frame
  readonly checksum2: number
}

export interface SharedHistoryState {
  readonly pos: Pos
  readonly pageSize: number
  readonly commit: number
  readonly timestampMs: number
  readonly sums: SharedChecksums
}

/** For upkeep, beside the thread that has the database. */
export interface WrittenState {
  /** The last transaction that is completely in the database file, though perhaps not durably. */
  readonly txid: Txid
  /** After the last transaction. Its sums go on changing. */
  readonly state: SharedHistoryState
}

export interface DatabaseHandover {
  readonly name: string
  /** Undefined for a damaged database, which nobody may touch. */
  readonly state: SharedHistoryState | undefined
  /** Undefined when no frame counts. */
  readonly wal: WalHandover | undefined
  /** Whether clients may have the WAL open, whatever page 1 says. */
  readonly isWalOpen: boolean
  /** What the mount adds to the counters in the header: see sqlite/header-disguise.ts. */
  readonly disguise: number
  /** Whether an unfinished transaction was undone: the kernel then has pages of it. */
  readonly isUndone: boolean
}

export function sharedState(state: HistoryState): SharedHistoryState {
  const { pos, pageSize, commit, timestampMs, sums } = state
  return { pos, pageSize, commit, timestampMs, sums: sums.shared }
}

export function historyState(shared: SharedHistoryState): HistoryState {
  return { ...shared, sums: PageChecksums.of(shared.sums) }
}

/** A database that nobody may use until somebody has repaired it. */
export function damagedHandover(name: string): DatabaseHandover {
  const nothing = { state: undefined, wal: undefined, isWalOpen: false }
  return { name, ...nothing, disguise: 0, isUndone: false }
}

/** The header of the wal-index when all these frames are published. */
export function indexHeaderOf(wal: WalHandover): WalIndexHeader {
  const { bigEndianChecksum, pageSize, salt1, salt2 } = wal.header
  return {
    change: 0,
    bigEndianChecksum,
    pageSize,
    frameCount: wal.pgnos.length,
    pageCount: wal.pageCount,
    frameChecksum1: wal.checksum1,
    frameChecksum2: wal.checksum2,
    salt1,
    salt2,
  }
}
