/**
 * What `litefs ltx … --json` prints: one JSON document. TXIDs, checksums, salts and node ids are hexadecimal
 * text, as in positions and file names; sizes are bytes, counts are pages.
 *
 *     list     { groups: [{ database, directory, files: [FileJson] }] }
 *     dump     { files: [FileJson with pages: [{ pgno, checksum }] when --pages is given] }
 *     verify   { ok, groups: [{ database, directory, fileCount, pos, problems: [{ file, code, problem }] }] }
 *     apply    { output, pos, pageSize, commit, fileCount }
 *     compact  { output, FileJson of it, fileCount }
 *
 * `database`, `directory` and `pos` are null where there is none.
 */
import { hex8, isCompressed, isSnapshot, type LtxHeader } from "../../ltx/header.ts"
import { formatChecksum, formatPos, formatTxid } from "../../ltx/pos.ts"
import { type LtxSpan, posAfter } from "../../ltx/span.ts"
import type { LtxTrailer } from "../../ltx/trailer.ts"
import type { InspectedLtxFile } from "../../store/ltx/inspected-ltx-file.ts"

export function fileJson(file: InspectedLtxFile): object {
  const { path, size } = file
  if (file.kind === "damaged") {
    const [minTxid, maxTxid] = [formatTxid(file.minTxid), formatTxid(file.maxTxid)]
    return { path, size, minTxid, maxTxid, problem: file.problem }
  }
  const { pageCount } = file
  return {
    path,
    size,
    ...headerJson(file.header),
    pageCount,
    ...trailerJson(file.trailer),
    pos: posOf(file),
  }
}

export function headerJson(header: LtxHeader): object {
  return {
    minTxid: formatTxid(header.minTxid),
    maxTxid: formatTxid(header.maxTxid),
    pageSize: header.pageSize,
    commit: header.commit,
    timestamp: new Date(header.timestampMs).toISOString(),
    isSnapshot: isSnapshot(header),
    isCompressed: isCompressed(header),
    preApplyChecksum: formatChecksum(header.preApplyChecksum),
    walOffset: header.walOffset,
    walSize: header.walSize,
    walSalt1: hex8(header.walSalt1),
    walSalt2: hex8(header.walSalt2),
    nodeId: formatTxid(header.nodeId),
  }
}

export function trailerJson(trailer: LtxTrailer): object {
  return {
    postApplyChecksum: formatChecksum(trailer.postApplyChecksum),
    fileChecksum: formatChecksum(trailer.fileChecksum),
  }
}

/** The position of a database after the file. */
export function posOf(span: LtxSpan): string {
  return formatPos(posAfter(span))
}
