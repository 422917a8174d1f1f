/**
 * A whole SQLite database file from a kept history: a copy of the file, with the log after `synced` replayed over it.
 *
 * The file itself may lack pages that were in the WAL when the history was kept; the log has them all. It is replayed
 * even when the file already sums to the position, since that proves nothing: the checksum is the XOR of the sums of
 * all pages, and two that change alike leave it as it was. Only in that case an unreadable log is ignored. A history
 * without transactions is a file that had no log: it stays as it is.
 */
import { join } from "node:path"
import { LitefsError } from "../lib/errors.ts"
import { ChecksumAccumulator, lockPgno } from "../ltx/checksum.ts"
import { formatChecksum, type Txid } from "../ltx/pos.ts"
import { LtxDirectory, type LtxFileInfo } from "../store/ltx/ltx-directory.ts"
import { isWholeLtxFile, readLtxFile } from "../store/ltx/ltx-file.ts"
import { readSynced } from "../store/synced.ts"
import {
  closing,
  copyFile,
  type Fd,
  fileExists,
  O_CREAT,
  O_RDWR,
  openFile,
  readBytesAt,
  syncFile,
  truncateFile,
  writeBytesAt,
} from "../sys/file.ts"
import { sizeOf } from "../sys/file-status.ts"
import type { HistoryFacts, KeptHistory } from "./kept-history.ts"

/** Writes it to an unused path. The file is durable when this returns. */
export function writeKeptDatabase({ directory, facts }: KeptHistory, path: string): void {
  const { pageSize, commit, pos } = facts
  if (commit === 0) {
    throw new LitefsError(
      "not-found",
      `Cannot export "${facts.database}": at this position it was removed, only its transactions are kept`,
    )
  }
  const source = join(directory, "database")
  if (fileExists("diverged:look", source)) copyFile("diverged:copy", source, path)
  using file = closing(openFile("diverged:open", path, O_RDWR | O_CREAT))
  const { fd } = file
  if (pos.txid === 0n) return syncFile("diverged:fsync", fd)
  const log = logAfterSynced(directory, pos.txid)
  if (log.every(({ path }) => isWholeLtxFile(path))) {
    for (const { path } of log) replay(fd, path)
    truncateFile("diverged:truncate", fd, commit * pageSize)
  }
  if (!isAt(fd, facts)) {
    throw new LitefsError(
      "damaged",
      `Cannot export "${facts.database}": the LTX files in "${directory}" do not sum to ${formatChecksum(pos.checksum)}`,
    )
  }
  syncFile("diverged:fsync", fd)
}

/** A transaction after the last one was refused, and could not be removed. */
function logAfterSynced(directory: string, last: Txid): LtxFileInfo[] {
  const synced = readSynced(join(directory, "synced"))
  const files = new LtxDirectory(join(directory, "ltx")).list()
  return files.filter(({ maxTxid }) => maxTxid > synced && maxTxid <= last)
}

function replay(fd: Fd, path: string): void {
  let pageSize = 0
  readLtxFile(path, {
    header: (header) => {
      pageSize = header.pageSize
    },
    page: (pgno, data) => writeBytesAt("diverged:write", fd, data, (pgno - 1) * pageSize),
  })
}

const PIECE_SIZE = 1024 * 1024

function isAt(fd: Fd, { pageSize, commit, pos }: HistoryFacts): boolean {
  if (sizeOf("diverged:stat", fd) !== commit * pageSize) return false
  const sum = new ChecksumAccumulator().reset()
  const piece = new Uint8Array(PIECE_SIZE)
  const perPiece = PIECE_SIZE / pageSize
  for (let first = 1; first <= commit; first += perPiece) {
    const count = Math.min(perPiece, commit - first + 1)
    readBytesAt("diverged:read", fd, piece.subarray(0, count * pageSize), (first - 1) * pageSize)
    for (let index = 0; index < count; index++) {
      const pgno = first + index
      if (pgno === lockPgno(pageSize)) continue
      sum.togglePage(pgno, piece, index * pageSize, (index + 1) * pageSize)
    }
  }
  return sum.checksum === pos.checksum
}
