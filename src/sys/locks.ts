/**
 * Open file description locks (F_OFD_*): byte ranges that conflict with SQLite's POSIX locks like those of
 * another process, and that are dropped when the descriptor is closed, not when any descriptor of ours is.
 */
import { Errno, SysError } from "./errno.ts"
import type { Fd } from "./file.ts"
import { errno, libc } from "./libc.ts"
import { allocate } from "./memory.ts"

const F_OFD_GETLK = 36
const F_OFD_SETLK = 37
const F_RDLCK = 0
const F_WRLCK = 1
const F_UNLCK = 2

/** struct flock: l_type i16@0 l_whence i16@2 l_start i64@8 l_len i64@16 l_pid i32@24. */
const flock = allocate(4096)
const view = new DataView(flock.bytes.buffer, flock.bytes.byteOffset, 32)

export type LockKind = "shared" | "exclusive"

/** Takes the lock when nobody holds a conflicting one. Also upgrades and downgrades our own. */
export function tryLock(fd: Fd, kind: LockKind, start: number, length: number): boolean {
  return set(fd, kind === "shared" ? F_RDLCK : F_WRLCK, start, length)
}

export function unlock(fd: Fd, start: number, length: number): void {
  set(fd, F_UNLCK, start, length)
}

/** Whether somebody else holds a lock that conflicts with `kind` on the range. */
export function isLockedByOther(fd: Fd, kind: LockKind, start: number, length: number): boolean {
  fill(kind === "shared" ? F_RDLCK : F_WRLCK, start, length)
  const error = libc.fcntl(fd, F_OFD_GETLK, flock.address) < 0 ? errno() : 0
  if (error !== 0) throw new SysError(error, "lock:get", "ask for a lock")
  return view.getInt16(0, true) !== F_UNLCK
}

function set(fd: Fd, type: number, start: number, length: number): boolean {
  for (;;) {
    fill(type, start, length)
    const error = libc.fcntl(fd, F_OFD_SETLK, flock.address) < 0 ? errno() : 0
    if (error === 0) return true
    if (error === Errno.EAGAIN || error === Errno.EACCES) return false
    if (error !== Errno.EINTR) throw new SysError(error, "lock:set", "lock a byte range")
  }
}

function fill(type: number, start: number, length: number): void {
  view.setInt16(0, type, true)
  view.setInt16(2, 0, true) // SEEK_SET
  view.setBigInt64(8, BigInt(start), true)
  view.setBigInt64(16, BigInt(length), true)
  view.setInt32(24, 0, true) // must be 0 for F_OFD_*
}
