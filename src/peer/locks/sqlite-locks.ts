/**
 * SQLite's locks by their names there, as bytes of the two files that carry them (SQLite: os_unix.c unixLock, wal.c
 * "WAL-INDEX LOCKS"), and the actions on them that need no wait. client-locks.ts does the waiting.
 */
import {
  PENDING_BYTE,
  RESERVED_BYTE,
  SHARED_FIRST,
  SHARED_SIZE,
  WAL_CKPT_LOCK,
  WAL_DMS_LOCK,
  WAL_READ_LOCK_0,
  WAL_READ_LOCK_COUNT,
  WAL_RECOVER_LOCK,
  WAL_WRITE_LOCK,
  walReadLock,
} from "../../sqlite/lock-bytes.ts"
import { closeFile, type Fd, O_RDONLY, readBytesAt } from "../../sys/file.ts"
import { openOwnIfExists } from "../../sys/file-access.ts"
import { isLockedByOther, type LockKind, lockHolder, tryLock, unlock } from "../../sys/locks.ts"

export interface SqliteLock {
  readonly kind: LockKind
  readonly start: number // byte
  readonly size: number // bytes
}

/** Of the database file. */
export const PENDING = exclusive(PENDING_BYTE)
const PENDING_OF_READER = shared(PENDING_BYTE)
export const RESERVED = exclusive(RESERVED_BYTE)
export const SHARED = shared(SHARED_FIRST, SHARED_SIZE)
export const EXCLUSIVE = exclusive(SHARED_FIRST, SHARED_SIZE)

/** Of the wal-index. */
export const WRITE = exclusive(WAL_WRITE_LOCK)
export const CKPT = exclusive(WAL_CKPT_LOCK)
export const RECOVER = exclusive(WAL_RECOVER_LOCK)
/** READ0 to READ4: nobody reads. */
export const READERS = exclusive(WAL_READ_LOCK_0, WAL_READ_LOCK_COUNT)
/** READ1 to READ4: nobody reads frames of the WAL, and the log can start over. */
export const FRAMES = exclusive(walReadLock(1), WAL_READ_LOCK_COUNT - 1)
/** The "dead man's switch" of everybody who has the wal-index open. */
export const DMS = shared(WAL_DMS_LOCK)
const CKPT_TO_READERS = exclusive(WAL_CKPT_LOCK, WAL_DMS_LOCK - WAL_CKPT_LOCK)

/** READ`mark`: readers share it, and whoever moves the mark has it alone. */
export function readMark(mark: number, kind: LockKind = "exclusive"): SqliteLock {
  return { kind, start: walReadLock(mark), size: 1 }
}

function shared(start: number, size = 1): SqliteLock {
  return { kind: "shared", start, size }
}

function exclusive(start: number, size = 1): SqliteLock {
  return { kind: "exclusive", start, size }
}

/** Takes all of these locks of one file, in this order, or none of them. */
export function tryTake(file: Fd, ...locks: readonly SqliteLock[]): boolean {
  let count = 0
  try {
    for (const { kind, start, size } of locks) {
      if (!tryLock(file, kind, start, size)) return false
      count += 1
    }
    return true
  } finally {
    if (count < locks.length) release(file, ...locks.slice(0, count))
  }
}

export function release(file: Fd, ...locks: readonly SqliteLock[]): void {
  for (const { start, size } of locks) unlock(file, start, size)
}

/** Locks would go with the descriptor, but a mount that keeps the locks itself hears of that only some time later. */
export function releaseAndClose(file: Fd): void {
  try {
    unlock(file, 0, 0) // to the very end
  } catch {
    // The mount is gone.
  }
  closeFile(file)
}

/**
 * Keeps everybody from reading and writing in a rollback mode, until releaseFile().
 *
 * PENDING keeps new readers out while old ones finish. It is kept only when waiting has taken long, so that a short
 * reader is not turned away for a long one.
 */
export function tryLockFile(database: Fd, keepPending: boolean): boolean {
  if (!keepPending) return tryTake(database, PENDING, EXCLUSIVE)
  return tryTake(database, PENDING) && tryTake(database, EXCLUSIVE)
}

export function releaseFile(database: Fd): void {
  release(database, EXCLUSIVE, PENDING)
}

/**
 * No other client can begin to write, in a rollback mode, or change the journal mode: SHARED and RESERVED.
 *
 * The next reader rolls back a dead writer's journal, unless somebody holds RESERVED: the reader takes that one for the
 * writer (SQLite: hasHotJournal). Nobody may then read either, until the transaction is undone: EXCLUSIVE is taken
 * first, and kept.
 */
export function tryReserve(database: Fd, path: string): boolean {
  const { kind, start, size } = RESERVED
  if (hasJournal(path) && !isLockedByOther(database, kind, start, size)) {
    return tryTake(database, PENDING, EXCLUSIVE, RESERVED)
  }
  // Like SQLite's readers: whoever holds PENDING waits for the last of them to go.
  if (!tryTake(database, PENDING_OF_READER, SHARED)) return false
  release(database, PENDING)
  if (tryTake(database, RESERVED)) return true
  release(database, SHARED)
  return false
}

/** Whether a rollback journal lies beside a database of the mount, of a living or a dead writer. */
function hasJournal(path: string): boolean {
  const journal = openOwnIfExists("mount:open", `${path}-journal`, O_RDONLY)
  if (journal === undefined) return false
  const first = new Uint8Array(1)
  try {
    return readBytesAt("mount:read", journal, first, 0) === 1 && first[0] !== 0
  } finally {
    closeFile(journal)
  }
}

/** The process that keeps others from reading or writing the file, if it is known. */
export function holderOfFile(database: Fd): number | undefined {
  return holderOf(database, RESERVED, EXCLUSIVE, PENDING)
}

/** The same for the WAL. */
export function holderOfWal(shm: Fd): number | undefined {
  return holderOf(shm, WRITE, CKPT_TO_READERS, DMS)
}

function holderOf(file: Fd, ...locks: readonly SqliteLock[]): number | undefined {
  for (const { kind, start, size } of locks) {
    const pid = lockHolder(file, kind, start, size)
    if (pid !== undefined) return pid
  }
  return undefined
}
