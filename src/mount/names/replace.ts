/**
 * Puts a file that the daemon was given (`litefs import`) in the place of a database, or makes a new one of it.
 *
 * The peer thread asks for this when it has locked every client out of the database, or when it has seen that
 * there is none. Here nothing else happens meanwhile, so what it has seen is checked once more and stays true.
 */
import { constants, copyFileSync } from "node:fs"
import { dirname } from "node:path"
import { emptyHistoryState, History } from "../../capture/history.ts"
import { isFitFor, type Replacement } from "../../capture/replacement.ts"
import { FuseError } from "../../fuse/fuse-error.ts"
import { must } from "../../lib/assert.ts"
import { type ErrorCode, LitefsError, messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import type { Pos } from "../../ltx/pos.ts"
import { droppedState } from "../../recovery/dropped-database.ts"
import { takeSums } from "../../recovery/saved-sums.ts"
import {
  DATABASE_HEADER_SIZE,
  decodeDatabaseHeader,
  isWalMode,
} from "../../sqlite/database-header.ts"
import { BackedFile } from "../../store/backed-file.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { LtxDirectory } from "../../store/ltx/ltx-directory.ts"
import { syncDirectory } from "../../sys/directory.ts"
import { isNoSpace } from "../../sys/errno.ts"
import { linkFile, readBytesAt } from "../../sys/file.ts"
import type { MountedDatabase, MountedDatabaseContext } from "../databases/mounted-database.ts"
import { type Directory, SIDE_SUFFIXES } from "./directory.ts"

const log = logger("import")

export interface ReplaceRequest {
  readonly database: string
  /** DataDir.importPath() of the content, which is verified and prepared. */
  readonly file: number
  /** Whether the database was there, and nobody is in a transaction of it. */
  readonly isLocked: boolean
}

export type ReplaceOutcome =
  | {
      readonly kind: "replaced"
      readonly pos: Pos
      readonly pageSize: number
      readonly commit: number
      /** Nodes of files that have other content now. */
      readonly nodeIds: readonly number[]
    }
  /** The database is there now, or is no longer: nothing was done. */
  | { readonly kind: "changed" }
  /** The journal mode is another than when the file was prepared, which has to be done again. Else the same. */
  | { readonly kind: "stale" }
  | { readonly kind: "refused"; readonly code: ErrorCode; readonly message: string }

/** Does not throw: what goes wrong is the outcome. */
export function replaceDatabase(
  directory: Directory,
  context: MountedDatabaseContext,
  request: ReplaceRequest,
): ReplaceOutcome {
  try {
    return replace(directory, context, request)
  } catch (error) {
    return refusal(request.database, error)
  }
}

function replace(
  directory: Directory,
  context: MountedDatabaseContext,
  { database: name, file, isLocked }: ReplaceRequest,
): ReplaceOutcome {
  const isThere = directory.databases.find(name)?.database.open() === true
  if (isThere !== isLocked) return { kind: "changed" }

  const nodeIds = directory.nodeIds([name, `${name}-journal`, `${name}-wal`])
  // Of a database that was removed; to the next client they would belong to this one.
  if (!isThere) for (const suffix of SIDE_SUFFIXES) directory.removeIfThere(name + suffix)
  const known = directory.databases.find(name) // with those files one may have gone that was nothing else
  const old = isThere ? known?.capture?.databaseHeader() : undefined
  const content = openPrepared(context.dataDir, file, old)
  if (content === undefined) return { kind: "stale" }
  if (known !== undefined && old !== undefined && decodeDatabaseHeader(old) === undefined) {
    keepUnreadable(known, context)
  }
  const database = put(content, name, known, directory, context)
  const { pos, pageSize, commit } = must(database.capture, "capture").history
  return { kind: "replaced", pos, pageSize, commit, nodeIds }
}

/** What peer/serve/import-preparation.ts has left; undefined when it does not fit the database as it is now. */
function openPrepared(
  dataDir: DataDir,
  number: number,
  old: Uint8Array | undefined,
): Replacement | undefined {
  const path = dataDir.importPath(number)
  const file = new BackedFile("import", path)
  try {
    const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
    readBytesAt("import:read", file.fd, bytes, 0)
    if (old !== undefined && !isFitFor(bytes, old)) return undefined
    const header = must(decodeDatabaseHeader(bytes), "header")
    const saved = takeSums(dataDir.importSumsPath(number), file)
    if (saved === undefined) return undefined
    const { pageSize, commit, sums } = saved
    const ltxPath = dataDir.importLtxPath(number)
    const oldPath = dataDir.importOldPath(number)
    return { path, ltxPath, oldPath, pageSize, commit, sums, isWalMode: isWalMode(header) }
  } finally {
    file.close()
  }
}

/** What cannot be opened any more is kept for somebody who looks into it, with its WAL as SQLite names it. */
function keepUnreadable(known: MountedDatabase, { clock }: MountedDatabaseContext): void {
  const { name, database, wal } = known
  const kept = `${database.path}.damaged-${clock.wallMs()}`
  linkFile("database:keep", database.path, kept)
  // Not a link: clients go on with the file that it is.
  if (wal.size() > 0) copyFileSync(wal.path, `${kept}-wal`, constants.COPYFILE_FICLONE)
  syncDirectory("database:sync-dir", dirname(kept))
  log.warn("kept what was no database any more when another took its place", {
    ...{ db: name, file: kept },
  })
}

/** Makes the transaction durable, then the file. When the transaction cannot be made, nothing is left of it. */
function put(
  content: Replacement,
  name: string,
  known: MountedDatabase | undefined,
  directory: Directory,
  context: MountedDatabaseContext,
): MountedDatabase {
  const { dataDir } = context
  known?.capture?.assertUsable()
  if (!context.role.isPrimary || !context.log.isOpen) {
    const problem = "this node is handing its role of primary over, import on the new primary"
    throw new LitefsError("no-primary", `Cannot import "${name}": ${problem}`)
  }
  if (known === undefined) dataDir.createDatabase(name)
  const ltx = new LtxDirectory(dataDir.ltxDir(name))
  const history =
    known?.capture?.history ??
    new History(name, droppedState(dataDir, name) ?? emptyHistoryState(), { ...context, ltx })
  try {
    history.adopt(content)
  } catch (error) {
    if (known === undefined) takeBack(name, dataDir)
    throw error
  }
  const database = known ?? directory.databases.add(name, history)
  must(database.capture, "capture").replace(content)
  return database
}

function takeBack(name: string, dataDir: DataDir): void {
  try {
    dataDir.removeDatabase(name)
  } catch {
    // A directory without a database in it, as one of which nobody has committed anything.
  }
}

function refusal(database: string, error: unknown): ReplaceOutcome {
  if (error instanceof LitefsError) {
    return { kind: "refused", code: error.code, message: error.message }
  }
  if (error instanceof FuseError) {
    const message = `Cannot import "${database}": it is damaged, see the log and litefs doctor`
    return { kind: "refused", code: "damaged", message }
  }
  const message = `Cannot import "${database}": ${messageOf(error)}`
  return { kind: "refused", code: isNoSpace(error) ? "no-space" : "io", message }
}
