/**
 * The files of the commit log (commit-log.ts), and how they come to be.
 *
 * Every byte of a segment is written once before it is used, so that a commit changes no metadata: no block has to be
 * found for it, and no size to be noted. That takes longer than all else of a start, and so it is done beside it:
 *
 *   <data>/commit-log.<n>.tmp, zeros ─▶ synced ─▶ renamed to commit-log.<n> ─▶ directory synced ─▶ free
 *
 * So a segment that has its name is whole, and its name stays. What a crash leaves under the other name is replaced.
 */
import { join } from "node:path"
import { AsyncFile, removeFile, renameDurably } from "../sys/async-file.ts"
import {
  closedOnError,
  type Fd,
  fileExists,
  O_CREAT,
  O_RDWR,
  openFile,
  openIfExists,
  sizeOf,
  syncFile,
  writeBytesAt,
} from "../sys/file.ts"

export const SEGMENT_COUNT = 2
export const SEGMENT_SIZE = 8 * 1024 * 1024

const ZEROS_SIZE = 65536
/** So much is written between two looks at whether to go on. */
const PART_SIZE = 1024 * 1024

export function segmentPath(root: string, index: number): string {
  return join(root, `commit-log.${index}`)
}

/**
 * Opens a segment. Where there is none it is made, or with `isMade` false the result is undefined. One of another size
 * must have been recovered: it is written over.
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

/**
 * Makes a segment where there is none, by a thread that must not wait for the disk. Nothing is left of one that cannot
 * be made, or that is no longer wanted: then the result is false. One at a time.
 */
export async function prepareSegment(
  root: string,
  index: number,
  isWanted: () => boolean,
): Promise<boolean> {
  const path = segmentPath(root, index)
  if (fileExists("log:look", path)) return true
  const made = `${path}.tmp`
  await removeFile("log:prepare-remove", made)
  try {
    if (!(await writeZeros(made, isWanted))) {
      await removeFile("log:prepare-remove", made)
      return false
    }
    await renameDurably("log:prepare", made, path)
    return true
  } catch (error) {
    await removeFile("log:prepare-remove", made).catch(() => {}) // the next attempt does
    throw error
  }
}

async function writeZeros(path: string, isWanted: () => boolean): Promise<boolean> {
  const file = await AsyncFile.create("log:prepare", path)
  try {
    const zeros = new Uint8Array(PART_SIZE)
    for (let size = 0; size < SEGMENT_SIZE; size += PART_SIZE) {
      if (!isWanted()) return false
      await file.append(zeros)
    }
    await file.sync()
    return true
  } finally {
    await file.close()
  }
}
