import { Errno, SysError } from "../sys/errno.ts"
import { copyFile, linkFile } from "../sys/file.ts"

/** Gives a file a second name. Makes a copy where the file system cannot link it. */
export function linkOrCopy(op: string, from: string, to: string): void {
  try {
    linkFile(op, from, to)
  } catch (error) {
    const cannotLink =
      error instanceof SysError &&
      [Errno.EPERM, Errno.EXDEV, Errno.EMLINK, Errno.EOPNOTSUPP].includes(error.errno as never)
    if (!cannotLink) throw error
    copyFile(op, from, to)
  }
}
