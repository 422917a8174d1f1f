/**
 * Makes of a database file everything that can be made before it takes the place of a database, while clients of that
 * go on: only the position is missing then, and what follows takes no longer for a large file than for a small one.
 *
 *   import/7        the file, with its first bytes adapted, synced
 *   import/7.ltx    the transaction of all its pages, as if it were the first, synced
 *   import/7.sums   the checksums of its pages
 */
import { PageChecksums } from "../capture/page-checksums.ts"
import { adaptHeader } from "../capture/replacement.ts"
import { LitefsError } from "../lib/errors.ts"
import { lockPgno, writePageChecksum } from "../ltx/checksum.ts"
import { LtxEncoder } from "../ltx/encoder.ts"
import { LTX_FLAG_COMPRESSED } from "../ltx/header.ts"
import { saveSums } from "../recovery/saved-sums.ts"
import {
  DATABASE_HEADER_SIZE,
  decodeDatabaseHeader,
  trustedPageCount,
} from "../sqlite/database-header.ts"
import { BackedFile } from "../store/backed-file.ts"
import type { DataDir } from "../store/data-dir.ts"
import { FileSource } from "../store/file-source.ts"
import { LtxFileWriter } from "../store/ltx-directory.ts"
import { writeBytesAt } from "../sys/file.ts"
import { allocate } from "../sys/memory.ts"

const READ_SIZE = 1024 * 1024

export function prepareImport(dataDir: DataDir, database: string, file: number): void {
  const content = new BackedFile("import", dataDir.importPath(file))
  try {
    const bytes = headerOf(content.path)
    const header = bytes && decodeDatabaseHeader(bytes)
    if (bytes === undefined || header === undefined) {
      throw new LitefsError("usage", `Cannot use "${content.path}": it is not a SQLite database`)
    }
    const { pageSize } = header
    const commit = Math.min(
      trustedPageCount(header) ?? Number.POSITIVE_INFINITY,
      Math.ceil(content.size() / pageSize),
    )
    // A client may have made the file longer than the database (SQLITE_FCNTL_CHUNK_SIZE).
    content.truncate(commit * pageSize)
    const old = headerOf(dataDir.path(database, "database"))
    writeBytesAt("import:write", content.fd, adaptHeader(bytes, old, commit), 0)
    const sums = writeLtx(content, dataDir.importLtxPath(file), pageSize, commit)
    content.sync()
    const pos = { txid: 0n, checksum: sums.total }
    saveSums(dataDir.importSumsPath(file), content, { pos, pageSize, commit, sums })
  } finally {
    content.close()
  }
}

/** The journal mode is right also in WAL mode: only a rollback transaction changes it. */
function headerOf(path: string): Uint8Array | undefined {
  using file = FileSource.open(path)
  const bytes = new Uint8Array(DATABASE_HEADER_SIZE)
  return file?.readAt(0, bytes) === bytes.length ? bytes : undefined
}

function writeLtx(
  content: BackedFile,
  path: string,
  pageSize: number,
  commit: number,
): PageChecksums {
  const sums = new PageChecksums(commit)
  const sum = new Uint32Array(2)
  const buffer = allocate(READ_SIZE)
  const file = new LtxFileWriter(path)
  try {
    const encoder = new LtxEncoder(file.append)
    encoder.header({ ...UNKNOWN_POSITION, pageSize, commit })
    const perRead = READ_SIZE / pageSize
    for (let first = 1; first <= commit; first += perRead) {
      const count = Math.min(perRead, commit - first + 1)
      content.readPadded(buffer, count * pageSize, (first - 1) * pageSize)
      for (let pgno = first; pgno < first + count; pgno++) {
        if (pgno === lockPgno(pageSize)) continue
        const start = (pgno - first) * pageSize
        const page = buffer.bytes.subarray(start, start + pageSize)
        writePageChecksum(sum, pgno, page)
        sums.set(pgno, sum[0] as number, sum[1] as number)
        encoder.page(pgno, page)
      }
    }
    encoder.close(sums.total)
    file.commit()
    return sums
  } catch (error) {
    file.discard()
    throw error
  }
}

/** A snapshot's, whose encoder makes sure that no page is left out. */
const UNKNOWN_POSITION = {
  flags: LTX_FLAG_COMPRESSED,
  minTxid: 1n,
  maxTxid: 1n,
  timestampMs: 0,
  preApplyChecksum: 0n,
  walOffset: 0,
  walSize: 0,
  walSalt1: 0,
  walSalt2: 0,
  nodeId: 0n,
}
