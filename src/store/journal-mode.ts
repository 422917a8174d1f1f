import { closeSync, openSync, readSync } from "node:fs"

/** "File format write version" in a database's header (SQLite: fileformat2.html); the next byte is for reading. */
const VERSION_OFFSET = 18
const WAL_VERSION = 2

/** The journal mode that the file of a database states; undefined when there is no such file. */
export function readJournalMode(path: string): "wal" | "rollback" | undefined {
  let fd: number
  try {
    fd = openSync(path, "r")
  } catch {
    return undefined
  }
  try {
    const byte = new Uint8Array(1)
    if (readSync(fd, byte, 0, 1, VERSION_OFFSET) < 1) return undefined
    return byte[0] === WAL_VERSION ? "wal" : "rollback"
  } finally {
    closeSync(fd)
  }
}
