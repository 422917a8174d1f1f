/**
 * A database file that somebody has put in the data directory has content and no history. All its pages become its
 * first transaction: it can then be sent like any other, and its first writer need not capture more than it writes.
 */
import type { HistoryState } from "../capture/history.ts"
import { writeWholeLtxFile } from "../capture/whole-ltx-file.ts"
import { LTX_FLAG_COMPRESSED, NO_WAL } from "../ltx/header.ts"
import { type DatabaseHeader, pageCountIn } from "../sqlite/database-header.ts"
import type { BackedFile } from "../store/backed-file.ts"
import type { LtxDirectory } from "../store/ltx/ltx-directory.ts"

/** The transaction is durable when this returns. When it throws, there is none. */
export function makeFirstTransaction(
  database: BackedFile,
  header: DatabaseHeader,
  ltx: LtxDirectory,
  timestampMs: number,
): HistoryState {
  database.sync()
  const { pageSize } = header
  const commit = pageCountIn(header, database.size())
  const path = ltx.filePath(FIRST.minTxid, FIRST.maxTxid)
  const sums = writeWholeLtxFile(database, path, { ...FIRST, pageSize, commit, timestampMs })
  return { pos: { txid: 1n, checksum: sums.total }, pageSize, commit, sums, timestampMs }
}

const FIRST = {
  flags: LTX_FLAG_COMPRESSED,
  minTxid: 1n,
  maxTxid: 1n,
  preApplyChecksum: 0n,
  ...NO_WAL,
  nodeId: 0n,
}
