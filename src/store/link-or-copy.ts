import { constants, copyFileSync } from "node:fs"
import { Errno, SysError } from "../sys/errno.ts"
import { linkFile } from "../sys/file.ts"

/** A second name for a file; where a file system knows none, or not this one, a copy. */
export function linkOrCopy(op: string, from: string, to: string): void {
  try {
    linkFile(op, from, to)
  } catch (error) {
    const cannotLink =
      error instanceof SysError &&
      [Errno.EPERM, Errno.EXDEV, Errno.EMLINK, Errno.EOPNOTSUPP].includes(error.errno as never)
    if (!cannotLink) throw error
    copyFileSync(from, to, constants.COPYFILE_FICLONE)
  }
}
