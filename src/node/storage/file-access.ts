/** The access of files that no client of the mount makes: those of a replica, and of imported databases. */
import { logger } from "../../lib/log.ts"
import type { LiteFSOptions } from "../../litefs-options.ts"
import type { DataDir } from "../../store/data-dir.ts"
import type { FileAccess } from "../../sys/file-access.ts"
import { accessOfDirectory } from "../../sys/mount.ts"

const log = logger("litefs")

type AccessOptions = Pick<LiteFSOptions, "fuseDir" | "fuseOwner" | "fuseMode">

/** Undefined when there is no directory: nothing can be mounted then. */
export function newFileAccess({ fuseDir, fuseOwner, fuseMode }: AccessOptions) {
  const directory = accessOfDirectory(fuseDir)
  if (directory === undefined) return undefined
  const { uid, gid } = fuseOwner ?? directory
  return { uid, gid, mode: fuseMode ?? fileModeIn(directory.mode) }
}

/**
 * The owner reads and writes. So does the group, if it may enter the directory at all: SQLite's readers write to the
 * wal-index. Others may do what they may do with the directory.
 */
function fileModeIn(directoryMode: number): number {
  const group = (directoryMode & 0o010) === 0 ? 0 : 0o060
  return 0o600 | group | (directoryMode & 0o006)
}

export function adoptFiles(dataDir: DataDir, access: FileAccess | undefined): void {
  const files = dataDir.adoptFiles()
  if (files === 0 || access === undefined) return
  const { uid, gid, mode } = access
  const owner = `${uid}:${gid}`
  log.info("files of databases had no owners, setting them once", {
    ...{ files, owner, mode: mode.toString(8) },
  })
}
