/**
 * The checkpoint of a replica: pages move from the WAL to the database file, beside readers. Like SQLite's passive
 * checkpoint it never waits (SQLite: walCheckpoint). Its caller holds CKPT.
 *
 *   1. How far it may go: up to the least frame that a reader ends at. A read mark that nobody holds is moved on.
 *   2. Under READ0, which readers hold that use the file alone: pages into the file, the kernel forgets them.
 *   3. The count of backfilled frames goes up: from here on new readers take the pages from the file.
 *
 * Nothing is synced. Recovery replays what came after the last sync of the file (peer/serve/maintenance.ts).
 */
import {
  WAL_INDEX_READ_MARK_COUNT,
  WAL_INDEX_READ_MARK_UNUSED,
  type WalIndexHeader,
} from "../../sqlite/wal-index.ts"
import type { BackedFile } from "../../store/backed-file.ts"
import type { Fd } from "../../sys/file.ts"
import { allocate } from "../../sys/memory.ts"
import { readMark, release, tryTake } from "../locks/sqlite-locks.ts"
import type { ReplicaWal } from "./replica-wal.ts"
import { WalIndexFile, type WalIndexState } from "./wal-index-file.ts"

const page = allocate(65536)

export interface CheckpointContext {
  readonly wal: ReplicaWal
  readonly database: BackedFile
  readonly shm: Fd
  /** What the wal-index has to say of the log: clients may have written something else there. */
  readonly header: WalIndexHeader
  /** Frames that are known to be in the database file. */
  readonly backfillMax: number
  /** Called before these bytes of the database file change. */
  overwriting(offset: number, size: number): void
  /** Called when pages of the database file have changed, and perhaps its size. */
  forgetPages(pageSize: number, pgnos: readonly number[]): void
}

/** Moves what can be moved now. The caller holds CKPT. Returns how many frames are in the database file. */
export function checkpoint(context: CheckpointContext): number {
  const { shm, header, backfillMax } = context
  const index = new WalIndexFile(shm)
  const state = index.read()
  if (state === undefined) return backfillMax
  const safe = safeFrameCount(shm, index, { ...state, header })
  if (safe <= Math.min(state.backfillCount, backfillMax)) return backfillMax
  if (!tryTake(shm, readMark(0))) return backfillMax
  try {
    index.writeBackfillAttempted(safe)
    const { pageSize, pageCount, frameCount } = header
    const pgnos = context.wal.unwritten(safe)
    const isWhole = safe === frameCount
    copyPages(context, pgnos, pageSize, isWhole ? pageCount : undefined)
    context.forgetPages(pageSize, pgnos)
    index.writeBackfillCount(safe)
    for (const pgno of pgnos) context.wal.written(pgno)
    return safe
  } finally {
    release(shm, readMark(0))
  }
}

function safeFrameCount(
  shm: Fd,
  index: WalIndexFile,
  { header, readMarks }: WalIndexState,
): number {
  let safe = header.frameCount
  for (let mark = 1; mark < WAL_INDEX_READ_MARK_COUNT; mark++) {
    const end = readMarks[mark] as number
    if (safe <= end) continue
    if (!tryTake(shm, readMark(mark))) {
      safe = end
      continue
    }
    try {
      index.writeReadMark(mark, mark === 1 ? safe : WAL_INDEX_READ_MARK_UNUSED)
    } finally {
      release(shm, readMark(mark))
    }
  }
  return safe
}

/** Moves everything, while nobody else has the database open. */
export function copyAll(
  context: Pick<CheckpointContext, "wal" | "database" | "overwriting">,
  pageSize: number,
  pageCount: number,
): number[] {
  const pgnos = context.wal.unwritten(Number.MAX_SAFE_INTEGER)
  copyPages(context, pgnos, pageSize, pageCount)
  for (const pgno of pgnos) context.wal.written(pgno)
  return pgnos
}

function copyPages(
  { wal, database, overwriting }: Pick<CheckpointContext, "wal" | "database" | "overwriting">,
  pgnos: readonly number[],
  pageSize: number,
  pageCount: number | undefined, // when the file becomes whole
): void {
  for (const pgno of pgnos) {
    const offset = (pgno - 1) * pageSize
    wal.readPage(pgno, pageSize, page)
    overwriting(offset, pageSize)
    database.write(page.address, pageSize, offset)
  }
  if (pageCount === undefined) return
  const size = pageCount * pageSize
  if (database.size() <= size) return
  overwriting(size, Number.MAX_SAFE_INTEGER - size)
  database.truncate(size)
}
