/** A file that a command makes: it gets its name when it is whole, and never replaces another file. */
import { chmodSync, existsSync, linkSync, unlinkSync } from "node:fs"
import { LitefsError } from "../../lib/errors.ts"

/** Calls `write` with a path beside the final one. Removes what it leaves there when it throws. */
export function makeNewFile<T>(path: string, write: (partPath: string) => T): T {
  refuseExisting(path)
  const partPath = `${path}.part-${process.pid}`
  try {
    const result = write(partPath)
    chmodSync(partPath, 0o666 & ~process.umask()) // the daemon's own file functions make files for nobody else
    try {
      linkSync(partPath, path) // unlike a rename it does not replace a file that has appeared there since
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EEXIST") refuseExisting(path)
      throw error
    }
    return result
  } finally {
    if (existsSync(partPath)) unlinkSync(partPath)
  }
}

function refuseExisting(path: string): void {
  if (!existsSync(path)) return
  throw new LitefsError(
    "unavailable",
    `Cannot write "${path}": it exists, remove it or choose another name`,
  )
}
