/**
 * Makes the database file what the log says it is, in a copy that takes its place when it is right.
 *
 *   copy beside it ─▶ roll back, WAL frames, log ─▶ sum ─▶ sync ─▶ keep the old one ─▶ rename
 *
 * A crash before the rename leaves everything as it was. After it, journal and WAL may still exist. Both hold nothing
 * newer than the log, so recovery comes to the same content.
 */
import { constants, copyFileSync, existsSync, renameSync, unlinkSync } from "node:fs"
import { LitefsError } from "../lib/errors.ts"
import { formatChecksum } from "../ltx/pos.ts"
import { sumsOfFile } from "../recovery/file-sums.ts"
import { readJournal, readJournalHeader } from "../sqlite/journal.ts"
import { WalReader } from "../sqlite/wal-reader.ts"
import { FileSource } from "../store/ltx/file-source.ts"
import type { WholeLtxFile } from "../store/ltx/inspected-ltx-file.ts"
import { readLtxFile } from "../store/ltx/ltx-file.ts"
import { writeSynced } from "../store/synced.ts"
import { syncDirectory } from "../sys/directory.ts"
import {
  closeFile,
  type Fd,
  O_CREAT,
  O_RDWR,
  openFile,
  syncFile,
  truncateFile,
  writeBytesAt,
} from "../sys/file.ts"
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
  else if (hasContent(paths.wal)) copyIfThere(paths.database, "database", damaged)
  // Named as SQLite expects, so that `sqlite3 database` opens what there was.
  moveIfThere(paths.journal, "database-journal", damaged)
  moveIfThere(paths.wal, "database-wal", damaged)
  moveIfThere(paths.shm, "shm", damaged)
}

function replaceDatabase(
  paths: DatabasePaths,
  recipe: Recipe,
  target: Target | undefined,
  damaged: DamagedDir,
): void {
  const copy = `${paths.database}.repairing`
  try {
    if (existsSync(paths.database)) copyFileSync(paths.database, copy, constants.COPYFILE_FICLONE)
    const fd = openFile("doctor:open", copy, O_RDWR | O_CREAT)
    try {
      if (recipe.rollsBack) rollBack(fd, paths.journal)
      if (recipe.walFrames > 0) copyFrames(fd, paths.wal, recipe.walFrames)
      if (target !== undefined) {
        if (recipe.replays) replay(fd, target.chain)
        const { commit, pageSize } = target.last.header
        truncateFile("doctor:truncate", fd, commit * pageSize)
        checkSum(copy, target.last)
      }
      const access = accessAt("doctor:look", paths.database)
      if (access !== undefined) giveAccess("doctor:access", fd, access)
      syncFile("doctor:fsync", fd)
    } finally {
      closeFile(fd)
    }
    keepIfThere(paths.database, "database", damaged)
    moveIfThere(paths.checksums, "checksums", damaged)
    renameSync(copy, paths.database)
    syncDirectory("doctor:sync-dir", paths.directory)
    if (target !== undefined) writeSynced(paths.synced, target.last.header.maxTxid)
  } finally {
    if (existsSync(copy)) unlinkSync(copy)
  }
}

function rollBack(fd: Fd, path: string): void {
  using journal = FileSource.open(path)
  const header = journal && readJournalHeader(journal)
  if (journal === undefined || header === undefined) return
  for (const { pgno, page } of readJournal(journal)) {
    writeBytesAt("doctor:write", fd, page, (pgno - 1) * header.pageSize)
  }
  truncateFile("doctor:truncate", fd, header.initialPageCount * header.pageSize)
}

function copyFrames(fd: Fd, path: string, count: number): void {
  using wal = FileSource.open(path)
  if (wal === undefined) return
  const reader = new WalReader(wal)
  let size = 0
  while (reader.frameCount < count && reader.next()) {
    const { pgno, page, commit } = reader
    writeBytesAt("doctor:write", fd, page, (pgno - 1) * page.length)
    if (commit > 0) size = commit * page.length
  }
  truncateFile("doctor:truncate", fd, size)
}

function replay(fd: Fd, chain: readonly WholeLtxFile[]): void {
  for (const { path, header } of chain) {
    readLtxFile(path, {
      page: (pgno, data) => writeBytesAt("doctor:write", fd, data, (pgno - 1) * header.pageSize),
    })
  }
}

function checkSum(path: string, { header, trailer }: WholeLtxFile): void {
  using file = FileSource.open(path)
  const { total } = sumsOfFile(file, header.pageSize, header.commit)
  if (total === trailer.postApplyChecksum) return
  const [is, should] = [total, trailer.postApplyChecksum].map(formatChecksum)
  throw new LitefsError(
    "damaged",
    `Cannot repair "${path}": it sums to ${is}, ${should} is expected; nothing has been replaced`,
  )
}

export function moveIfThere(path: string, name: string, damaged: DamagedDir): void {
  if (existsSync(path)) damaged.move(path, name)
}

function keepIfThere(path: string, name: string, damaged: DamagedDir): void {
  if (existsSync(path)) damaged.keep(path, name)
}

function copyIfThere(path: string, name: string, damaged: DamagedDir): void {
  if (existsSync(path)) damaged.copy(path, name)
}

function hasContent(path: string): boolean {
  using file = FileSource.open(path)
  return (file?.size ?? 0) > 0
}
