import type { DataDir } from "../store/data-dir.ts"
import { LtxDirectory } from "../store/ltx-directory.ts"
import { listDirectory, unlinkFile } from "../sys/file.ts"

/**
 * Removes what is left of a database that never had a transaction: an empty file, and its directories. False when
 * there is anything else.
 */
export function removeEmptyDatabase(dataDir: DataDir, name: string): boolean {
  if (new LtxDirectory(dataDir.ltxDir(name)).last() !== undefined) return false
  const names = listDirectory("data:list", dataDir.databaseDir(name)).map((entry) => entry.name)
  if (names.some((name) => name !== "ltx" && name !== "database")) return false
  if (listDirectory("ltx:list", dataDir.ltxDir(name)).length > 0) return false
  const database = dataDir.file(name, "database")
  const size = database.size()
  database.close()
  if (size > 0) return false
  unlinkFile("database:unlink", database.path)
  dataDir.removeDatabase(name)
  return true
}
