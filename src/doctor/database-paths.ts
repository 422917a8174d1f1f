import type { DataDir } from "../store/data-dir.ts"

/** The files of one database. */
export interface DatabasePaths {
  readonly name: string
  readonly directory: string
  readonly database: string
  readonly journal: string
  readonly undo: string
  readonly wal: string
  readonly shm: string
  readonly ltx: string
  readonly synced: string
  readonly checksums: string
}

export function databasePaths(dataDir: DataDir, name: string): DatabasePaths {
  return {
    name,
    directory: dataDir.databaseDir(name),
    database: dataDir.path(name, "database"),
    journal: dataDir.path(name, "journal"),
    undo: dataDir.undoPath(name),
    wal: dataDir.path(name, "wal"),
    shm: dataDir.path(name, "shm"),
    ltx: dataDir.ltxDir(name),
    synced: dataDir.syncedPath(name),
    checksums: dataDir.checksumsPath(name),
  }
}
