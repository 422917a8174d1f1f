/**
 * Whether an incoming file may follow on a state of a database: it begins where the state ends, and the database would
 * sum to what the file says. The check changes nothing.
 */
import type { HistoryState } from "../../capture/history.ts"
import { LitefsError } from "../../lib/errors.ts"
import { ChecksumAccumulator, lockPgno } from "../../ltx/checksum.ts"
import { isSnapshot, type LtxHeader } from "../../ltx/header.ts"
import { formatChecksum, formatPos, formatTxid } from "../../ltx/pos.ts"
import { posBefore } from "../../ltx/span.ts"
import type { IncomingFile } from "./incoming-file.ts"
import type { PageSums } from "./page-sums.ts"

/** Throws `position-mismatch` when it follows on another state, `invalid` when its sums are wrong. */
export function checkFollowsOn(
  name: string,
  state: HistoryState,
  incoming: Pick<IncomingFile, "header" | "trailer" | "sums">,
): void {
  const { header, trailer, sums } = incoming
  checkStart(name, state, header)
  const isWhole = isSnapshot(header) || header.pageSize !== state.pageSize
  checkGrowth(name, header, sums, isWhole ? 0 : state.commit)
  const checksum = new ChecksumAccumulator()
  if (isWhole) checksum.reset()
  else checksum.reset(state.pos.checksum)
  const old = state.sums
  sums.each((pgno, hi, lo) => {
    if (!isWhole) checksum.toggle(old.hi(pgno), old.lo(pgno))
    checksum.toggle(hi, lo)
  })
  if (!isWhole) {
    for (let pgno = header.commit + 1; pgno <= state.commit; pgno++) {
      checksum.toggle(old.hi(pgno), old.lo(pgno))
    }
  }
  if (checksum.checksum === trailer.postApplyChecksum) return
  throw new LitefsError(
    "invalid",
    `Cannot apply TXID ${formatTxid(header.maxTxid)} to "${name}": the database would sum to ${formatChecksum(checksum.checksum)}, ${formatChecksum(trailer.postApplyChecksum)} expected`,
  )
}

function checkStart(name: string, { pos }: HistoryState, header: LtxHeader): void {
  const follows =
    header.minTxid === pos.txid + 1n &&
    header.preApplyChecksum === (pos.txid === 0n ? 0n : pos.checksum)
  if (isSnapshot(header) || follows) return
  const before = formatPos(posBefore(header))
  throw new LitefsError(
    "position-mismatch",
    `Cannot apply a transaction to "${name}": it follows on ${before}, the database is at ${formatPos(pos)}`,
  )
}

/**
 * A transaction contains every page by which it enlarges the database (capture/history.ts). A missing page would be
 * zeros, and in no sum: nobody could copy the database, or recover it.
 */
function checkGrowth(
  name: string,
  { pageSize, commit, maxTxid }: LtxHeader,
  sums: PageSums,
  before: number,
): void {
  const lock = lockPgno(pageSize)
  const hasLockPage = before < lock && lock <= commit
  const missing = commit - before - (hasLockPage ? 1 : 0) - sums.countBeyond(before)
  if (missing <= 0) return
  const message =
    `Cannot apply TXID ${formatTxid(maxTxid)} to "${name}": ` +
    `it says that the database has ${commit} pages, and ${missing} new ones are not in it`
  throw new LitefsError("invalid", message)
}
