/**
 * Builds a wal-index anew from what is known of its WAL, like a client that finds no valid one (SQLite:
 * walIndexRecover). WRITE, CKPT and RECOVER are held: meanwhile no client reads the index, or recovers it, too.
 */
import { LitefsError } from "../../lib/errors.ts"
import type { WalIndexHeader } from "../../sqlite/wal-index.ts"
import type { Fd } from "../../sys/file.ts"
import { readMark, release, tryTake } from "../locks/sqlite-locks.ts"
import type { WalIndexFile, WalIndexState } from "./wal-index-file.ts"

export interface KnownLog {
  /** Counts the frames that will count. */
  readonly header: WalIndexHeader
  /** The pages of all frames, in order. */
  readonly pgnos: readonly number[]
  /** Our own read mark, which stays as it is. */
  readonly pin: number | undefined
}

export function recoverIndex(
  shm: Fd,
  index: WalIndexFile,
  { header, pgnos, pin }: KnownLog,
): WalIndexState {
  index.rebuild({ ...header, change: (header.change + 1) >>> 0 }, pgnos, (mark) => {
    const isFree = mark !== pin && tryTake(shm, readMark(mark))
    if (isFree) release(shm, readMark(mark))
    return isFree
  })
  const state = index.read()
  if (state === undefined) throw new LitefsError("io", "Cannot rebuild a wal-index")
  return state
}

/** For a WAL without frames. Its page count is 0, so readers ask the database file. */
export function emptyHeader(pageSize: number, random: () => number): WalIndexHeader {
  return {
    change: 0,
    bigEndianChecksum: false,
    pageSize,
    frameCount: 0,
    pageCount: 0,
    frameChecksum1: 0,
    frameChecksum2: 0,
    salt1: Math.floor(random() * 0x100000000),
    salt2: Math.floor(random() * 0x100000000),
  }
}
