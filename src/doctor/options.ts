/** What a person can do when nothing here is whole. */
import type { DatabasePaths } from "./database-paths.ts"

type Named = Pick<DatabasePaths, "name" | "directory" | "database">

export function restoreOptions({ name, directory, database }: Named): string[] {
  return [
    `on a replica: stop it, copy "${directory}" elsewhere, remove it, and start; the primary then sends the database again`,
    `on the primary: copy "${directory}" elsewhere and put that of a healthy replica in its place, or import a backup: litefs import -name ${name} FILE`,
    `to save what can be read: sqlite3 "${database}" .recover`,
  ]
}

/** For a database file with transactions that the log has lost. */
export function newerOptions({ name, directory, database }: Named): string[] {
  return [
    `to keep them: copy "${directory}" elsewhere before the next start, which may undo them; afterwards import "${database}" of the copy: litefs import -name ${name} FILE`,
    "to give them up: copy the directory elsewhere and start; recovery returns to the last transaction of the log",
    ...restoreOptions({ name, directory, database }).slice(0, 1),
  ]
}
