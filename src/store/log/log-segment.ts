/**
 * The files of the commit log (commit-log.ts), and how they are made.
 *
 * Every byte of a segment is written once before it is used. A commit then changes no metadata: it needs no new block
 * and no new size. Preparing a segment takes longer than all else at a start, so it runs beside the start:
 *
 *   <data>/commit-log.<n>.tmp, zeros ─▶ synced ─▶ renamed to commit-log.<n> ─▶ directory synced ─▶ free
 *
 * A segment that has its name is therefore whole, and its name stays. A remainder of a crash under the other name is
 * replaced.
 */
import { join } from "node:path"
import {
  closedOnError,
  type Fd,
  O_CREAT,
  O_RDWR,
  openFile,
  openIfExists,
  syncFile,
  writeBytesAt,
} from "../../sys/file.ts"
import { sizeOf } from "../../sys/file-status.ts"

export const SEGMENT_COUNT = 2
export const SEGMENT_SIZE = 8 * 1024 * 1024

const ZEROS_SIZE = 65536
export function segmentPath(root: string, index: number): string {
  return `${segmentsPath(root)}${index}`
}

/** With what the path of each segment begins, also of one that is being made. */
export function segmentsPath(root: string): string {
  return join(root, "commit-log.")
}

/**
 * Opens a segment. A missing one is made, or with `isMade` false the result is undefined. A segment of another size
 * must have been recovered: it is overwritten.
 */
export function openSegment(root: string, index: number, isMade: boolean): Fd | undefined {
  const path = segmentPath(root, index)
  const fd = isMade
    ? openFile("log:open", path, O_RDWR | O_CREAT)
    : openIfExists("log:open", path, O_RDWR)
  if (fd === undefined) return undefined
  return closedOnError(fd, () => {
    if (sizeOf("log:stat", fd) === SEGMENT_SIZE) return fd
    for (let offset = 0; offset < SEGMENT_SIZE; offset += ZEROS_SIZE) {
      writeBytesAt("log:prepare", fd, new Uint8Array(ZEROS_SIZE), offset)
    }
    syncFile("log:prepare-fsync", fd)
    return fd
  })
}
