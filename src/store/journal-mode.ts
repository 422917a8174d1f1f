import { closing, O_RDONLY, openIfExists, readBytesAt } from "../sys/file.ts"

/** "File format write version" in a database's header (SQLite: fileformat2.html); the next byte is for reading. */
const VERSION_OFFSET = 18
const WAL_VERSION = 2

/** The journal mode that the file of a database states; undefined when there is no such file. */
export function readJournalMode(path: string): "wal" | "rollback" | undefined {
  try {
    const fd = openIfExists("database:open", path, O_RDONLY)
    if (fd === undefined) return undefined
    using _ = closing(fd)
    const byte = new Uint8Array(1)
    if (readBytesAt("database:read", fd, byte, VERSION_OFFSET) < 1) return undefined
    return byte[0] === WAL_VERSION ? "wal" : "rollback"
  } catch {
    return undefined
  }
}
