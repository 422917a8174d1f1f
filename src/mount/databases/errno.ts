import { FuseError } from "../../fuse/fuse-error.ts"
import { type ErrorCode, LitefsError } from "../../lib/errors.ts"
import { Errno, SysError } from "../../sys/errno.ts"

/** What a client of the mount is told of each condition. */
const ERRNO: Record<ErrorCode, number> = {
  usage: Errno.EINVAL,
  unauthorized: Errno.EACCES,
  forbidden: Errno.EACCES,
  "not-found": Errno.ENOENT,
  "name-invalid": Errno.EACCES,
  "no-primary": Errno.EROFS,
  "no-lock": Errno.EROFS,
  "position-mismatch": Errno.EIO,
  invalid: Errno.EIO,
  damaged: Errno.EIO,
  unsupported: Errno.EPERM,
  unavailable: Errno.EIO,
  "no-space": Errno.ENOSPC,
  io: Errno.EIO,
}

export function errnoOf(error: unknown): number {
  if (error instanceof FuseError || error instanceof SysError) return error.errno
  if (error instanceof LitefsError) return ERRNO[error.code]
  return Errno.EIO
}
