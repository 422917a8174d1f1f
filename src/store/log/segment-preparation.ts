/**
 * Makes a segment of the commit log (log-segment.ts), by a thread that must not wait for the disk.
 */
import { LitefsError } from "../../lib/errors.ts"
import { AsyncFile, removeFile, renameDurably } from "../../sys/async-file.ts"
import { fileExists } from "../../sys/file.ts"
import { fileSystemStatus } from "../../sys/file-status.ts"
import { SEGMENT_SIZE, segmentPath } from "./log-segment.ts"

/** Bytes written between two checks whether to go on. */
const PART_SIZE = 1024 * 1024
/** What is free has to be enough for it and as much again: else there is no room for others, and soon none for it. */
const FREE_SIZE_MIN = 2 * SEGMENT_SIZE
const MIB = 1024 * 1024

/**
 * Makes a missing segment. One that cannot be made, or is no longer wanted, leaves nothing behind, and the result is
 * then false. One at a time.
 */
export async function prepareSegment(
  root: string,
  index: number,
  isWanted: () => boolean,
  free = freeSizeOf(root),
): Promise<boolean> {
  const path = segmentPath(root, index)
  if (fileExists("log:look", path)) return true
  if (free < FREE_SIZE_MIN) {
    const [is, should] = [free, FREE_SIZE_MIN].map((size) => `${(size / MIB).toFixed(1)} MiB`)
    throw new LitefsError("no-space", `Cannot make "${path}": ${is} are free, ${should} should be`)
  }
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
    await removeFile("log:prepare-remove", made).catch(() => {}) // the next attempt removes it
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

function freeSizeOf(root: string): number {
  const { blocksAvailable, blockSize } = fileSystemStatus("log:statfs", root)
  return blocksAvailable * blockSize
}
