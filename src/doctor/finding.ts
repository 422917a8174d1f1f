/** What the doctor reports of a data directory, and what it can do about it. */
import type { DamagedDir } from "./damaged-dir.ts"

export type FindingCode =
  // the log
  | "ltx-torn" // the last file was being written when the machine or the program stopped
  | "ltx-damaged"
  | "ltx-gone" // the last files are missing after a clean stop
  | "ltx-gap"
  | "ltx-checksum" // a file does not start at the checksum that the one before it ends at
  | "log-pending" // transactions in the commit log without LTX files
  | "log-foreign" // transactions in the commit log, of another history than the LTX files
  | "ltx-aside" // set aside by an earlier repair or recovery
  // the database
  | "journal-hot"
  | "journal-late" // its transaction is in the log
  | "database-behind" // the log completes it
  | "database-newer" // it has transactions that the log lacks
  | "database-damaged" // nothing here can restore it
  | "database-unlogged" // no log says what it should be
  | "database-left" // from a database that was deleted
  | "not-a-database"
  | "wal-holds" // the newest pages are in the WAL and in the log
  | "wal-needed" // … and no longer in the log
  | "wal-unlogged" // commits that are in no LTX file
  | "wal-foreign"
  | "synced-ahead"
  | "integrity"
  | "integrity-unknown"
  // the directory
  | "cluster-id" // LiteFS does not start with it
  | "lease-record" // the same
  | "cluster-key"
  | "takeover-unreadable"
  | "takeover-pending" // by a snapshot; the next start completes it
  | "stray"
  | "not-locked" // on a read-only file system
  | "not-writable" // for this user
  | "wrong-kind" // a named pipe, a directory or a device in the place of a file

export interface Finding {
  readonly code: FindingCode
  /** A note is only information: nothing is wrong. */
  readonly severity: "note" | "problem"
  readonly path: string
  /** The fact and its meaning: one sentence without a full stop. */
  readonly what: string
  /** Undefined when nothing needs to be done, or nothing can be done without loss. */
  readonly repair?: Repair
  /** What a person can do. */
  readonly options?: readonly string[]
}

export interface Repair {
  /** What --repair does: "sets it aside as …". */
  readonly does: string
  run(damaged: DamagedDir): void
}

/** Takes what nobody needs out of the way. `name` is its name in damaged/. */
export function moveAway(path: string, name: string): Repair {
  return { does: "moves it to damaged/", run: (damaged) => damaged.move(path, name) }
}

export function note(code: FindingCode, path: string, what: string): Finding {
  return { code, severity: "note", path, what }
}

export function problem(
  code: FindingCode,
  path: string,
  what: string,
  help: Pick<Finding, "repair" | "options"> = {},
): Finding {
  return { code, severity: "problem", path, what, ...help }
}
