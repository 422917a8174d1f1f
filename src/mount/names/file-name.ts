/**
 * What a name in the mounted directory stands for: its suffix decides, as in the original.
 *
 *   <db>-journal <db>-wal <db>-shm   SQLite's files beside a database
 *   <db>-pos <db>-lock               made by us
 *   <db>-mjXXXXXXXXX                 a super-journal (SQLite: vdbeCommit), passed through; no database, so that
 *                                    nothing is beside it
 *   .primary .lag                    made by us
 *   anything else                    a database
 */

import { FuseError } from "../../fuse/fuse-error.ts"
import { Errno } from "../../sys/errno.ts"
import { SUPER_JOURNAL } from "../../wire/database-name.ts"

export type FileName =
  | {
      readonly kind: "database" | "journal" | "wal" | "shm" | "pos" | "lock"
      readonly database: string
    }
  | { readonly kind: "side"; readonly database: undefined }
  | { readonly kind: "primary"; readonly database: undefined }
  | { readonly kind: "lag"; readonly database: undefined }

const SUFFIXES = [
  ["-journal", "journal"],
  ["-wal", "wal"],
  ["-shm", "shm"],
  ["-pos", "pos"],
  ["-lock", "lock"],
] as const

/** File names have at most 255 bytes, and the longest suffix must fit behind a database's name. */
const NAME_SIZE_MAX = 255 - "-journal".length

export function parseFileName(name: string): FileName {
  if (name === ".primary") return { kind: "primary", database: undefined }
  if (name === ".lag") return { kind: "lag", database: undefined }
  for (const [suffix, kind] of SUFFIXES) {
    if (name.length > suffix.length && name.endsWith(suffix)) {
      return { kind, database: name.slice(0, -suffix.length) }
    }
  }
  if (SUPER_JOURNAL.test(name)) return { kind: "side", database: undefined }
  return { kind: "database", database: name }
}

/** Whether we make the file's content up when it is read. */
export function isMadeUp(name: string): boolean {
  const { kind } = parseFileName(name)
  return kind === "pos" || kind === "lock" || kind === "primary" || kind === "lag"
}

/** Throws ENAMETOOLONG for a name that a new database cannot have. */
export function checkNewDatabaseName(name: string): void {
  if (Buffer.byteLength(name) > NAME_SIZE_MAX) throw FuseError.of(Errno.ENAMETOOLONG)
}
