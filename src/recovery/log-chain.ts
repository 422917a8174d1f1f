/** The LTX files that recovery replays. */
import { LitefsError, messageOf } from "../lib/errors.ts"
import type { LtxHandler } from "../ltx/decoder.ts"
import type { Txid } from "../ltx/pos.ts"
import type { LtxFileInfo } from "../store/ltx-directory.ts"
import { type LtxSummary, readLtxFile } from "../store/ltx-file.ts"

/** The files that lead to `last` without a gap, from what is known to be in the database on, oldest first. */
export function chainTo(
  last: LtxFileInfo,
  files: readonly LtxFileInfo[],
  synced: Txid,
): LtxFileInfo[] {
  const chain = [last]
  for (let next = last; next.minTxid > synced + 1n; ) {
    const before = files.find((file) => file.maxTxid === next.minTxid - 1n)
    if (before === undefined) break
    chain.unshift(before)
    next = before
  }
  return chain
}

/** A file of the log that has to be whole. */
export function readChainFile(name: string, file: LtxFileInfo, on: LtxHandler = {}): LtxSummary {
  try {
    return readLtxFile(file.path, on)
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    const problem = `its LTX file "${file.path}" is damaged: ${messageOf(error)}`
    throw new LitefsError("damaged", `Cannot open database "${name}": ${problem}`, { cause: error })
  }
}
