/** Which of the given files `apply` and `compact` use: a history in its order, each TXID once. */

import { byTxid, isCovered } from "../../store/ltx/ltx-chain.ts"
import { readLtxHeader } from "../../store/ltx/ltx-header.ts"
import { oneHistory } from "./ltx-paths.ts"

/** Paths, ascending by TXID. Leaves out files that another one covers, such as those before a snapshot. */
export function chosenFiles(paths: readonly string[], doing: string): string[] {
  const files = oneHistory(paths, doing)
    .map((path) => ({ path, ...readLtxHeader(path) }))
    .sort(byTxid)
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
