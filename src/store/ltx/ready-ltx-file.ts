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
  closeFile,
  type Fd,
  O_RDWR,
  openFile,
  readBytesAt,
  renameFile,
  syncData,
  unlinkFile,
  writeBytesAt,
} from "../../sys/file.ts"
import { sizeOf } from "../../sys/file-status.ts"
import type { LtxDirectory } from "./ltx-directory.ts"

/** The file is durable in its place when this returns. When it throws, it is not there. */
export function placeLtxFile(path: string, header: LtxHeader, directory: LtxDirectory): void {
  const fd = openFile("ltx:open", path, O_RDWR)
  try {
    setHeader(fd, header)
    syncData("ltx:fsync", fd)
  } finally {
    closeFile(fd)
  }
  const place = directory.filePath(header.minTxid, header.maxTxid)
  renameFile("ltx:rename", path, place)
  try {
    syncDirectory("ltx:sync-dir", directory.path)
  } catch (error) {
    discard(place)
    throw error
  }
}

function setHeader(fd: Fd, header: LtxHeader): void {
  const size = sizeOf("ltx:stat", fd)
  const before = readSpan({
    size,
    readAt: (offset, target) => readBytesAt("ltx:read", fd, target, offset),
  })
  const trailer = trailerWithHeader(before.trailer, before.header, header)
  writeBytesAt("ltx:write", fd, encodeLtxHeader(header), 0)
  writeBytesAt("ltx:write", fd, encodeLtxTrailer(trailer), size - LTX_TRAILER_SIZE)
}

function discard(place: string): void {
  try {
    unlinkFile("ltx:discard", place)
  } catch {
    // The next transaction overwrites it. After a crash it is one whose outcome nobody was told.
  }
}
