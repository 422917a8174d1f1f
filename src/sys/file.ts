/**
 * Files by descriptor. Every function takes the name (`op`) that its call has in fault tests, and throws
 * SysError when the call fails. EINTR is retried here, so callers never see it.
 */
import { constants, copyFileSync } from "node:fs"
import { LitefsError } from "../lib/errors.ts"
import { checkFault, plainCall, systemCall } from "./call.ts"
import { Errno, errnoText, SysError } from "./errno.ts"
import { faults } from "./faults.ts"
import {
  emptyStatus,
  type FileStatus,
  linkAt,
  otherKindAt,
  otherKindOf,
  sizeOf,
  statusOf,
} from "./file-status.ts"
import { errno, libc, memoryAt } from "./libc.ts"
import { allocate } from "./memory.ts"
import { nameOf, ownerRemark, pathAddress } from "./path.ts"
import { makeRoom, refillSpares } from "./spare-descriptors.ts"
import { trace } from "./trace.ts"

export const O_RDONLY = 0
export const O_WRONLY = 1
export const O_RDWR = 2
export const O_ACCMODE = 3
export const O_CREAT = 0o100
export const O_EXCL = 0o200
export const O_TRUNC = 0o1000
export const O_PATH = 0o10000000
const O_NOCTTY = 0o400
const O_NONBLOCK = 0o4000
const O_CLOEXEC = 0o2000000
const { O_NOFOLLOW } = constants // another one on each architecture

/** Where files that this process has open look like links. */
const OPEN_FILES = "/proc/self/"

export type Fd = number

/** The descriptors that the calling thread has opened: each thread has its own copy of this module. */
const opened = new Set<Fd>()

export function isOwnFile(fd: Fd): boolean {
  return opened.has(fd)
}

/**
 * Opens a regular file. A new file is for nobody else, unless `mode` says so; the umask applies.
 *
 * Throws a LitefsError with the code "damaged" when something else has the name: a directory, a named pipe, a socket, a
 * device, or a symbolic link that leads nowhere. Opening a named pipe would wait for ever, and a new file would be made
 * where the link leads. No link is followed to write: what it leads to is somebody else's.
 */
export function openFile(op: string, path: string, flags: number, mode = 0o600): Fd {
  // O_NONBLOCK changes nothing for a regular file.
  if ((flags & O_PATH) !== 0) return open(op, path, flags, mode) // reads and writes nothing
  const mayFollow = (flags & O_ACCMODE) === O_RDONLY || path.startsWith(OPEN_FILES)
  const noLink = mayFollow ? 0 : O_NOFOLLOW
  const fd = open(op, path, flags | O_NONBLOCK | O_NOCTTY | noLink, mode, otherKindProblem)
  return closedOnError(fd, () => {
    requireRegular(op, path, fd)
    return fd
  })
}

/** Throws as openFile() does. */
export function requireRegular(op: string, path: string, fd: Fd): void {
  const kind = otherKindOf(op, fd)
  if (kind !== undefined) throw notRegular(path, kind)
}

/** Opens a directory or a device. */
export function openSpecial(op: string, path: string, flags: number): Fd {
  return open(op, path, flags, 0)
}

function open(
  op: string,
  path: string,
  flags: number,
  mode: number,
  problemOf?: (path: string, errno: number) => LitefsError | undefined,
): Fd {
  checkFault(op, () => `open "${path}"`)
  const isNew = (flags & O_CREAT) !== 0 && trace?.exists(path) === false
  for (let wanted = firstFlags(flags); ; ) {
    const fd = libc.open(pathAddress(path), wanted | O_CLOEXEC, mode)
    const error = fd < 0 ? errno() : 0
    if (error === 0) {
      opened.add(fd)
      if (trace !== undefined) traceOpen(fd, path, flags, isNew)
      return fd
    }
    if (error === Errno.EINTR || makeRoom(op, error)) continue
    if (wanted !== flags && (wanted & O_EXCL) !== 0 && error === Errno.EEXIST) {
      wanted = flags & ~O_CREAT
      continue
    }
    const problem = problemOf?.(path, error)
    if (problem !== undefined) throw problem
    if (wanted !== flags && error === Errno.ENOENT && (wanted & O_CREAT) === 0) {
      wanted = firstFlags(flags) // it went in between
      continue
    }
    throw new SysError(error, op, `open "${path}"`, ownerRemark(path, error))
  }
}

/** A new file is made first of all, since only O_EXCL does not follow a link that leads nowhere. */
function firstFlags(flags: number): number {
  return (flags & O_CREAT) === 0 ? flags : flags | O_EXCL
}

/** What stands in the way, if that is why a file could not be opened. */
function otherKindProblem(path: string, error: number): LitefsError | undefined {
  const isOfKind = [Errno.EISDIR, Errno.ENXIO, Errno.ENODEV, Errno.ELOOP, Errno.ENOENT].some(
    (errno) => errno === error,
  )
  const kind = isOfKind ? (otherKindAt(path) ?? linkAt(path)) : undefined
  return kind === undefined ? undefined : notRegular(path, kind)
}

function notRegular(path: string, kind: string): LitefsError {
  return new LitefsError("damaged", `Cannot open "${path}": it is ${kind}, it should be a file`)
}

function traceOpen(fd: Fd, path: string, flags: number, isNew: boolean): void {
  const inode = trace?.inodeOf(fd) ?? ""
  if (isNew) trace?.append({ type: "create", path, inode })
  else if ((flags & O_TRUNC) !== 0) trace?.append({ type: "truncate", inode, size: 0 })
}

/** The descriptor, or undefined when there is no such file. */
export function openIfExists(op: string, path: string, flags: number): Fd | undefined {
  try {
    return openFile(op, path, flags)
  } catch (error) {
    if (error instanceof SysError && error.errno === Errno.ENOENT) return undefined
    throw error
  }
}

export function closeFile(fd: Fd): void {
  opened.delete(fd)
  if (fd >= 0) libc.close(fd)
  refillSpares()
}

/** Closes the file at the end of the block: `using file = closing(openFile(…))`. */
export function closing(fd: Fd): Disposable & { readonly fd: Fd } {
  return { fd, [Symbol.dispose]: () => closeFile(fd) }
}

/** What `make` makes of a file that was just opened. When that fails the file is closed, since nobody else has it. */
export function closedOnError<T>(fd: Fd, make: () => T): T {
  try {
    return make()
  } catch (error) {
    closeFile(fd)
    throw error
  }
}

/** Reads up to `size` bytes at `offset` to `address`; fewer only at the end of the file. */
export function readAt(op: string, fd: Fd, address: number, size: number, offset: number): number {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `read ${size} bytes at ${offset} of ${nameOf(fd)}`)
  let done = 0
  while (done < size) {
    const n = libc.pread(fd, address + done, size - done, offset + done)
    const error = n < 0 ? errno() : 0
    if (error === Errno.EINTR) continue
    if (error !== 0)
      throw new SysError(error, op, `read ${size} bytes at ${offset} of ${nameOf(fd)}`)
    if (n === 0) break
    done += n
  }
  return done
}

/** Writes all `size` bytes at `address` to `offset`. */
export function writeAt(op: string, fd: Fd, address: number, size: number, offset: number): void {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0)
    throw new SysError(fault, op, `write ${size} bytes at ${offset} of ${nameOf(fd)}`)
  let done = 0
  while (done < size) {
    const n = libc.pwrite(fd, address + done, size - done, offset + done)
    const error = n < 0 ? errno() : 0
    if (error === Errno.EINTR) continue
    if (error !== 0)
      throw new SysError(error, op, `write ${size} bytes at ${offset} of ${nameOf(fd)}`)
    done += n
  }
  if (trace === undefined) return
  const inode = trace.inodeOf(fd)
  trace.append({ type: "write", inode, offset }, new Uint8Array(memoryAt(address, size)))
}

const COPY_SIZE = 65536
const copyBuffer = allocate(COPY_SIZE)

/** writeAt() for bytes of the JavaScript heap, by way of memory with an address. */
export function writeBytesAt(op: string, fd: Fd, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.length; done += COPY_SIZE) {
    const part = bytes.subarray(done, done + COPY_SIZE)
    copyBuffer.bytes.set(part)
    writeAt(op, fd, copyBuffer.address, part.length, offset + done)
  }
}

/** readAt() into bytes of the JavaScript heap. */
export function readBytesAt(op: string, fd: Fd, into: Uint8Array, offset: number): number {
  let done = 0
  while (done < into.length) {
    const size = Math.min(COPY_SIZE, into.length - done)
    const n = readAt(op, fd, copyBuffer.address, size, offset + done)
    into.set(copyBuffer.bytes.subarray(0, n), done)
    done += n
    if (n < size) break
  }
  return done
}

/** Data and metadata of the file are durable when this returns. */
export function syncFile(op: string, fd: Fd): void {
  sync(op, fd, "fsync")
}

/** As syncFile(), but without metadata that reading the data back does not need (times). */
export function syncData(op: string, fd: Fd): void {
  sync(op, fd, "fdatasync")
}

function sync(op: string, fd: Fd, call: "fsync" | "fdatasync"): void {
  const start = trace?.position ?? 0
  systemCall(
    op,
    () => `sync ${nameOf(fd)}`,
    () => libc[call](fd),
  )
  trace?.append({ type: "sync", inode: trace.inodeOf(fd), start })
}

export function truncateFile(op: string, fd: Fd, size: number): void {
  const doing = () => `truncate ${nameOf(fd)} to ${size} bytes`
  systemCall(op, doing, () => libc.ftruncate(fd, size))
  trace?.append({ type: "truncate", inode: trace.inodeOf(fd), size })
}

/**
 * Reserves room on the disk for `size` bytes at `offset`, without changing the size of the file. False where the file
 * system cannot promise that.
 */
export function reserveSpace(op: string, fd: Fd, offset: number, size: number): boolean {
  return reserve(op, fd, offset, size) === 0
}

/**
 * The same for what a client claims, before it has anything to write. That it is too much says nothing of the disk: it
 * is a LitefsError "no-space", and no sign of a full disk.
 */
export function claimSpace(op: string, fd: Fd, offset: number, size: number): boolean {
  const error = reserve(op, fd, offset, size, Errno.ENOSPC, Errno.EDQUOT)
  if (error !== Errno.ENOSPC && error !== Errno.EDQUOT) return error === 0
  const what = `Cannot reserve ${size} bytes of ${nameOf(fd)}`
  throw new LitefsError("no-space", `${what}: ${errnoText(error)}`)
}

function reserve(
  op: string,
  fd: Fd,
  offset: number,
  size: number,
  ...expected: readonly number[]
): number {
  const FALLOC_FL_KEEP_SIZE = 1
  const doing = () => `reserve ${size} bytes of ${nameOf(fd)}`
  const call = () => libc.fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, size)
  return systemCall(op, doing, call, Errno.EOPNOTSUPP, Errno.ENOSYS, ...expected)
}

/** False when there was no such file. */
export function unlinkFile(op: string, path: string): boolean {
  const call = () => libc.unlink(pathAddress(path))
  if (systemCall(op, () => `remove "${path}"`, call, Errno.ENOENT) !== 0) return false
  trace?.append({ type: "unlink", path })
  return true
}

/** unlinkFile() for a file that harms nobody if it stays. Does not throw. */
export function discardFile(op: string, path: string): void {
  try {
    unlinkFile(op, path)
  } catch {
    // Something else has failed before, which tells more.
  }
}

export function renameFile(op: string, from: string, to: string): void {
  const call = () => libc.rename(pathAddress(from, 0), pathAddress(to, 1))
  systemCall(op, () => `rename "${from}" to "${to}"`, call)
  trace?.append({ type: "rename", path: from, to })
}

/** Gives a file a second name. */
export function linkFile(op: string, from: string, to: string): void {
  const call = () => libc.link(pathAddress(from, 0), pathAddress(to, 1))
  systemCall(op, () => `link "${from}" to "${to}"`, call)
  trace?.append({ type: "link", path: from, to })
}

/**
 * Makes a copy with the permissions of the file, without copying bytes where the file system can share them. What is at
 * `to` is replaced. Throws as openFile() does, also for what is at `to`.
 */
export function copyFile(op: string, from: string, to: string): void {
  using _ = closing(openFile(op, from, O_RDONLY))
  const kind = otherKindAt(to)
  if (kind !== undefined) throw notRegular(to, kind)
  copyFileSync(from, to, constants.COPYFILE_FICLONE)
}

/** Bytes of a small file: a record, a key, a number. */
const SMALL_FILE_SIZE_MAX = 1024 * 1024

/**
 * The content of a file, or undefined when there is no such file. Throws a LitefsError with the code "damaged" when it
 * has over `sizeMax` bytes: nothing is allocated on a file's word, which may be a sparse one of any size.
 */
export function readWhole(
  op: string,
  path: string,
  sizeMax = SMALL_FILE_SIZE_MAX,
): Uint8Array<ArrayBuffer> | undefined {
  const bytes = readStart(op, path, sizeMax + 1)
  if (bytes === undefined || bytes.length <= sizeMax) return bytes
  const problem = `it has over ${sizeMax} bytes, it should have less`
  throw new LitefsError("damaged", `Cannot read "${path}": ${problem}`)
}

/** The first bytes of a file, up to `sizeMax` of them, or undefined when there is no such file. */
export function readStart(
  op: string,
  path: string,
  sizeMax: number,
): Uint8Array<ArrayBuffer> | undefined {
  const fd = openIfExists(op, path, O_RDONLY)
  if (fd === undefined) return undefined
  using _ = closing(fd)
  const bytes = new Uint8Array(Math.min(sizeOf(op, fd), sizeMax))
  return bytes.subarray(0, readBytesAt(op, fd, bytes, 0))
}

/** False only when there is no such file, not when that cannot be determined. */
export function fileExists(op: string, path: string): boolean {
  const fd = openIfExists(op, path, O_PATH)
  if (fd === undefined) return false
  closeFile(fd)
  return true
}

/** The status of the file that the path names; undefined when there is none. */
export function statusAt(op: string, path: string): FileStatus | undefined {
  const fd = openIfExists(op, path, O_PATH)
  if (fd === undefined) return undefined
  using _ = closing(fd)
  const status = emptyStatus()
  statusOf(op, fd, status)
  return status
}

/** Everything written to the file system of `path` is durable when this returns. */
export function syncFileSystem(op: string, path: string): void {
  using file = closing(openSpecial(op, path, O_RDONLY))
  const start = trace?.position ?? 0
  const doing = () => `sync the file system of "${path}"`
  systemCall(op, doing, () => libc.syncfs(file.fd))
  trace?.append({ type: "syncfs", start })
}

const LOCK_EX = 2
const LOCK_NB = 4

/** True when this process holds the lock on the open file; false when another has it. flock(2), exclusive. */
export function tryLockFile(fd: Fd): boolean {
  return lockFile(fd, LOCK_EX | LOCK_NB, Errno.EAGAIN) === 0
}

/** Waits until this open file has the lock. flock(2), exclusive. An unhandled signal ends the process. */
export function waitForFileLock(fd: Fd): void {
  lockFile(fd, LOCK_EX)
}

function lockFile(fd: Fd, operation: number, ...expected: readonly number[]): number {
  const doing = () => `lock ${nameOf(fd)}`
  return plainCall("lock", doing, () => libc.flock(fd, operation), ...expected)
}
