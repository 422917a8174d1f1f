/** What the kernel says about an open file (statx(2)) and a file system (statfs(2)). Errors as in `file.ts`. */
import { systemCall } from "./call.ts"
import { Errno, SysError } from "./errno.ts"
import { faults } from "./faults.ts"
import type { Fd } from "./file.ts"
import { errno, libc } from "./libc.ts"
import { allocate } from "./memory.ts"
import { nameOf, pathAddress } from "./path.ts"

/** What statx(2) returns for an open file. Times in milliseconds since 1970. */
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

const AT_FDCWD = -100
const AT_EMPTY_PATH = 0x1000
const AT_SYMLINK_NOFOLLOW = 0x100
const AT_STATX_DONT_SYNC = 0x4000
const STATX_TYPE = 0x1
const STATX_INO = 0x100
const STATX_BASIC_STATS = 0x7ff
const statxBuffer = allocate(4096)
const statxWords = new Uint32Array(statxBuffer.bytes.buffer, statxBuffer.bytes.byteOffset, 64)
const emptyPath = statxBuffer.address + 4095 // a NUL

/**
 * Fills `into`. statx layout: blksize@4 uid@20 gid@24 mode u16@28 ino@32 size@40 blocks@48 atime@64 ctime@96 mtime@112.
 */
export function statusOf(op: string, fd: Fd, into: FileStatus): void {
  // By hand: it runs for every GETATTR, and systemCall() allocates.
  const fault = faults?.check(op) ?? 0
  const isDone =
    fault === 0 &&
    libc.statx(fd, emptyPath, AT_EMPTY_PATH, STATX_BASIC_STATS, statxBuffer.address) >= 0
  const error = isDone ? 0 : fault || errno()
  if (error !== 0) throw new SysError(error, op, `read the status of ${nameOf(fd)}`)
  into.blockSize = word(1)
  into.uid = word(5)
  into.gid = word(6)
  into.mode = word(7) & 0xffff
  into.inode = double(8)
  into.size = double(10)
  into.blocks = double(12)
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

export function sizeOf(op: string, fd: Fd): number {
  const status = emptyStatus()
  statusOf(op, fd, status)
  return status.size
}

const SEEK_DATA = 3

/** Whether the file has more than a hole from there on. A file system that knows no holes says yes. */
export function hasDataFrom(fd: Fd, offset: number): boolean {
  return libc.lseek(fd, offset, SEEK_DATA) >= 0 || errno() !== Errno.ENXIO
}

/**
 * The inode of the file that the path names, as the kernel knows it; undefined when there is none. In a FUSE mount it
 * costs no request while the kernel knows the name.
 */
export function inodeAt(op: string, path: string): number | undefined {
  const { address } = statxBuffer
  const call = () => libc.statx(AT_FDCWD, pathAddress(path), AT_STATX_DONT_SYNC, STATX_INO, address)
  if (systemCall(op, () => `look for "${path}"`, call, Errno.ENOENT) !== 0) return undefined
  return double(8)
}

const TYPE_BITS = 0o170000
const REGULAR = 0o100000
const DIRECTORY = 0o040000
const LINK = 0o120000
/** By the type bits of a mode (inode(7)). */
const OTHER_KINDS = new Map([
  [0o010000, "a named pipe"],
  [0o020000, "a device"],
  [0o040000, "a directory"],
  [0o060000, "a device"],
  [0o120000, "a symbolic link that leads nowhere"],
  [0o140000, "a socket"],
])

/** What the open file is instead of a regular one. Costs no request in a FUSE mount. */
export function otherKindOf(op: string, fd: Fd): string | undefined {
  const flags = AT_EMPTY_PATH | AT_STATX_DONT_SYNC
  if (libc.statx(fd, emptyPath, flags, STATX_TYPE, statxBuffer.address) < 0) {
    throw new SysError(errno(), op, `read the status of ${nameOf(fd)}`)
  }
  return otherKind()
}

/** The same for what has the name. Undefined also when nothing has it, or nothing is known. */
export function otherKindAt(path: string): string | undefined {
  const look = (flags: number) =>
    libc.statx(AT_FDCWD, pathAddress(path), flags, STATX_TYPE, statxBuffer.address) >= 0
  return look(AT_STATX_DONT_SYNC) || look(AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW)
    ? otherKind()
    : undefined
}

/** "a symbolic link", when one has the name, wherever it leads. */
export function linkAt(path: string): string | undefined {
  const flags = AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW
  const isKnown =
    libc.statx(AT_FDCWD, pathAddress(path), flags, STATX_TYPE, statxBuffer.address) >= 0
  return isKnown && (word(7) & TYPE_BITS) === LINK ? "a symbolic link" : undefined
}

/** What has the name instead of a directory, also a link to one. Undefined also when nothing has it. */
export function noDirectoryAt(path: string): string | undefined {
  const flags = AT_STATX_DONT_SYNC | AT_SYMLINK_NOFOLLOW
  if (libc.statx(AT_FDCWD, pathAddress(path), flags, STATX_TYPE, statxBuffer.address) < 0)
    return undefined
  const type = word(7) & TYPE_BITS
  if (type === DIRECTORY) return undefined
  return type === LINK ? "a symbolic link" : (otherKind() ?? "a file")
}

function otherKind(): string | undefined {
  const type = word(7) & TYPE_BITS
  return type === REGULAR ? undefined : (OTHER_KINDS.get(type) ?? "of another kind")
}

function word(index: number): number {
  return statxWords[index] as number
}

/** 64 bits, of which a number holds 53. */
function double(index: number): number {
  return word(index) + word(index + 1) * 4294967296
}

/** A statx timestamp at word `index`: i64 seconds, u32 nanoseconds. */
function milliseconds(index: number): number {
  return double(index) * 1000 + word(index + 2) / 1e6
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
  const doing = () => `read the status of the file system at "${path}"`
  systemCall(op, doing, () => libc.statfs(pathAddress(path), statfsBuffer.address))
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
