/** The LTX files that recovery replays. */
import type { HistoryState } from "../../capture/history.ts"
import type { PageChecksums } from "../../capture/page-checksums.ts"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { pageSum, type Sum } from "../../ltx/checksum.ts"
import type { LtxHandler } from "../../ltx/decoder.ts"
import type { Txid } from "../../ltx/pos.ts"
import { posAfter } from "../../ltx/span.ts"
import type { LtxFileInfo } from "../../store/ltx/ltx-directory.ts"
import { type LtxSummary, readLtxFile } from "../../store/ltx/ltx-file.ts"

/** The files that lead to `last` without a gap, starting from what the database certainly has, oldest first. */
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

/** Reads a file of the log that has to be whole. */
export function readChainFile(name: string, file: LtxFileInfo, on: LtxHandler = {}): LtxSummary {
  try {
    return readLtxFile(file.path, on)
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    const problem = `its LTX file "${file.path}" is damaged: ${messageOf(error)}`
    throw new LitefsError("damaged", `Cannot open database "${name}": ${problem}`, { cause: error })
  }
}

/** The state of a database after its last file. */
export function stateAfter(summary: LtxSummary, sums: PageChecksums): HistoryState {
  const { pageSize, commit, timestampMs } = summary.header
  return { pos: posAfter(summary), pageSize, commit, sums, timestampMs }
}

/**
 * The sums of the pages in the files, as the last file leaves the database. An unreadable file is damage, unless the
 * database has its checksum without it.
 */
export function readNewest(
  name: string,
  chain: readonly LtxFileInfo[],
  { header: { pageSize, commit } }: LtxSummary,
  isSummed: boolean,
): ReadonlyMap<number, Sum> {
  const newest = new Map<number, Sum>()
  try {
    for (const file of chain) {
      let isSameSize = true
      readChainFile(name, file, {
        header: (header) => {
          isSameSize = header.pageSize === pageSize // otherwise a later file holds every page
        },
        page: (pgno, data) => {
          if (isSameSize && pgno <= commit) newest.set(pgno, pageSum(pgno, data))
        },
      })
    }
  } catch (error) {
    if (isSummed && error instanceof LitefsError && error.code === "damaged") return new Map()
    throw error
  }
  return newest
}
