/**
 * Linux error numbers (asm-generic/errno-base.h, errno.h), the same on x86-64 and arm64, and the texts of strerror(3), in
 * lower case.
 */
const TABLE = {
  EPERM: [1, "operation not permitted"],
  ENOENT: [2, "no such file or directory"],
  ESRCH: [3, "no such process"],
  EINTR: [4, "interrupted system call"],
  EIO: [5, "input/output error"],
  ENXIO: [6, "no such device or address"],
  EBADF: [9, "bad file descriptor"],
  ECHILD: [10, "no child processes"],
  EAGAIN: [11, "resource temporarily unavailable"],
  ENOMEM: [12, "cannot allocate memory"],
  EACCES: [13, "permission denied"],
  EFAULT: [14, "bad address"],
  EBUSY: [16, "device or resource busy"],
  EEXIST: [17, "file exists"],
  EXDEV: [18, "invalid cross-device link"],
  ENODEV: [19, "no such device"],
  ENOTDIR: [20, "not a directory"],
  EISDIR: [21, "is a directory"],
  EINVAL: [22, "invalid argument"],
  ENFILE: [23, "too many open files in system"],
  EMFILE: [24, "too many open files"],
  ENOTTY: [25, "inappropriate ioctl for device"],
  ETXTBSY: [26, "text file busy"],
  EFBIG: [27, "file too large"],
  ENOSPC: [28, "no space left on device"],
  ESPIPE: [29, "illegal seek"],
  EROFS: [30, "read-only file system"],
  EMLINK: [31, "too many links"],
  EPIPE: [32, "broken pipe"],
  ERANGE: [34, "numerical result out of range"],
  EDEADLK: [35, "resource deadlock avoided"],
  ENAMETOOLONG: [36, "file name too long"],
  ENOLCK: [37, "no locks available"],
  ENOSYS: [38, "function not implemented"],
  ENOTEMPTY: [39, "directory not empty"],
  ELOOP: [40, "too many levels of symbolic links"],
  EPROTO: [71, "protocol error"],
  EOVERFLOW: [75, "value too large for defined data type"],
  EILSEQ: [84, "invalid or incomplete multibyte or wide character"],
  EUSERS: [87, "too many users"],
  EOPNOTSUPP: [95, "operation not supported"],
  ECONNABORTED: [103, "software caused connection abort"],
  ECONNRESET: [104, "connection reset by peer"],
  ENOBUFS: [105, "no buffer space available"],
  ENOTCONN: [107, "transport endpoint is not connected"],
  ETIMEDOUT: [110, "connection timed out"],
  ESTALE: [116, "stale file handle"],
  EDQUOT: [122, "disk quota exceeded"],
} as const

type Name = keyof typeof TABLE

const NAMES = Object.keys(TABLE) as Name[]

export const Errno = Object.fromEntries(NAMES.map((name) => [name, TABLE[name][0]])) as {
  readonly [K in Name]: (typeof TABLE)[K][0]
}

const BY_NUMBER = new Map<number, Name>(NAMES.map((name) => [Errno[name], name]))

/** "ENOSPC" for 28; "errno 200" for a number that has no name here. */
export function errnoName(errno: number): string {
  return BY_NUMBER.get(errno) ?? `errno ${errno}`
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
  const name = BY_NUMBER.get(errno)
  return `${name === undefined ? "system error" : TABLE[name][1]} (${errnoName(errno)})`
}

/** What the system said to the runtime, in our words: "permission denied (EACCES)". The message for any other error. */
export function systemText(error: unknown): string {
  const { errno } = error as NodeJS.ErrnoException
  if (typeof errno === "number") return errnoText(Math.abs(errno))
  return error instanceof Error ? error.message : String(error)
}

/**
 * One line for a refusal of the system, to us or to the runtime, whose own words are those of its library. Undefined
 * for any other error.
 */
export function systemProblem(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  const { code, errno, syscall, path } = error as NodeJS.ErrnoException
  const advice = code === "EMFILE" ? ", raise the limit (ulimit -n)" : ""
  if (error instanceof SysError) return `${error.message}${advice}`
  if (code === undefined || syscall === undefined) return undefined
  const text = errno === undefined ? code : errnoText(Math.abs(errno))
  return `Cannot ${syscall}${path === undefined ? "" : ` "${path}"`}: ${text}${advice}`
}

/** Why a file that a user names cannot be read, as the end of a sentence. */
export function readProblem(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException
  if (code === "ENOENT") return "there is no such file"
  if (code === "EISDIR") return "it is a directory, it should be a file"
  if (code === "EACCES") return "this user may not read it"
  return systemText(error)
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

  /** `remark` goes on with the sentence. */
  constructor(errno: number, op: string, doing: string, remark = "") {
    super(`Cannot ${doing}: ${errnoText(errno)}${remark}`)
    this.errno = errno
    this.code = errnoName(errno)
    this.op = op
    if (isNoSpace(this)) onFullDisk?.()
  }
}
