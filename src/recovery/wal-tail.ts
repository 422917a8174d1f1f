/**
 * Commits at the end of a WAL that nobody has captured: clients write past the daemon (mount/bypass.ts), and it was
 * killed before it could follow.
 *
 *   the WAL is the one that the last transaction was made from          ─▶ what comes after that transaction's frames
 *   it is another, and was written to after the last transaction: a new one, or the same one started over, which is
 *     only done when everything in it was captured (capture/wal-tracker.ts) ─▶ all of it
 *   the last transaction is another node's, which has no WAL here      ─▶ nothing
 *   it is older                                                         ─▶ nothing: a transaction of another kind,
 *     an import, should have emptied it, and was cut short
 */
import type { LtxHeader } from "../ltx/header.ts"
import { DATABASE_HEADER_SIZE, decodeDatabaseHeader, isWalMode } from "../sqlite/database-header.ts"
import {
  REPLICA_WAL_SEQUENCE,
  WAL_HEADER_SIZE,
  type WalHeader,
  walFrameSize,
} from "../sqlite/wal.ts"
import { WalReader } from "../sqlite/wal-reader.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { FileSource } from "../store/ltx/file-source.ts"
import { statusAt } from "../sys/file.ts"
import { allocate } from "../sys/memory.ts"

const start = allocate(4096)

/** `last` is the header of the last transaction, `database` has its state, `nodeId` is this node's. */
export function hasTail(
  path: string,
  last: LtxHeader,
  database: BackedFile,
  nodeId: bigint,
): boolean {
  if (last.nodeId !== nodeId) return false
  using source = FileSource.open(path)
  if (source === undefined) return false
  const reader = new WalReader(source)
  const { header } = reader
  if (header === undefined || header.pageSize !== last.pageSize) return false
  if (header.checkpointSequence === REPLICA_WAL_SEQUENCE) return false
  const captured = capturedFrames(path, header, last, database)
  if (captured === undefined) return false
  while (reader.next()) if (reader.frameCount > captured && reader.commit > 0) return true
  return false
}

/** How many frames of the WAL are in the log; undefined: nobody knows. */
function capturedFrames(
  path: string,
  { salt1, salt2, pageSize }: WalHeader,
  last: LtxHeader,
  database: BackedFile,
): number | undefined {
  if (last.walSize > 0 && salt1 === last.walSalt1 && salt2 === last.walSalt2) {
    return (last.walOffset + last.walSize - WAL_HEADER_SIZE) / walFrameSize(pageSize)
  }
  const isNewer = (statusAt("wal:stat", path)?.modifiedMs ?? 0) >= last.timestampMs
  return isNewer && isInWalMode(database) ? 0 : undefined
}

function isInWalMode(database: BackedFile): boolean {
  database.readPadded(start, DATABASE_HEADER_SIZE, 0)
  const header = decodeDatabaseHeader(start.bytes.subarray(0, DATABASE_HEADER_SIZE))
  return header !== undefined && isWalMode(header)
}
