/** Findings about the files that make up the content of a database. */
import { formatChecksum, formatTxid } from "../ltx/pos.ts"
import { WalReader } from "../sqlite/wal-reader.ts"
import type { FileSource } from "../store/ltx/file-source.ts"
import type { WholeLtxFile } from "../store/ltx/inspected-ltx-file.ts"
import type { DatabaseImage, Recipe } from "./database-image.ts"
import type { DatabasePaths } from "./database-paths.ts"
import { type Finding, note, problem, type Repair } from "./finding.ts"
import { newerOptions, restoreOptions } from "./options.ts"

export function journalFinding(recipe: Recipe, paths: DatabasePaths, repair: Repair): Finding {
  if (recipe.rollsBack) {
    const what =
      "the journal is hot: a transaction was interrupted while it was written to the database file"
    return problem("journal-hot", paths.journal, what, { repair })
  }
  const what =
    "the journal is hot, but the database matches the log without it: there was a crash right after the commit"
  return problem("journal-late", paths.journal, what, { repair })
}

export function behindFinding(
  { differing }: DatabaseImage,
  last: WholeLtxFile,
  paths: DatabasePaths,
  repair: Repair,
): Finding {
  const what =
    `${pagesText(differing)} different from the log at TXID ${formatTxid(last.maxTxid)}, ` +
    "and the LTX files have what is missing"
  return problem("database-behind", paths.database, what, { repair })
}

export function newerFinding(
  { unknown }: DatabaseImage,
  last: WholeLtxFile,
  paths: DatabasePaths,
): Finding {
  const what =
    `${pagesText(unknown)} from a transaction after TXID ${formatTxid(last.maxTxid)} that no whole LTX file has; ` +
    "a replay would undo it"
  return problem("database-newer", paths.database, what, { options: newerOptions(paths) })
}

export function damagedFinding(
  image: DatabaseImage,
  last: WholeLtxFile,
  paths: DatabasePaths,
): Finding {
  const [is, should] = [image.fileTotal, last.trailer.postApplyChecksum].map(formatChecksum)
  const known =
    image.differing.length === 0
      ? "the pages that the LTX files have are right, so others are wrong"
      : `${pagesText(image.differing)} different from the LTX files, and so are others that the LTX files do not have`
  const what = `it sums to ${is}, ${should} is expected at TXID ${formatTxid(last.maxTxid)}: ${known}`
  return problem("database-damaged", paths.database, what, { options: restoreOptions(paths) })
}

export function walFindings(
  image: DatabaseImage,
  recipe: Recipe,
  wal: FileSource | undefined,
  last: WholeLtxFile,
  paths: DatabasePaths,
  repair: Repair,
): Finding[] {
  if (wal === undefined || wal.size === 0) return []
  const { unloggedCommitCount, walCommitCount } = image
  const { header } = new WalReader(wal)
  if (header === undefined || header.pageSize !== last.header.pageSize) {
    const what = "it has no header that is valid for this database, so SQLite takes it for empty"
    return [note("wal-foreign", paths.wal, what)]
  }
  const txid = formatTxid(last.maxTxid)
  if (unloggedCommitCount !== undefined && unloggedCommitCount > 0) {
    const what =
      `${counted(unloggedCommitCount, "transaction")} after TXID ${txid} ${unloggedCommitCount === 1 ? "is" : "are"} in the WAL and in no LTX file; ` +
      "LiteFS v0.5 may have acknowledged such transactions when it was killed; a start leaves them out"
    return [problem("wal-unlogged", paths.wal, what, { repair })]
  }
  if (recipe.walFrames === 0) return []
  if (image.walIsNeeded) {
    const what =
      "the newest version of some pages is in the WAL alone, the LTX files that had them are gone"
    return [problem("wal-needed", paths.wal, what, { repair })]
  }
  const what = `of its ${counted(walCommitCount, "transaction")} some are not in the database file yet; all are in LTX files`
  return [note("wal-holds", paths.wal, what)]
}

const PAGES_SHOWN = 10

/** `page 3 is`, `pages 1, 2 and 7 are`, up to a limit. */
function pagesText(pgnos: readonly number[]): string {
  if (pgnos.length === 0) return "its size is"
  if (pgnos.length === 1) return `page ${pgnos[0]} is`
  const shown = pgnos.slice(0, PAGES_SHOWN)
  const more = pgnos.length - shown.length
  return more > 0
    ? `pages ${shown.join(", ")} and ${more} more are`
    : `pages ${shown.slice(0, -1).join(", ")} and ${shown.at(-1)} are`
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`
}
