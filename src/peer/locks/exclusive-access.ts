/**
 * SQLite's locks, by their names there: the daemon takes part in them like one more process, on files of its own
 * mount (SQLite: os_unix.c unixLock, wal.c "WAL-INDEX LOCKS"). Nothing here waits.
 *
 * On a replica in WAL mode it always holds SHARED on the database and DMS on the wal-index: so no client ever thinks
 * that it is the first or the last, truncates the wal-index or removes the WAL.
 *
 * PENDING keeps new readers out while old ones finish. It is only kept when waiting has taken long, so that a short
 * reader is not turned away for a long one.
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

/** What the daemon always holds in WAL mode. False when a client holds EXCLUSIVE at this moment. */
export function tryShare(database: Fd): boolean {
  return tryLock(database, "shared", SHARED_FIRST, SHARED_SIZE)
}

export function tryShareWalIndex(shm: Fd): boolean {
  return tryLock(shm, "shared", WAL_DMS_LOCK, 1)
}

/** No client reads or writes in rollback mode, until releaseFile(). */
export function tryLockFile(database: Fd, keepPending: boolean): boolean {
  if (!tryLock(database, "exclusive", PENDING_BYTE, 1)) return false
  if (tryLock(database, "exclusive", SHARED_FIRST, SHARED_SIZE)) return true
  if (!keepPending) unlock(database, PENDING_BYTE, 1)
  return false
}

/**
 * No other client can begin to write, in rollback mode, or change the journal mode.
 *
 * A journal that a dead writer has left has to be rolled back by the next reader, who does so unless somebody holds
 * RESERVED: that is the writer, to it (SQLite: hasHotJournal). Then nobody may read either, until the transaction is
 * undone: EXCLUSIVE is taken first, and kept.
 */
export function tryReserve(database: Fd, hasJournal: boolean): boolean {
  const isHot = hasJournal && !isLockedByOther(database, "exclusive", RESERVED_BYTE, 1)
  if (isHot) return tryLockFile(database, false) && tryLock(database, "exclusive", RESERVED_BYTE, 1)
  // As SQLite's readers do it: whoever holds PENDING waits for the last of them to go.
  if (!tryLock(database, "shared", PENDING_BYTE, 1)) return false
  const isShared = tryShare(database)
  unlock(database, PENDING_BYTE, 1)
  if (!isShared) return false
  if (tryLock(database, "exclusive", RESERVED_BYTE, 1)) return true
  unlock(database, SHARED_FIRST, SHARED_SIZE)
  return false
}

/** Whether a rollback journal lies beside a database of the mount, of a writer that lives or has died. */
export function hasJournal(path: string): boolean {
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
  return (
    lockHolder(database, "exclusive", RESERVED_BYTE, 1) ??
    lockHolder(database, "exclusive", SHARED_FIRST, SHARED_SIZE) ??
    lockHolder(database, "exclusive", PENDING_BYTE, 1)
  )
}

/** The same of the WAL. */
export function holderOfWal(shm: Fd): number | undefined {
  return (
    lockHolder(shm, "exclusive", WAL_WRITE_LOCK, 1) ??
    lockHolder(shm, "exclusive", WAL_CKPT_LOCK, WAL_DMS_LOCK - WAL_CKPT_LOCK) ??
    lockHolder(shm, "shared", WAL_DMS_LOCK, 1)
  )
}

export function releaseAll(file: Fd): void {
  unlock(file, 0, 0) // to the end of all
}

export function releaseFile(database: Fd): void {
  unlock(database, SHARED_FIRST, SHARED_SIZE)
  unlock(database, PENDING_BYTE, 1)
}

export function tryLockCheckpoint(shm: Fd): boolean {
  return tryLock(shm, "exclusive", WAL_CKPT_LOCK, 1)
}

export function tryLockWrite(shm: Fd): boolean {
  return tryLock(shm, "exclusive", WAL_WRITE_LOCK, 1)
}

export function tryLockRecover(shm: Fd): boolean {
  return tryLock(shm, "exclusive", WAL_RECOVER_LOCK, 1)
}

export function tryLockReaders(shm: Fd): boolean {
  return tryLock(shm, "exclusive", WAL_READ_LOCK_0, WAL_READ_LOCK_COUNT)
}

/** No reader uses frames of the WAL: its log can start over. */
export function tryLockFrames(shm: Fd): boolean {
  return tryLock(shm, "exclusive", walReadLock(1), WAL_READ_LOCK_COUNT - 1)
}

export function releaseFrames(shm: Fd): void {
  unlock(shm, walReadLock(1), WAL_READ_LOCK_COUNT - 1)
}

export function tryLockMark(shm: Fd, kind: LockKind, mark: number): boolean {
  return tryLock(shm, kind, walReadLock(mark), 1)
}

export function releaseMark(shm: Fd, mark: number): void {
  unlock(shm, walReadLock(mark), 1)
}

export function releaseWrite(shm: Fd): void {
  unlock(shm, WAL_WRITE_LOCK, 1)
}

export function releaseCheckpoint(shm: Fd): void {
  unlock(shm, WAL_CKPT_LOCK, 1)
}

export function releaseRecover(shm: Fd): void {
  unlock(shm, WAL_RECOVER_LOCK, 1)
}
