/**
 * Names of a database's directory that something has that is no regular file: a named pipe, a directory, a device, a
 * symbolic link, through which a node would write to what is somebody else's. And the names of the directory itself and
 * of its log, which a link may have: recovery would lead elsewhere, where nobody looks.
 */
import { join } from "node:path"
import { LitefsError } from "../lib/errors.ts"
import { parseLtxFileName } from "../ltx/file-name.ts"
import type { DataDir } from "../store/data-dir.ts"
import { listDirectory } from "../sys/directory.ts"
import { fileExists } from "../sys/file.ts"
import { linkAt, noDirectoryAt, otherKindAt } from "../sys/file-status.ts"

export interface WrongKind {
  readonly path: string
  /** "a named pipe". */
  readonly is: string
  /** "a regular file". */
  readonly should: string
}

export function wrongKinds(dataDir: DataDir, name: string): WrongKind[] {
  const path = dataDir.databaseDir(name)
  const taken = noDirectoryAt(path)
  if (taken !== undefined) return [{ path, is: taken, should: "a directory" }]
  const ltx = dataDir.ltxDir(name)
  const is = otherKindAt(ltx)
  const link = linkAt(ltx)
  const files = [
    ...(["database", "journal", "wal", "shm"] as const).map((file) => dataDir.path(name, file)),
    dataDir.syncedPath(name),
    dataDir.pastPath(name),
    dataDir.checksumsPath(name),
    dataDir.takeoverPath(name),
    ...(is === "a directory" ? unusualFiles(ltx) : []),
  ]
  const found = files.flatMap((path) => {
    const is = otherKindAt(path) ?? linkAt(path)
    return is === undefined ? [] : [{ path, is, should: "a regular file" }]
  })
  const isMissing = is === undefined && !fileExists("ltx:look", ltx)
  if ((is === "a directory" && link === undefined) || isMissing) return found
  const said = is === undefined || is === "a directory" ? (link ?? "a file") : is
  return [{ path: ltx, is: said, should: "a directory" }, ...found]
}

/** LTX files by their names of which the directory does not say that they are regular files. */
function unusualFiles(ltx: string): string[] {
  return listDirectory("ltx:list", ltx)
    .filter((entry) => !entry.isFile() && parseLtxFileName(entry.name) !== undefined)
    .map(({ name }) => join(ltx, name))
}

/** Throws when there is one. */
export function refuseWrongKinds(dataDir: DataDir, name: string): void {
  const [wrong] = wrongKinds(dataDir, name)
  if (wrong === undefined) return
  const { path, is, should } = wrong
  throw new LitefsError(
    "damaged",
    `Cannot open database "${name}": "${path}" is ${is}, it should be ${should}`,
  )
}
