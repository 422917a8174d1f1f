/** SQLite itself, for what only it can judge. The one place that knows bun:sqlite. */
import { constants, Database } from "bun:sqlite"

/**
 * What `PRAGMA integrity_check` says, at most `countMax` lines; nothing for a database that is whole.
 *
 * The file is opened as one that nobody changes ("immutable"): SQLite takes no locks, looks for no journal and
 * no WAL beside it, and writes nothing. So the file alone has to be the database.
 */
export function integrityProblems(path: string, countMax: number): string[] {
  const uri = `file://${path.split("/").map(encodeURIComponent).join("/")}?immutable=1`
  try {
    using database = new Database(uri, constants.SQLITE_OPEN_READONLY | constants.SQLITE_OPEN_URI)
    const rows = database.query(`PRAGMA integrity_check(${countMax})`).values()
    return rows.map(([line]) => String(line)).filter((line) => line !== "ok")
  } catch (error) {
    if (error instanceof Error && error.constructor.name === "SQLiteError") return [error.message]
    throw error
  }
}
