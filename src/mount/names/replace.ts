/**
 * Puts a file that the daemon was given (`litefs import`) in the place of a database, or makes a new one from it.
 *
 * The peer thread asks for this when it has locked every client out of the database, or has seen that there is none.
 * Nothing else happens here meanwhile: what it has seen is checked once more and stays true.
 */
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
import { copyFile, linkFile, readBytesAt } from "../../sys/file.ts"
import type { MountedDatabase, MountedDatabaseContext } from "../databases/mounted-database.ts"
import { type Directory, SIDE_SUFFIXES } from "./directory.ts"

const log = logger("import")

export interface ReplaceRequest {
  readonly database: string
  /** DataDir.importPath() of the content, which is verified and prepared. */
  readonly file: number
  /** Whether the database was there, with nobody in a transaction of it. */
  readonly isLocked: boolean
}

export type ReplaceOutcome =
  | {
      readonly kind: "replaced"
      readonly pos: Pos
      readonly pageSize: number
      readonly commit: number
      /** Nodes of files whose content has changed. */
      readonly nodeIds: readonly number[]
    }
  /** The database exists now, or no longer exists: nothing was done. */
  | { readonly kind: "changed" }
  /** The journal mode differs from the one the file was prepared for: prepare it again. Otherwise as "changed". */
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
  // They belong to a database that was removed. The next client would take them for this one's.
  if (!isThere) for (const suffix of SIDE_SUFFIXES) directory.removeIfThere(name + suffix)
  const known = directory.databases.find(name) // those files may have been all that was left of it
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

/** Opens what peer/serve/import-preparation.ts has left; undefined when it does not fit the database as it is now. */
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

/** Keeps what cannot be opened any more for somebody to look into, with its WAL as SQLite names it. */
function keepUnreadable(known: MountedDatabase, { clock }: MountedDatabaseContext): void {
  const { name, database, wal } = known
  const kept = `${database.path}.damaged-${clock.wallMs()}`
  linkFile("database:keep", database.path, kept)
  // Not a link: clients continue to use the file.
  if (wal.size() > 0) copyFile("wal:keep", wal.path, `${kept}-wal`)
  syncDirectory("database:sync-dir", dirname(kept))
  log.warn("kept an unreadable database when another took its place", {
    ...{ db: name, file: kept },
  })
}

/** Makes the transaction durable, then the file. Leaves nothing when the transaction cannot be made. */
function put(
  content: Replacement,
  name: string,
  known: MountedDatabase | undefined,
  directory: Directory,
  context: MountedDatabaseContext,
): MountedDatabase {
  const { dataDir } = context
  known?.capture?.replacing()
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
    // What is left is a directory without a database, like that of a database without a commit.
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
