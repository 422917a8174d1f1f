import {
  DATABASE_HEADER_SIZE,
  decodeDatabaseHeader,
  isWalMode,
} from "../../sqlite/database-header.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { FileSource } from "../../store/ltx/file-source.ts"

/** The mode in the file of a database. It is right in WAL mode, too: only a rollback transaction changes it. */
export function isInWalMode(path: string): boolean {
  using file = FileSource.open(path)
  if (file === undefined) return false
  const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
  const header = decodeDatabaseHeader(bytes.subarray(0, file.readAt(0, bytes)))
  return header !== undefined && isWalMode(header)
}

/** Whether clients use a WAL: the file tells, except for clients that continue with an open one. */
export function usesWal(dataDir: DataDir, name: string): boolean {
  using wal = FileSource.open(dataDir.path(name, "wal"))
  return (wal?.size ?? 0) > 0 || isInWalMode(dataDir.path(name, "database"))
}
