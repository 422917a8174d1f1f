/**
 * The bits of the protocol, one table per field that carries them: include/uapi/linux/fuse.h, and the fcntl.h of the
 * architecture for open(2). The keys are the kernel's names without their common prefix; the tracer prints them.
 */

/** fuse_init_in.flags, fuse_init_out.flags: FUSE_… */
export const InitFlag = {
  ASYNC_READ: 1 << 0,
  POSIX_LOCKS: 1 << 1, // fcntl(2) locks become requests; otherwise the kernel keeps them
  FILE_OPS: 1 << 2,
  ATOMIC_O_TRUNC: 1 << 3, // O_TRUNC arrives in OPEN instead of as a SETATTR before it
  EXPORT_SUPPORT: 1 << 4,
  BIG_WRITES: 1 << 5, // more than a page per WRITE
  DONT_MASK: 1 << 6,
  SPLICE_WRITE: 1 << 7,
  SPLICE_MOVE: 1 << 8,
  SPLICE_READ: 1 << 9,
  FLOCK_LOCKS: 1 << 10, // flock(2) locks become requests
  HAS_IOCTL_DIR: 1 << 11,
  AUTO_INVAL_DATA: 1 << 12, // the kernel drops cached pages when it sees mtime or size change
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  WRITEBACK_CACHE: 1 << 16, // writes stay in the kernel for a while
  NO_OPEN_SUPPORT: 1 << 17, // ENOSYS to OPEN means that files need no opening
  PARALLEL_DIROPS: 1 << 18,
  HANDLE_KILLPRIV: 1 << 19,
  POSIX_ACL: 1 << 20,
  ABORT_ERROR: 1 << 21,
  MAX_PAGES: 1 << 22, // max_pages of the reply is valid: requests of more than 128 KiB
  CACHE_SYMLINKS: 1 << 23,
  NO_OPENDIR_SUPPORT: 1 << 24, // ENOSYS to OPENDIR means that directories need no opening
  EXPLICIT_INVAL_DATA: 1 << 25, // only a notification drops cached pages
  MAP_ALIGNMENT: 1 << 26,
  SUBMOUNTS: 1 << 27,
  HANDLE_KILLPRIV_V2: 1 << 28,
  SETXATTR_EXT: 1 << 29,
  INIT_EXT: 1 << 30, // flags2 is valid
} as const

/** fuse_init_in.flags2, fuse_init_out.flags2: bits 32 and up of the same set. */
export const InitFlag2 = {
  SECURITY_CTX: 1 << 0,
  HAS_INODE_DAX: 1 << 1,
  CREATE_SUPP_GROUP: 1 << 2,
  HAS_EXPIRE_ONLY: 1 << 3,
  DIRECT_IO_ALLOW_MMAP: 1 << 4,
  PASSTHROUGH: 1 << 5, // reads and writes of an open file may go straight to a file behind it
  NO_EXPORT_SUPPORT: 1 << 6,
  HAS_RESEND: 1 << 7,
  ALLOW_IDMAP: 1 << 8,
  OVER_IO_URING: 1 << 9,
  REQUEST_TIMEOUT: 1 << 10,
} as const

/** fuse_open_out.open_flags: FOPEN_… */
export const Fopen = {
  DIRECT_IO: 1 << 0, // past the page cache; refuses MAP_SHARED, which SQLite needs for -shm
  KEEP_CACHE: 1 << 1, // the cached content of the file is still true
  NONSEEKABLE: 1 << 2,
  CACHE_DIR: 1 << 3,
  STREAM: 1 << 4,
  NOFLUSH: 1 << 5, // no FLUSH when a descriptor is closed
  PARALLEL_DIRECT_WRITES: 1 << 6,
  PASSTHROUGH: 1 << 7, // reads and writes go to `backing_id`
} as const

/** fuse_setattr_in.valid: FATTR_…, which of its fields to apply. */
export const Fattr = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  LOCKOWNER: 1 << 9,
  CTIME: 1 << 10,
  KILL_SUIDGID: 1 << 11,
} as const

/** fuse_write_in.write_flags: FUSE_WRITE_… */
export const WriteFlag = {
  CACHE: 1 << 0, // from the page cache: fh is a guess, and the caller did not write this
  LOCKOWNER: 1 << 1, // lock_owner is valid
  KILL_SUIDGID: 1 << 2,
} as const

/** fuse_fsync_in.fsync_flags: FUSE_FSYNC_… */
export const FsyncFlag = {
  FDATASYNC: 1 << 0,
} as const

/** fuse_fallocate_in.mode: FALLOC_FL_… of fallocate(2) */
export const FallocateMode = {
  KEEP_SIZE: 1 << 0,
} as const

/** fuse_release_in.release_flags: FUSE_RELEASE_… */
export const ReleaseFlag = {
  FLUSH: 1 << 0,
  FLOCK_UNLOCK: 1 << 1, // lock_owner is valid, and its flock(2) locks go with it
} as const

/** fuse_lk_in.lk_flags: FUSE_LK_… */
export const LkFlag = {
  FLOCK: 1 << 0, // flock(2), not fcntl(2)
} as const

/** fuse_file_lock.type: F_… */
export const LockType = {
  RDLCK: 0,
  WRLCK: 1,
  UNLCK: 2,
} as const

/** fuse_rename2_in.flags: RENAME_… */
export const RenameFlag = {
  NOREPLACE: 1 << 0,
  EXCHANGE: 1 << 1,
  WHITEOUT: 1 << 2,
} as const

/** fuse_dirent.type: DT_…, which is the type of `st_mode` shifted right by 12. */
export const DirentType = {
  DIR: 4,
  REG: 8,
} as const

const isArm64 = process.arch === "arm64"

/** fuse_open_in.flags, fuse_create_in.flags: O_… of open(2). O_RDONLY is 0 and has no bit. */
export const OpenFlag = {
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  NOCTTY: 0o400,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  DSYNC: 0o10000,
  DIRECT: isArm64 ? 0o200000 : 0o40000,
  LARGEFILE: isArm64 ? 0o400000 : 0o100000,
  DIRECTORY: isArm64 ? 0o40000 : 0o200000,
  NOFOLLOW: isArm64 ? 0o100000 : 0o400000,
  NOATIME: 0o1000000,
  CLOEXEC: 0o2000000,
  SYNC: 0o4000000, // O_SYNC is this and O_DSYNC
  PATH: 0o10000000,
  TMPFILE: 0o20000000,
} as const

/** "KEEP_CACHE|NOFLUSH"; bits without a name follow in hexadecimal; "0" when no bit is set. */
export function flagNames(table: Readonly<Record<string, number>>, flags: number): string {
  const names: string[] = []
  let rest = flags
  for (const [name, bit] of Object.entries(table)) {
    if ((flags & bit) === 0) continue
    names.push(name)
    rest &= ~bit
  }
  if (rest !== 0) names.push(`0x${(rest >>> 0).toString(16)}`)
  return names.length === 0 ? "0" : names.join("|")
}
