/**
 * Makes the LTX file of the last transaction anew, from the database file, which is at the position after it.
 *
 *   new file, whole, beside it ─▶ the damaged one gets a second name ─▶ the new one its place
 *
 * A crash in between leaves either file in place, and recovery does it again. The new file holds every page: replicas
 * at the transaction before continue with it.
 */
import { dirname } from "node:path"
import { writeWholeLtxFile } from "../capture/whole-ltx-file.ts"
import { LitefsError } from "../lib/errors.ts"
import { LTX_FLAG_COMPRESSED, NO_WAL } from "../ltx/header.ts"
import { formatPos, type Txid } from "../ltx/pos.ts"
import { BackedFile } from "../store/backed-file.ts"
import { linkOrCopy } from "../store/link-or-copy.ts"
import { LtxDirectory, setAside } from "../store/ltx/ltx-directory.ts"
import type { LtxSummary } from "../store/ltx/ltx-file.ts"
import { syncDirectory } from "../sys/directory.ts"
import { renameFile, unlinkFile } from "../sys/file.ts"
import type { EndSources, ProvenEnd } from "./proven-end.ts"
import { copyFrames } from "./wal-rescue.ts"

export interface DamagedEnd {
  /** The damaged file; undefined when it is gone. */
  readonly path: string | undefined
  readonly minTxid: Txid
}

/** Returns the path of the new file, and the new path of the damaged one. */
export function mendEnd(
  paths: EndSources & { readonly ltx: string },
  { path: damaged, minTxid }: DamagedEnd,
  { pos, pageSize, commit, walFrames }: ProvenEnd,
  before: LtxSummary | undefined,
  nowMs: number,
): { readonly path: string; readonly kept: string | undefined } {
  const database = new BackedFile("database", paths.database)
  try {
    if (commit > 0) database.create()
    if (walFrames > 0) copyFrames(paths.wal, database, walFrames)
    const follows = before !== undefined && before.header.maxTxid === minTxid - 1n
    const header = {
      ...HEADER,
      ...{ pageSize, commit, timestampMs: nowMs, maxTxid: pos.txid },
      // Without the file before it, it has to be a snapshot.
      minTxid: follows ? minTxid : 1n,
      preApplyChecksum: follows ? before.trailer.postApplyChecksum : 0n,
    }
    const path = new LtxDirectory(paths.ltx).filePath(header.minTxid, header.maxTxid)
    const making = `${path}.making`
    const { total } = writeWholeLtxFile(database, making, header)
    if (total !== pos.checksum) {
      unlinkFile("ltx:discard", making)
      const problem = `the database file is no longer at ${formatPos(pos)}`
      throw new LitefsError("damaged", `Cannot make "${path}" again: ${problem}`)
    }
    let kept: string | undefined
    if (damaged === path) {
      kept = `${path}.damaged-${nowMs}`
      linkOrCopy("ltx:keep", path, kept)
    }
    renameFile("ltx:rename", making, path)
    if (damaged !== undefined && damaged !== path) kept = setAside(damaged, "damaged", nowMs)
    syncDirectory("ltx:sync-dir", dirname(path))
    return { path, kept }
  } finally {
    database.close()
  }
}

const HEADER = {
  flags: LTX_FLAG_COMPRESSED,
  ...NO_WAL,
  nodeId: 0n,
}
