/**
 * A database file that somebody has put in the data directory has content and no history. So that it is sent like any
 * other, and that its first writer need not capture more than he writes, all its pages become its first transaction.
 */
import type { HistoryState } from "../capture/history.ts"
import { PageChecksums } from "../capture/page-checksums.ts"
import { lockPgno, writePageChecksum } from "../ltx/checksum.ts"
import { LtxEncoder } from "../ltx/encoder.ts"
import { LTX_FLAG_COMPRESSED } from "../ltx/header.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { type LtxDirectory, LtxFileWriter } from "../store/ltx-directory.ts"
import { allocate } from "../sys/memory.ts"

const READ_SIZE = 1024 * 1024

/** The transaction is durable when this returns. When it throws, there is none. */
export function makeFirstTransaction(
  database: BackedFile,
  pageSize: number,
  ltx: LtxDirectory,
  timestampMs: number,
): HistoryState {
  database.sync()
  const commit = Math.ceil(database.size() / pageSize)
  const header = { ...FIRST, pageSize, commit, timestampMs }
  const file = new LtxFileWriter(ltx.filePath(FIRST.minTxid, FIRST.maxTxid))
  try {
    const sums = writePages(database, file, header)
    file.commit()
    return { pos: { txid: 1n, checksum: sums.total }, pageSize, commit, sums, timestampMs }
  } catch (error) {
    file.discard()
    throw error
  }
}

function writePages(
  database: BackedFile,
  file: LtxFileWriter,
  header: Parameters<LtxEncoder["header"]>[0],
): PageChecksums {
  const { pageSize, commit } = header
  const sums = new PageChecksums(commit)
  const sum = new Uint32Array(2)
  const buffer = allocate(READ_SIZE)
  const encoder = new LtxEncoder(file.append)
  encoder.header(header)
  const perRead = READ_SIZE / pageSize
  for (let first = 1; first <= commit; first += perRead) {
    const count = Math.min(perRead, commit - first + 1)
    database.readPadded(buffer, count * pageSize, (first - 1) * pageSize)
    for (let pgno = first; pgno < first + count; pgno++) {
      if (pgno === lockPgno(pageSize)) continue
      const start = (pgno - first) * pageSize
      const page = buffer.bytes.subarray(start, start + pageSize)
      writePageChecksum(sum, pgno, page)
      sums.set(pgno, sum[0] as number, sum[1] as number)
      encoder.page(pgno, page)
    }
  }
  encoder.close(sums.total)
  return sums
}

const FIRST = {
  flags: LTX_FLAG_COMPRESSED,
  minTxid: 1n,
  maxTxid: 1n,
  preApplyChecksum: 0n,
  walOffset: 0,
  walSize: 0,
  walSalt1: 0,
  walSalt2: 0,
  nodeId: 0n,
}
