/**
 * A last LTX file that is damaged or gone although the database provably has its transaction (recovery/last-file.ts).
 */
import { formatPos } from "../ltx/pos.ts"
import { posAfter } from "../ltx/span.ts"
import { mendEnd } from "../recovery/mended-end.ts"
import { provenEnd } from "../recovery/proven-end.ts"
import { findSums } from "../recovery/saved-sums.ts"
import type { WholeLtxFile } from "../store/ltx/inspected-ltx-file.ts"
import type { DatabasePaths } from "./database-paths.ts"
import { type Finding, problem } from "./finding.ts"
import type { Log } from "./log-check.ts"

/** Undefined in any other case. Otherwise these are all findings: others, made without the file, would say nothing. */
export function mendFindings(
  log: Log,
  last: WholeLtxFile | undefined,
  paths: DatabasePaths,
  nowMs: number,
): Finding[] | undefined {
  const saved = findSums(paths.checksums, paths.database)
  const [file, ...more] = log.damagedEnd
  if (file === undefined) {
    if (last === undefined || saved?.isCurrent !== true) return undefined
    const { pos, pageSize, commit } = saved
    if (pos.txid <= last.maxTxid) return undefined
    const what = `the LTX files after ${formatPos(posAfter(last))} are gone, but the database was closed at ${formatPos(pos)}, and has not changed since; the next start of LiteFS makes one LTX file from it`
    const gone = { path: undefined, minTxid: last.maxTxid + 1n }
    const end = { pos, pageSize, commit, walFrames: 0 }
    return [
      problem("ltx-gone", paths.ltx, what, {
        repair: {
          does: "makes one LTX file from the database file",
          run: () => void mendEnd(paths, gone, end, last, nowMs),
        },
      }),
    ]
  }
  if (more.length > 0 || (last !== undefined && file.minTxid !== last.maxTxid + 1n))
    return undefined
  const end = provenEnd(paths, file, last, saved)
  if (end === undefined) return undefined
  const what = `${file.name} is damaged: ${file.problem}; the database has its transaction, and the next start of LiteFS makes the file again`
  return [
    problem("ltx-damaged", file.path, what, {
      repair: {
        does: `sets it aside as ${file.name}.damaged-${nowMs}, and makes it again from the database file`,
        run: () => void mendEnd(paths, file, end, last, nowMs),
      },
    }),
  ]
}
