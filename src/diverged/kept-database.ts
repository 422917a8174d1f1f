/**
 * A whole SQLite database file made of a kept history.
 *
 *   copy of the file ── sums to the position? ── yes ─────────────────────────────▶ done
 *                              └── no ─▶ the log after `synced` over it ─▶ sums? ─▶ done, or damaged
 *
 * The file itself may lack pages that were in the WAL when the history was kept: the log has them all.
 */
import { constants, copyFileSync } from "node:fs"
import { join } from "node:path"
import { LitefsError } from "../lib/errors.ts"
import { ChecksumAccumulator, lockPgno } from "../ltx/checksum.ts"
import { formatChecksum } from "../ltx/pos.ts"
import { LtxDirectory } from "../store/ltx-directory.ts"
import { readLtxFile } from "../store/ltx-file.ts"
import { readSynced } from "../store/synced.ts"
import {
  closeFile,
  type Fd,
  fileExists,
  O_CREAT,
  O_RDWR,
  openFile,
  readBytesAt,
  sizeOf,
  syncFile,
  truncateFile,
  writeBytesAt,
} from "../sys/file.ts"
import type { HistoryFacts, KeptHistory } from "./kept-history.ts"

/** Writes it to a path where there is nothing. The file is on the disk when this returns. */
export function writeKeptDatabase({ directory, facts }: KeptHistory, path: string): void {
  const { pageSize, commit, pos } = facts
  if (commit === 0) {
    throw new LitefsError(
      "not-found",
      `Cannot export "${facts.database}": at this position it was removed, only its transactions are kept`,
    )
  }
  const source = join(directory, "database")
  if (fileExists("diverged:look", source)) {
    copyFileSync(source, path, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL)
  }
  const fd = openFile("diverged:open", path, O_RDWR | O_CREAT)
  try {
    if (!isAt(fd, facts)) {
      replay(fd, directory)
      truncateFile("diverged:truncate", fd, commit * pageSize)
      if (!isAt(fd, facts)) {
        throw new LitefsError(
          "damaged",
          `Cannot export "${facts.database}": what is in "${directory}" does not sum to ${formatChecksum(pos.checksum)}`,
        )
      }
    }
    syncFile("diverged:fsync", fd)
  } finally {
    closeFile(fd)
  }
}

function replay(fd: Fd, directory: string): void {
  const synced = readSynced(join(directory, "synced"))
  for (const { path, maxTxid } of new LtxDirectory(join(directory, "ltx")).list()) {
    if (maxTxid <= synced) continue
    let pageSize = 0
    readLtxFile(path, {
      header: (header) => {
        pageSize = header.pageSize
      },
      page: (pgno, data) => writeBytesAt("diverged:write", fd, data, (pgno - 1) * pageSize),
    })
  }
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
