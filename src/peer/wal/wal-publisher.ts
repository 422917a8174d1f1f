/**
 * Publishes a transaction that its writer put into the WAL before it died: adds its frames to the wal-index, as the
 * writer would have done, or SQLite's recovery (walIndexAppend, walIndexWriteHdr).
 *
 * The dead writer still holds WRITE: the kernel keeps the lock until the fs thread answers the FLUSH of its descriptor,
 * and the fs thread waits for us. Nobody else writes meanwhile, and this takes no lock.
 *
 * It acts only when the index says exactly that the WAL ends where this transaction begins. In any other case it leaves
 * the frames to others: a recovery finds them by itself.
 */
import { join } from "node:path"
import type { LastTransaction } from "../../capture/wal-tracker.ts"
import type { WalIndexHeader } from "../../sqlite/wal-index.ts"
import { closeFile, O_RDWR } from "../../sys/file.ts"
import { openOwnIfExists } from "../../sys/file-access.ts"
import { WalIndexFile } from "./wal-index-file.ts"

/** True when the transaction was published, false when there was nothing to do or nothing that could be done. */
export function publish(directory: string, database: string, last: LastTransaction): boolean {
  const shm = openOwnIfExists("mount:open", join(directory, `${database}-shm`), O_RDWR)
  if (shm === undefined) return false
  try {
    const index = new WalIndexFile(shm)
    const header = index.read()?.header
    if (header === undefined || !precedes(header, last)) return false
    index.addFrames(last.firstFrame, last.pgnos)
    index.writeHeader({
      ...header,
      change: (header.change + 1) >>> 0,
      frameCount: last.firstFrame + last.pgnos.length - 1,
      pageCount: last.commit,
      frameChecksum1: last.checksum1,
      frameChecksum2: last.checksum2,
    })
    return true
  } finally {
    closeFile(shm)
  }
}

function precedes(header: WalIndexHeader, last: LastTransaction): boolean {
  return (
    header.frameCount === last.firstFrame - 1 &&
    header.pageSize === last.pageSize &&
    header.salt1 === last.salt1 &&
    header.salt2 === last.salt2
  )
}
