/** The bytes that SQLite locks. SQLite: os.h for the database file, wal.c and os_unix.c for the `-shm` file. */

/** A byte of `<db>-lock`, not SQLite's: the halt lock of the original (litefs.go). */
export const HALT_BYTE = 72

export const PENDING_BYTE = 0x40000000
export const RESERVED_BYTE = PENDING_BYTE + 1
export const SHARED_FIRST = PENDING_BYTE + 2
export const SHARED_SIZE = 510

/** The locks of a `-shm` file are one byte each, from 120 on: the `aLock` of its checkpoint header. */
export const WAL_WRITE_LOCK = 120
export const WAL_CKPT_LOCK = 121
export const WAL_RECOVER_LOCK = 122
export const WAL_READ_LOCK_0 = 123
export const WAL_READ_LOCK_COUNT = 5
/** The "dead man's switch": held shared by every process that has the `-shm` file open. */
export const WAL_DMS_LOCK = 128

/** READ0 to READ4. A reader that uses frames of the WAL never holds READ0. */
export function walReadLock(index: number): number {
  return WAL_READ_LOCK_0 + index
}
