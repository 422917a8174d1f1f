/**
 * Makes the database file what the log says it is, in a copy that takes its place when it is right.
 *
 *   copy beside it ─▶ roll back, WAL frames, log ─▶ sum ─▶ sync ─▶ keep the old one ─▶ rename
 *
 * A crash before the rename leaves everything as it was. After it, journal and WAL may still exist. Both hold nothing
 * newer than the log, so recovery comes to the same content.
 */
import { existsSync, renameSync, rmSync } from "node:fs"
import { sumsOfFile } from "../capture/file-sums.ts"
import { LitefsError } from "../lib/errors.ts"
import { formatChecksum } from "../ltx/pos.ts"
import { posAfter } from "../ltx/span.ts"
import { playBack } from "../recovery/journal-rollback.ts"
import { copyFrames } from "../recovery/wal-rescue.ts"
import { BackedFile } from "../store/backed-file.ts"
import { FileSource } from "../store/ltx/file-source.ts"
import type { WholeLtxFile } from "../store/ltx/inspected-ltx-file.ts"
import { readLtxFile } from "../store/ltx/ltx-file.ts"
import { writeSynced } from "../store/synced.ts"
import { syncDirectory } from "../sys/directory.ts"
import { copyFile, syncFile } from "../sys/file.ts"
import { accessAt, giveAccess } from "../sys/file-access.ts"
import type { DamagedDir } from "./damaged-dir.ts"
import type { Recipe } from "./database-image.ts"
import type { DatabasePaths } from "./database-paths.ts"

/** What the new file must be; undefined where no log says so. */
export interface Target {
  readonly chain: readonly WholeLtxFile[]
  readonly last: WholeLtxFile
}

/** Applies the recipe, and takes away the journal and the WAL, which are not needed any more. */
export function rebuildDatabase(
  paths: DatabasePaths,
  recipe: Recipe,
  target: Target | undefined,
  damaged: DamagedDir,
): void {
  const { rollsBack, walFrames, replays } = recipe
  if (rollsBack || walFrames > 0 || replays) replaceDatabase(paths, recipe, target, damaged)
  else if (hasContent(paths.wal)) damaged.copy(paths.database, "database")
  // Named as SQLite expects, so that `sqlite3 database` opens what there was.
  damaged.move(paths.journal, "database-journal")
  damaged.move(paths.undo, "undo")
  damaged.move(paths.wal, "database-wal")
  damaged.move(paths.shm, "shm")
}

function replaceDatabase(
  paths: DatabasePaths,
  recipe: Recipe,
  target: Target | undefined,
  damaged: DamagedDir,
): void {
  const copy = new BackedFile("doctor", `${paths.database}.repairing`)
  try {
    if (existsSync(paths.database)) copyFile("doctor:copy", paths.database, copy.path)
    copy.create()
    if (recipe.rollsBack) {
      const pos = target && posAfter(target.last)
      playBack({ journal: paths.journal, undo: paths.undo, pos }, copy)
    }
    const size = copyFrames(paths.wal, copy, recipe.walFrames)
    if (size > 0) copy.truncate(size)
    if (target !== undefined) {
      if (recipe.replays) replay(copy, target.chain)
      const { commit, pageSize } = target.last.header
      copy.truncate(commit * pageSize)
      checkSum(copy, target.last)
    }
    const access = accessAt("doctor:look", paths.database)
    if (access !== undefined) giveAccess("doctor:access", copy.fd, access)
    syncFile("doctor:fsync", copy.fd)
    damaged.keep(paths.database, "database")
    damaged.move(paths.checksums, "checksums")
    renameSync(copy.path, paths.database)
    syncDirectory("doctor:sync-dir", paths.directory)
    if (target !== undefined) writeSynced(paths.synced, target.last.header.maxTxid)
  } finally {
    copy.close()
    rmSync(copy.path, { force: true })
  }
}

function replay(database: BackedFile, chain: readonly WholeLtxFile[]): void {
  for (const { path, header } of chain) {
    readLtxFile(path, {
      page: (pgno, data) => database.writeBytes(data, (pgno - 1) * header.pageSize),
    })
  }
}

function checkSum(database: BackedFile, { header, trailer }: WholeLtxFile): void {
  const { total } = sumsOfFile(database, header.pageSize, header.commit)
  if (total === trailer.postApplyChecksum) return
  const [is, should] = [total, trailer.postApplyChecksum].map(formatChecksum)
  throw new LitefsError(
    "damaged",
    `Cannot repair "${database.path}": it sums to ${is}, ${should} is expected; nothing has been replaced`,
  )
}

function hasContent(path: string): boolean {
  using file = FileSource.open(path)
  return (file?.size ?? 0) > 0
}
