/**
 * An LTX file of all pages of a database. It was made and synced before its position was known; then it gets its header
 * and its name in the log. Only a few bytes are left to write.
 */
import { encodeLtxHeader, type LtxHeader } from "../../ltx/header.ts"
import { trailerWithHeader } from "../../ltx/reheader.ts"
import { readSpan } from "../../ltx/span.ts"
import { encodeLtxTrailer, LTX_TRAILER_SIZE } from "../../ltx/trailer.ts"
import { syncDirectory } from "../../sys/directory.ts"
import {
  closing,
  discardFile,
  O_RDWR,
  openFile,
  readBytesAt,
  renameFile,
  syncData,
  writeBytesAt,
} from "../../sys/file.ts"
import { sizeOf } from "../../sys/file-status.ts"
import type { LtxDirectory } from "./ltx-directory.ts"

/** The file is durable in its place when this returns. When it throws, it is not there. */
export function placeLtxFile(path: string, header: LtxHeader, directory: LtxDirectory): void {
  setHeader(path, header)
  const place = directory.filePath(header.minTxid, header.maxTxid)
  renameFile("ltx:rename", path, place)
  try {
    syncDirectory("ltx:sync-dir", directory.path)
  } catch (error) {
    // If it stays, the next transaction overwrites it. After a crash it is one whose outcome nobody was told.
    discardFile("ltx:discard", place)
    throw error
  }
}

function setHeader(path: string, header: LtxHeader): void {
  using file = closing(openFile("ltx:open", path, O_RDWR))
  const { fd } = file
  const size = sizeOf("ltx:stat", fd)
  const before = readSpan({
    size,
    readAt: (offset, target) => readBytesAt("ltx:read", fd, target, offset),
  })
  const trailer = trailerWithHeader(before.trailer, before.header, header)
  writeBytesAt("ltx:write", fd, encodeLtxHeader(header), 0)
  writeBytesAt("ltx:write", fd, encodeLtxTrailer(trailer), size - LTX_TRAILER_SIZE)
  syncData("ltx:fsync", fd)
}
