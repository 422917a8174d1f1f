/**
 * The names that a database may have when the name comes from the network or from the command line.
 *
 * The name becomes a directory on the disk and a file in the mount, next to the files that SQLite and we derive from
 * it. Names that would mean something else there, or lead out of there, are refused.
 */

import { LitefsError } from "../lib/errors.ts"

/** Suffixes that make a name that of another file in the mount. */
const RESERVED_SUFFIXES: readonly string[] = ["-journal", "-wal", "-shm", "-pos", "-lock"]

/** Files in the mount that belong to no database. */
const RESERVED_NAMES: readonly string[] = [".primary", ".lag"]

const MAX_FILE_NAME_SIZE = 255
const LONGEST_SUFFIX_SIZE = Math.max(...RESERVED_SUFFIXES.map((suffix) => suffix.length))

export const MAX_DATABASE_NAME_SIZE = MAX_FILE_NAME_SIZE - LONGEST_SUFFIX_SIZE

/** A super-journal of SQLite (vdbeCommit): it lies beside databases and is not one. */
export const SUPER_JOURNAL = /-mj[0-9A-F]{9}$/

/** Throws a LitefsError "name-invalid" if no database may have this name. */
export function validateDatabaseName(name: string): void {
  const problem = databaseNameProblem(name)
  if (problem === undefined) return
  const shown = JSON.stringify(shownName(name))
  throw new LitefsError("name-invalid", `Cannot use ${shown} as a database name: ${problem}`)
}

/** The start of a name that somebody outside has made up. */
export function shownName(name: string): string {
  return name.length > 80 ? `${name.slice(0, 80)}…` : name
}

/** Why no database may have the name; undefined when one may. */
export function databaseNameProblem(name: string): string | undefined {
  if (name === "") return "it is empty"
  const size = Buffer.byteLength(name)
  if (size > MAX_DATABASE_NAME_SIZE) {
    return `it has ${size} bytes, expected at most ${MAX_DATABASE_NAME_SIZE}`
  }
  if (name.includes("/")) return 'it contains "/"'
  if (name.includes("\0")) return "it contains a zero byte"
  if (!name.isWellFormed()) return "it is not Unicode text"
  if (name === "." || name === "..") return "it names a directory"
  const reservedName = RESERVED_NAMES.find((reserved) => name.startsWith(reserved))
  if (reservedName !== undefined) return `names that start with "${reservedName}" are reserved`
  const reservedSuffix = RESERVED_SUFFIXES.find((suffix) => name.endsWith(suffix))
  if (reservedSuffix !== undefined) return `names that end in "${reservedSuffix}" are reserved`
  if (SUPER_JOURNAL.test(name)) return "SQLite has such names for super-journals"
  return undefined
}
