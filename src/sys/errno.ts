/** Linux error numbers (asm-generic/errno-base.h, errno.h): the same on x86-64 and arm64. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  EBADF: 9,
  ECHILD: 10,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENOTTY: 25,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EMLINK: 31,
  EPIPE: 32,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOLCK: 37,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  EPROTO: 71,
  EILSEQ: 84,
  EOPNOTSUPP: 95,
  ECONNABORTED: 103,
  ENOTCONN: 107,
  EDQUOT: 122,
} as const

const TEXT: Record<number, string> = {
  [Errno.EPERM]: "operation not permitted",
  [Errno.ENOENT]: "no such file or directory",
  [Errno.EIO]: "input/output error",
  [Errno.EACCES]: "permission denied",
  [Errno.EBUSY]: "device or resource busy",
  [Errno.EEXIST]: "file exists",
  [Errno.ENODEV]: "no such device",
  [Errno.ENOTDIR]: "not a directory",
  [Errno.EISDIR]: "is a directory",
  [Errno.EINVAL]: "invalid argument",
  [Errno.ENOSPC]: "no space left on device",
  [Errno.EROFS]: "read-only file system",
  [Errno.ENOLCK]: "no locks available",
  [Errno.ENAMETOOLONG]: "file name too long",
  [Errno.ENOTEMPTY]: "directory not empty",
  [Errno.ENOTCONN]: "transport endpoint is not connected",
  [Errno.EDQUOT]: "disk quota exceeded",
}

const NAMES = new Map(Object.entries(Errno).map(([name, value]) => [value as number, name]))

/** "ENOSPC" for 28; "errno 200" for a number we have no name for. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`
}

/** Whether it says that the disk, or the user's share of it, is full. */
export function isNoSpace(error: unknown): boolean {
  if (!(error instanceof SysError)) return false
  return error.errno === Errno.ENOSPC || error.errno === Errno.EDQUOT
}

/** A system call that failed. `op` is the name the call has in fault tests ("ltx:fsync"). */
export class SysError extends Error {
  override readonly name = "SysError"
  readonly errno: number
  readonly op: string

  constructor(errno: number, op: string, doing: string) {
    super(`Cannot ${doing}: ${TEXT[errno] ?? "system error"} (${errnoName(errno)})`)
    this.errno = errno
    this.op = op
  }
}
