/**
 * Makes in advance, from a database file, everything that an import needs, while clients of the database continue. Only
 * the position is then missing, and the rest takes as long for a large file as for a small one.
 *
 *   import/7        the file, with its first bytes adapted, synced
 *   import/7.ltx    the transaction of all its pages, as if it were the first, synced
 *   import/7.sums   the checksums of its pages
 */
import { adaptHeader } from "../../capture/replacement.ts"
import { writeWholeLtxFile } from "../../capture/whole-ltx-file.ts"
import { LitefsError } from "../../lib/errors.ts"
import { LTX_FLAG_COMPRESSED, NO_WAL } from "../../ltx/header.ts"
import { saveSums } from "../../recovery/saved-sums.ts"
import {
  DATABASE_HEADER_SIZE,
  decodeDatabaseHeader,
  pageCountIn,
} from "../../sqlite/database-header.ts"
import { BackedFile } from "../../store/backed-file.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { FileSource } from "../../store/ltx/file-source.ts"
import { writeBytesAt } from "../../sys/file.ts"

export function prepareImport(dataDir: DataDir, database: string, file: number): void {
  const content = new BackedFile("import", dataDir.importPath(file))
  try {
    const bytes = headerOf(content.path)
    const found = bytes && decodeDatabaseHeader(bytes)
    if (bytes === undefined || found === undefined) {
      throw new LitefsError("usage", "it is not a SQLite database")
    }
    const { pageSize } = found
    const commit = pageCountIn(found, content.size())
    content.truncate(commit * pageSize)
    const old = headerOf(dataDir.path(database, "database"))
    writeBytesAt("import:write", content.fd, adaptHeader(bytes, old, commit), 0)
    const header = { ...UNKNOWN_POSITION, pageSize, commit }
    const sums = writeWholeLtxFile(content, dataDir.importLtxPath(file), header)
    content.sync()
    const pos = { txid: 0n, checksum: sums.total }
    saveSums(dataDir.importSumsPath(file), content, { pos, pageSize, commit, sums })
  } finally {
    content.close()
  }
}

/** The journal mode is right in WAL mode, too: only a rollback transaction changes it. */
function headerOf(path: string): Uint8Array | undefined {
  using file = FileSource.open(path)
  const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
  return file?.readAt(0, bytes) === bytes.length ? bytes : undefined
}

/** A snapshot's position, whose encoder makes sure that no page is left out. */
const UNKNOWN_POSITION = {
  flags: LTX_FLAG_COMPRESSED,
  minTxid: 1n,
  maxTxid: 1n,
  timestampMs: 0,
  preApplyChecksum: 0n,
  ...NO_WAL,
  nodeId: 0n,
}
