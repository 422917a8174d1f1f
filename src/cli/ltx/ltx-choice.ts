/** Which of the given files `apply` and `compact` use: a history in its order, each TXID once. */

import { LitefsError } from "../../lib/errors.ts"
import { formatTxid, type Txid } from "../../ltx/pos.ts"
import { byTxid, isCovered } from "../../store/ltx/ltx-chain.ts"
import { readLtxHeader } from "../../store/ltx/ltx-header.ts"
import { oneHistory } from "./ltx-paths.ts"
import type { Until } from "./ltx-until.ts"

/**
 * Paths, ascending by TXID, of the files up to `until`: of a time, those of transactions that were committed by then.
 * Leaves out files that another one covers, such as those before a snapshot.
 */
export function chosenFiles(paths: readonly string[], doing: string, until?: Until): string[] {
  const all = oneHistory(paths, doing)
    .map((path) => ({ path, ...readLtxHeader(path) }))
    .sort(byTxid)
  const files = until === undefined ? all : filesUntil(until, all, doing)
  return files
    .filter(
      (file) =>
        !isCovered(
          file,
          files.filter((other) => other !== file),
        ),
    )
    .map(({ path }) => path)
}

interface ChosenFile {
  readonly path: string
  readonly minTxid: Txid
  readonly maxTxid: Txid
  readonly timestampMs: number
}

function filesUntil<T extends ChosenFile>(until: Until, files: readonly T[], doing: string): T[] {
  const problemOf = (problem: string) =>
    new LitefsError("position-mismatch", `Cannot ${doing} until then: ${problem}`)
  if ("timeMs" in until) {
    const found = files.filter(({ timestampMs }) => timestampMs <= until.timeMs)
    if (found.length > 0) return found
    const times = files.map(({ timestampMs }) => timestampMs)
    const first = new Date(Math.min(...times)).toISOString()
    throw problemOf(`the first of the files is of ${first}`)
  }
  const { txid } = until
  const found = files.filter(({ maxTxid }) => maxTxid <= txid)
  if (found.at(-1)?.maxTxid === txid) return found
  const around = files.find(({ minTxid, maxTxid }) => minTxid <= txid && txid <= maxTxid)
  if (around !== undefined) {
    const span = `${formatTxid(around.minTxid)} to ${formatTxid(around.maxTxid)}`
    throw problemOf(`the transactions ${span} are one file, "${around.path}"`)
  }
  throw problemOf(`none of the files ends at TXID ${formatTxid(txid)}`)
}
