/**
 * Files by descriptor. Every function takes the name (`op`) that its call has in fault tests, and throws
 * SysError when the call fails. EINTR is retried here, so callers never see it.
 */
import { type Dirent, readdirSync } from "node:fs"
import { Errno, SysError } from "./errno.ts"
import { faults } from "./faults.ts"
import { errno, libc, memoryAt } from "./libc.ts"
import { allocate } from "./memory.ts"
import { nameOf, pathAddress } from "./path.ts"
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
const O_CLOEXEC = 0o2000000

export type Fd = number

/** What the calling thread has opened: each has its own copy of this module. */
const opened = new Set<Fd>()

export function isOwnFile(fd: Fd): boolean {
  return opened.has(fd)
}

/** Files that are made are for nobody else, unless `mode` says so; the umask applies. */
export function openFile(op: string, path: string, flags: number, mode = 0o600): Fd {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `open "${path}"`)
  const isNew = (flags & O_CREAT) !== 0 && trace?.exists(path) === false
  for (;;) {
    const fd = libc.open(pathAddress(path), flags | O_CLOEXEC, mode)
    const error = fd < 0 ? errno() : 0
    if (error === 0) {
      opened.add(fd)
      if (trace !== undefined) traceOpen(fd, path, flags, isNew)
      return fd
    }
    if (error === Errno.EINTR || makeRoom(op, error)) continue
    throw new SysError(error, op, `open "${path}"`)
  }
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

/** What is made of a file that was opened just now. When that fails nobody has the file, and it is closed. */
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

/** writeAt() for bytes of the JavaScript heap: they are copied to memory with an address first. */
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

/** Data and metadata of the file reach the disk before this returns. */
export function syncFile(op: string, fd: Fd): void {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `sync ${nameOf(fd)}`)
  const start = trace?.position ?? 0
  for (;;) {
    const error = libc.fsync(fd) < 0 ? errno() : 0
    if (error === 0) {
      trace?.append({ type: "sync", inode: trace.inodeOf(fd), start })
      return
    }
    if (error !== Errno.EINTR) throw new SysError(error, op, `sync ${nameOf(fd)}`)
  }
}

/** As syncFile(), less metadata that is not needed to read the data back (times). */
export function syncData(op: string, fd: Fd): void {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `sync ${nameOf(fd)}`)
  const start = trace?.position ?? 0
  for (;;) {
    const error = libc.fdatasync(fd) < 0 ? errno() : 0
    if (error === 0) {
      trace?.append({ type: "sync", inode: trace.inodeOf(fd), start })
      return
    }
    if (error !== Errno.EINTR) throw new SysError(error, op, `sync ${nameOf(fd)}`)
  }
}

export function truncateFile(op: string, fd: Fd, size: number): void {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `truncate ${nameOf(fd)} to ${size} bytes`)
  for (;;) {
    const error = libc.ftruncate(fd, size) < 0 ? errno() : 0
    if (error === 0) {
      trace?.append({ type: "truncate", inode: trace.inodeOf(fd), size })
      return
    }
    if (error !== Errno.EINTR)
      throw new SysError(error, op, `truncate ${nameOf(fd)} to ${size} bytes`)
  }
}

/**
 * Makes sure that there is room on the disk for `size` bytes at `offset`, without changing the size of the file.
 * False where the file system cannot promise that.
 */
export function reserveSpace(op: string, fd: Fd, offset: number, size: number): boolean {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `reserve ${size} bytes of ${nameOf(fd)}`)
  const FALLOC_FL_KEEP_SIZE = 1
  for (;;) {
    const error = libc.fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, size) < 0 ? errno() : 0
    if (error === 0) return true
    if (error === Errno.EOPNOTSUPP || error === Errno.ENOSYS) return false
    if (error !== Errno.EINTR)
      throw new SysError(error, op, `reserve ${size} bytes of ${nameOf(fd)}`)
  }
}

/** False when there was no such file. */
export function unlinkFile(op: string, path: string): boolean {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `remove "${path}"`)
  const error = libc.unlink(pathAddress(path)) < 0 ? errno() : 0
  if (error !== 0 && error !== Errno.ENOENT) throw new SysError(error, op, `remove "${path}"`)
  if (error === 0) trace?.append({ type: "unlink", path })
  return error === 0
}

export function renameFile(op: string, from: string, to: string): void {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `rename "${from}" to "${to}"`)
  const error = libc.rename(pathAddress(from, 0), pathAddress(to, 1)) < 0 ? errno() : 0
  if (error !== 0) throw new SysError(error, op, `rename "${from}" to "${to}"`)
  trace?.append({ type: "rename", path: from, to })
}

/** A second name for a file. */
export function linkFile(op: string, from: string, to: string): void {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `link "${from}" to "${to}"`)
  const error = libc.link(pathAddress(from, 0), pathAddress(to, 1)) < 0 ? errno() : 0
  if (error !== 0) throw new SysError(error, op, `link "${from}" to "${to}"`)
  trace?.append({ type: "link", path: from, to })
}

/** False when it was there already. As files, it is for nobody else. */
export function makeDirectory(op: string, path: string, mode = 0o700): boolean {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `make directory "${path}"`)
  const error = libc.mkdir(pathAddress(path), mode) < 0 ? errno() : 0
  if (error !== 0 && error !== Errno.EEXIST) {
    throw new SysError(error, op, `make directory "${path}"`)
  }
  if (error === 0) trace?.append({ type: "mkdir", path })
  return error === 0
}

/** The directory must be empty. */
export function removeDirectory(op: string, path: string): void {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `remove directory "${path}"`)
  const error = libc.rmdir(pathAddress(path)) < 0 ? errno() : 0
  if (error !== 0) throw new SysError(error, op, `remove directory "${path}"`)
  trace?.append({ type: "unlink", path })
}

/** The content of a file, or undefined when there is no such file. */
export function readWhole(op: string, path: string): Uint8Array<ArrayBuffer> | undefined {
  const fd = openIfExists(op, path, O_RDONLY)
  if (fd === undefined) return undefined
  try {
    const bytes = new Uint8Array(sizeOf(op, fd))
    return bytes.subarray(0, readBytesAt(op, fd, bytes, 0))
  } finally {
    closeFile(fd)
  }
}

/** Names in a directory, in no order. */
export function listDirectory(op: string, path: string): Dirent[] {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `list directory "${path}"`)
  return readdirSync(path, { withFileTypes: true })
}

/** False only when there is no such file, not when nobody can tell. */
export function fileExists(op: string, path: string): boolean {
  const fd = openIfExists(op, path, O_PATH)
  if (fd === undefined) return false
  closeFile(fd)
  return true
}

/** Names made and removed in the directory so far reach the disk before this returns. */
export function syncDirectory(op: string, path: string): void {
  const fd = openFile(op, path, O_RDONLY)
  const start = trace?.position ?? 0
  try {
    syncFile(op, fd)
  } finally {
    closeFile(fd)
  }
  trace?.append({ type: "sync-directory", path, start })
}

/** What statx(2) tells of an open file. Times in milliseconds since 1970. */
export interface FileStatus {
  inode: number
  size: number
  blocks: number // of 512 bytes
  blockSize: number
  uid: number
  gid: number
  mode: number // type and permissions
  accessedMs: number
  modifiedMs: number
  changedMs: number
}

const AT_EMPTY_PATH = 0x1000
const STATX_BASIC_STATS = 0x7ff
const statxBuffer = allocate(4096)
const statxWords = new Uint32Array(statxBuffer.bytes.buffer, statxBuffer.bytes.byteOffset, 64)
const emptyPath = statxBuffer.address + 4095 // a NUL

/** Fills `into`. statx layout: blksize@4 uid@20 gid@24 mode u16@28 ino@32 size@40 blocks@48 atime@64 ctime@96 mtime@112. */
export function statusOf(op: string, fd: Fd, into: FileStatus): void {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `read the status of ${nameOf(fd)}`)
  const failed =
    libc.statx(fd, emptyPath, AT_EMPTY_PATH, STATX_BASIC_STATS, statxBuffer.address) < 0
  const error = failed ? errno() : 0
  if (error !== 0) throw new SysError(error, op, `read the status of ${nameOf(fd)}`)
  into.blockSize = word(1)
  into.uid = word(5)
  into.gid = word(6)
  into.mode = word(7) & 0xffff
  into.inode = word(8) + word(9) * 4294967296
  into.size = word(10) + word(11) * 4294967296
  into.blocks = word(12) + word(13) * 4294967296
  into.accessedMs = milliseconds(16)
  into.changedMs = milliseconds(24)
  into.modifiedMs = milliseconds(28)
}

export function emptyStatus(): FileStatus {
  return {
    inode: 0,
    size: 0,
    blocks: 0,
    blockSize: 4096,
    uid: 0,
    gid: 0,
    mode: 0,
    accessedMs: 0,
    modifiedMs: 0,
    changedMs: 0,
  }
}

/** The status of what the path stands for, or undefined when there is nothing. */
export function statusAt(op: string, path: string): FileStatus | undefined {
  const fd = openIfExists(op, path, O_PATH)
  if (fd === undefined) return undefined
  try {
    const status = emptyStatus()
    statusOf(op, fd, status)
    return status
  } finally {
    closeFile(fd)
  }
}

export function sizeOf(op: string, fd: Fd): number {
  const status = emptyStatus()
  statusOf(op, fd, status)
  return status.size
}

function word(index: number): number {
  return statxWords[index] as number
}

/** A statx timestamp at word `index`: i64 seconds, u32 nanoseconds. */
function milliseconds(index: number): number {
  return (word(index) + word(index + 1) * 4294967296) * 1000 + word(index + 2) / 1e6
}

/** statfs(2) of a path: sizes in blocks of `blockSize`. */
export interface FileSystemStatus {
  blocks: number
  blocksFree: number
  blocksAvailable: number
  files: number
  filesFree: number
  blockSize: number
  nameLength: number
}

const statfsBuffer = allocate(4096)
const statfsView = new DataView(statfsBuffer.bytes.buffer, statfsBuffer.bytes.byteOffset, 120)

/** struct statfs: type@0 bsize@8 blocks@16 bfree@24 bavail@32 files@40 ffree@48 fsid@56 namelen@64. */
export function fileSystemStatus(op: string, path: string): FileSystemStatus {
  const fault = faults?.check(op) ?? 0
  if (fault !== 0) throw new SysError(fault, op, `read the status of the file system at "${path}"`)
  const error = libc.statfs(pathAddress(path), statfsBuffer.address) < 0 ? errno() : 0
  if (error !== 0) throw new SysError(error, op, `read the status of the file system at "${path}"`)
  const at = (offset: number) => Number(statfsView.getBigUint64(offset, true))
  return {
    blockSize: at(8),
    blocks: at(16),
    blocksFree: at(24),
    blocksAvailable: at(32),
    files: at(40),
    filesFree: at(48),
    nameLength: at(64),
  }
}

/** Everything that was written to the file system of `path` reaches the disk before this returns. */
export function syncFileSystem(op: string, path: string): void {
  const fd = openFile(op, path, O_RDONLY)
  const fault = faults?.check(op) ?? 0
  const start = trace?.position ?? 0
  const error = fault || (libc.syncfs(fd) < 0 ? errno() : 0)
  closeFile(fd)
  if (error !== 0) throw new SysError(error, op, `sync the file system of "${path}"`)
  trace?.append({ type: "syncfs", start })
}

/** True when this process holds the lock on the open file; false when another has it. flock(2), exclusive. */
export function tryLockFile(fd: Fd): boolean {
  const LOCK_EX_NB = 2 | 4
  const error = libc.flock(fd, LOCK_EX_NB) < 0 ? errno() : 0
  if (error === 0) return true
  if (error === Errno.EAGAIN) return false
  throw new SysError(error, "lock", `lock ${nameOf(fd)}`)
}

/** Waits until this open file has the lock. flock(2), exclusive. A signal of which nobody knows ends the process. */
export function waitForFileLock(fd: Fd): void {
  const LOCK_EX = 2
  for (;;) {
    const error = libc.flock(fd, LOCK_EX) < 0 ? errno() : 0
    if (error === 0) return
    if (error !== Errno.EINTR) throw new SysError(error, "lock", `lock ${nameOf(fd)}`)
  }
}
