/**
 * Open file description locks (F_OFD_*): byte ranges that conflict with SQLite's POSIX locks like those of another
 * process. They go when their descriptor is closed, not when any descriptor of ours is.
 */
import { fstatSync, readFileSync } from "node:fs"
import { plainCall } from "./call.ts"
import { Errno } from "./errno.ts"
import type { Fd } from "./file.ts"
import { libc } from "./libc.ts"
import { allocate } from "./memory.ts"

const F_GETLK = 5
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

/** Whether somebody else's lock conflicts with `kind` on the range. */
export function isLockedByOther(fd: Fd, kind: LockKind, start: number, length: number): boolean {
  fill(kind === "shared" ? F_RDLCK : F_WRLCK, start, length)
  const call = () => libc.fcntl(fd, F_OFD_GETLK, flock.address)
  plainCall("lock:get", () => "ask for a lock", call)
  return view.getInt16(0, true) !== F_UNLCK
}

/**
 * The process whose lock conflicts with `kind` on the range. Undefined when there is none, or it is unknown: the lock
 * belongs to an open file, or to a process that is not visible from here.
 */
export function lockHolder(
  fd: Fd,
  kind: LockKind,
  start: number,
  length: number,
): number | undefined {
  // A mount that keeps the locks itself names no process when asked for an open file, but does when asked for this
  // process.
  for (const command of [F_OFD_GETLK, F_GETLK]) {
    fill(kind === "shared" ? F_RDLCK : F_WRLCK, start, length)
    if (libc.fcntl(fd, command, flock.address) < 0) return undefined
    if (view.getInt16(0, true) === F_UNLCK) return undefined
    const pid = view.getInt32(24, true)
    if (pid > 0 && pid !== process.pid) return pid
  }
  return undefined
}

/**
 * Whether somebody waits for a lock of the file, by the lines of /proc/locks:
 *
 *     1: OFDLCK  ADVISORY  WRITE -1 00:2e:7 0 EOF
 *     1: -> OFDLCK  ADVISORY  WRITE -1 00:2e:7 72 72
 *
 * `file` is a result of lockedName().
 */
export function isAwaited(locks: string, file: string): boolean {
  return locks.split("\n").some((line) => line.includes("->") && line.includes(` ${file} `))
}

/** The content of /proc/locks. */
export function readLocks(): string {
  return readFileSync("/proc/locks", "latin1")
}

/** The same; undefined when it is not known now, because this thread can open no more files. */
export function locksIfKnown(): string | undefined {
  try {
    return readLocks()
  } catch {
    return undefined
  }
}

/**
 * The process that has the byte of a file locked exclusively, by the lines of /proc/locks; -1: an open file has. `device`
 * is that of the file, as in /proc/self/mountinfo: "major:minor".
 */
export function lockedToWriteBy(
  locks: string,
  device: string,
  inode: number,
  byte: number,
): number | undefined {
  const [major = 0, minor = 0] = device.split(":").map(Number)
  const file = ` ${nameInLocks(major, minor, inode)} `
  const found = locks.split("\n").find((line) => {
    if (!line.includes(file) || !line.includes(" WRITE ") || line.includes("->")) return false
    const [start = "", end = ""] = line.split(" ").slice(-2)
    return Number(start) <= byte && (end === "EOF" || byte <= Number(end))
  })
  return found === undefined ? undefined : Number(/ WRITE +(-?\d+) /.exec(found)?.[1] ?? 0)
}

/** An open file as /proc/locks names it. */
export function lockedName(fd: Fd): string {
  const { dev, ino } = fstatSync(fd)
  const major = (dev >>> 8) & 0xfff
  const minor = (dev & 0xff) | ((dev >>> 12) & 0xfff00)
  return nameInLocks(major, minor, ino)
}

/** Its device, in hexadecimal, and its inode (Linux: lock_get_status). */
function nameInLocks(major: number, minor: number, inode: number): string {
  return `${hex(major)}:${hex(minor)}:${inode}`
}

function hex(number: number): string {
  return number.toString(16).padStart(2, "0")
}

function set(fd: Fd, type: number, start: number, length: number): boolean {
  fill(type, start, length)
  const call = () => libc.fcntl(fd, F_OFD_SETLK, flock.address)
  const doing = () => "lock a byte range"
  return plainCall("lock:set", doing, call, Errno.EAGAIN, Errno.EACCES) === 0
}

function fill(type: number, start: number, length: number): void {
  view.setInt16(0, type, true)
  view.setInt16(2, 0, true) // SEEK_SET
  view.setBigInt64(8, BigInt(start), true)
  view.setBigInt64(16, BigInt(length), true)
  view.setInt32(24, 0, true) // must be 0 for F_OFD_*
}
