import { integrityProblems } from "../sys/bun/sqlite.ts"
import type { DatabasePaths } from "./database-paths.ts"
import { type Finding, note, problem } from "./finding.ts"
import { restoreOptions } from "./options.ts"

const INTEGRITY_LINES = 5

/** Problems that SQLite itself finds. `isInFile`: the database file is the whole database. */
export function integrityFindings(isInFile: boolean, paths: DatabasePaths): Finding[] {
  if (!isInFile) {
    const what =
      "SQLite's integrity_check was skipped: the database file alone is not the whole database now"
    return [note("integrity-unknown", paths.database, what)]
  }
  const problems = integrityProblems(paths.database, INTEGRITY_LINES)
  if (problems.length === 0) return []
  const what = `SQLite's integrity_check says: ${problems.join("; ").replace(/\s+/g, " ")}`
  return [problem("integrity", paths.database, what, { options: restoreOptions(paths) })]
}
