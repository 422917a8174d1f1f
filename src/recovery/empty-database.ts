import { isZero } from "../lib/bytes.ts"
import type { BackedFile } from "../store/backed-file.ts"
import type { DataDir } from "../store/data-dir.ts"
import { LtxDirectory } from "../store/ltx/ltx-directory.ts"
import { listDirectory } from "../sys/directory.ts"
import { unlinkFile } from "../sys/file.ts"
import { allocate } from "../sys/memory.ts"

const buffer = allocate(65536)

/**
 * Removes the remains of a database that never had a transaction: an empty file, or one of zeros, and its directories.
 * False when there is anything else.
 */
export function removeEmptyDatabase(dataDir: DataDir, name: string): boolean {
  if (new LtxDirectory(dataDir.ltxDir(name)).last() !== undefined) return false
  const names = listDirectory("data:list", dataDir.databaseDir(name)).map((entry) => entry.name)
  if (names.some((name) => name !== "ltx" && name !== "database")) return false
  if (listDirectory("ltx:list", dataDir.ltxDir(name)).length > 0) return false
  const database = dataDir.file(name, "database")
  const isNothing = isBlank(database)
  database.close()
  if (!isNothing) return false
  unlinkFile("database:unlink", database.path)
  dataDir.removeDatabase(name)
  return true
}

/**
 * Whether a file holds only zeros, if anything: a client has enlarged it before its first transaction
 * (SQLITE_FCNTL_SIZE_HINT).
 */
export function isBlank(file: BackedFile): boolean {
  const size = file.size()
  for (let at = 0; at < size; at += buffer.bytes.length) {
    const n = file.read(buffer.address, Math.min(buffer.bytes.length, size - at), at)
    if (!isZero(buffer.bytes.subarray(0, n))) return false
  }
  return true
}
