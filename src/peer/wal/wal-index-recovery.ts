/**
 * Building a wal-index anew from what is known of its WAL, as a client does that finds none that is valid (SQLite:
 * walIndexRecover). WRITE, CKPT and RECOVER are held: no client reads the index meanwhile, or recovers it, too.
 */
import { LitefsError } from "../../lib/errors.ts"
import type { WalIndexHeader } from "../../sqlite/wal-index.ts"
import type { Fd } from "../../sys/file.ts"
import { readMark, release, tryTake } from "../locks/sqlite-locks.ts"
import type { WalIndexFile, WalIndexState } from "./wal-index-file.ts"

export interface KnownLog {
  /** Counts the frames that are to count. */
  readonly header: WalIndexHeader
  /** The pages of all frames, in order. */
  readonly pgnos: readonly number[]
  /** The read mark that is ours, and stays as it is. */
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

/** Of a WAL without frames. Its page count is 0, for which readers ask the database file. */
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
