/** Linux error numbers (asm-generic/errno-base.h, errno.h): the same on x86-64 and arm64. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  ECHILD: 10,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOTTY: 25,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EMLINK: 31,
  EPIPE: 32,
  ERANGE: 34,
  EDEADLK: 35,
  ENAMETOOLONG: 36,
  ENOLCK: 37,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  EPROTO: 71,
  EOVERFLOW: 75,
  EILSEQ: 84,
  EUSERS: 87,
  EOPNOTSUPP: 95,
  ECONNABORTED: 103,
  ECONNRESET: 104,
  ENOBUFS: 105,
  ENOTCONN: 107,
  ETIMEDOUT: 110,
  ESTALE: 116,
  EDQUOT: 122,
} as const

/** The texts of strerror(3), in lower case. */
const TEXT: Record<keyof typeof Errno, string> = {
  EPERM: "operation not permitted",
  ENOENT: "no such file or directory",
  ESRCH: "no such process",
  EINTR: "interrupted system call",
  EIO: "input/output error",
  ENXIO: "no such device or address",
  EBADF: "bad file descriptor",
  ECHILD: "no child processes",
  EAGAIN: "resource temporarily unavailable",
  ENOMEM: "cannot allocate memory",
  EACCES: "permission denied",
  EFAULT: "bad address",
  EBUSY: "device or resource busy",
  EEXIST: "file exists",
  EXDEV: "invalid cross-device link",
  ENODEV: "no such device",
  ENOTDIR: "not a directory",
  EISDIR: "is a directory",
  EINVAL: "invalid argument",
  ENFILE: "too many open files in system",
  EMFILE: "too many open files",
  ENOTTY: "inappropriate ioctl for device",
  ETXTBSY: "text file busy",
  EFBIG: "file too large",
  ENOSPC: "no space left on device",
  ESPIPE: "illegal seek",
  EROFS: "read-only file system",
  EMLINK: "too many links",
  EPIPE: "broken pipe",
  ERANGE: "numerical result out of range",
  EDEADLK: "resource deadlock avoided",
  ENAMETOOLONG: "file name too long",
  ENOLCK: "no locks available",
  ENOSYS: "function not implemented",
  ENOTEMPTY: "directory not empty",
  ELOOP: "too many levels of symbolic links",
  EPROTO: "protocol error",
  EOVERFLOW: "value too large for defined data type",
  EILSEQ: "invalid or incomplete multibyte or wide character",
  EUSERS: "too many users",
  EOPNOTSUPP: "operation not supported",
  ECONNABORTED: "software caused connection abort",
  ECONNRESET: "connection reset by peer",
  ENOBUFS: "no buffer space available",
  ENOTCONN: "transport endpoint is not connected",
  ETIMEDOUT: "connection timed out",
  ESTALE: "stale file handle",
  EDQUOT: "disk quota exceeded",
}

const NAMES = new Map(
  Object.entries(Errno).map(([name, value]) => [value as number, name as keyof typeof Errno]),
)

/** "ENOSPC" for 28; "errno 200" for a number that has no name here. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`
}

/** Whether the error says that the disk, or the user's share of it, is full. */
export function isNoSpace(error: unknown): boolean {
  if (!(error instanceof SysError)) return false
  return error.errno === Errno.ENOSPC || error.errno === Errno.EDQUOT
}

let onFullDisk: (() => void) | undefined

/** Calls the listener for every call of this thread that fails because the disk, or the user's share of it, is full. */
export function watchFullDisk(listener: () => void): void {
  onFullDisk = listener
}

/** "no such file or directory (ENOENT)". */
export function errnoText(errno: number): string {
  const name = NAMES.get(errno)
  return `${name === undefined ? "system error" : TEXT[name]} (${errnoName(errno)})`
}

/**
 * One line for a refusal of the system, to us or to the runtime, whose own words are those of its library. Undefined
 * for any other error.
 */
export function systemProblem(error: unknown): string | undefined {
  if (error instanceof SysError) return error.message
  if (!(error instanceof Error)) return undefined
  const { code, errno, syscall, path } = error as NodeJS.ErrnoException
  if (code === undefined || syscall === undefined) return undefined
  const text = errno === undefined ? code : errnoText(Math.abs(errno))
  return `Cannot ${syscall}${path === undefined ? "" : ` "${path}"`}: ${text}`
}

/**
 * A system call that failed. `op` is the name of the call in fault tests ("ltx:fsync"). Like the runtime's errors it
 * has a `code`: it is a condition of the world, not a bug.
 */
export class SysError extends Error {
  override readonly name = "SysError"
  readonly errno: number
  readonly code: string
  readonly op: string

  constructor(errno: number, op: string, doing: string) {
    super(`Cannot ${doing}: ${errnoText(errno)}`)
    this.errno = errno
    this.code = errnoName(errno)
    this.op = op
    if (isNoSpace(this)) onFullDisk?.()
  }
}
