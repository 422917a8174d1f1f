/**
 * Makes a segment of the commit log (log-segment.ts), by a thread that must not wait for the disk.
 */
import { AsyncFile, removeFile, renameDurably } from "../../sys/async-file.ts"
import { fileExists } from "../../sys/file.ts"
import { SEGMENT_SIZE, segmentPath } from "./log-segment.ts"

/** Bytes written between two checks whether to go on. */
const PART_SIZE = 1024 * 1024

/**
 * Makes a missing segment. One that cannot be made, or is no longer wanted, leaves nothing behind, and the result is
 * then false. One at a time.
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
