/** The page checksums that a database would have: from its file, its journal, its WAL and its log. */
import { UNWRITTEN_SIZE_MAX } from "../capture/claim.ts"
import { PageChecksums } from "../capture/page-checksums.ts"
import type { ByteSource } from "../lib/byte-source.ts"
import { pageSum } from "../ltx/checksum.ts"
import type { Pos } from "../ltx/pos.ts"
import { walTransactions } from "../recovery/wal-rescue.ts"
import { decodeDatabaseHeader } from "../sqlite/database-header.ts"
import { readJournal, readJournalHeader } from "../sqlite/journal.ts"
import { WalReader } from "../sqlite/wal-reader.ts"
import type { WholeLtxFile } from "../store/ltx/inspected-ltx-file.ts"
import { readLtxFile } from "../store/ltx/ltx-file.ts"
import { readUndo } from "../store/undo-file.ts"

export function copyOf(sums: PageChecksums): PageChecksums {
  const copy = new PageChecksums(sums.pageCount)
  for (let pgno = 1; pgno <= sums.pageCount; pgno++) copy.set(pgno, sums.hi(pgno), sums.lo(pgno))
  return copy
}

/** The sums after playing the journal back, and what the undo file has at a position. */
export function rolledBack(
  sums: PageChecksums,
  journal: ByteSource,
  undo: ByteSource | undefined,
  pos: Pos,
): PageChecksums {
  const result = copyOf(sums)
  const pageCount = undonePageCount(journal, sums.pageCount)
  if (pageCount === undefined) return result
  if (pageCount > result.pageCount) result.resize(pageCount)
  for (const { pgno, page } of readJournal(journal)) setSum(result, pgno, page)
  if (undo !== undefined) {
    for (const { pgno, page } of readUndo(undo, pos)) setSum(result, pgno, page)
  }
  result.resize(pageCount)
  return result
}

/**
 * The size of the database before the transaction of a journal, pages. Undefined when it does not say, or says more than
 * a database of `pageCount` can have had: what was cut off is in the journal.
 */
export function undonePageCount(journal: ByteSource, pageCount: number): number | undefined {
  const header = readJournalHeader(journal)
  if (header === undefined) return undefined
  const { initialPageCount, pageSize } = header
  const largest = pageCount + (journal.size + UNWRITTEN_SIZE_MAX) / pageSize
  return initialPageCount > largest ? undefined : initialPageCount
}

/** The size of the largest database that the WAL has a commit of, pages; of one that had `pageCount`. */
export function largestCommit(wal: ByteSource, pageSize: number, pageCount: number): number {
  const reader = new WalReader(wal)
  let largest = pageCount
  if (reader.header?.pageSize !== pageSize) return largest
  for (const _ of walTransactions(reader, pageCount)) largest = Math.max(largest, reader.commit)
  return largest
}

export interface WalCommitSum {
  readonly frameCount: number
  readonly isRight: boolean
}

/** Each commit of a WAL, and the sums after the last one. `isRight` judges the pages up to the given size. */
export function walCommits(
  base: PageChecksums,
  wal: ByteSource,
  pageSize: number,
  isRight: (sums: PageChecksums) => boolean,
): { commits: WalCommitSum[]; sums: PageChecksums } {
  const sums = copyOf(base)
  const commits: WalCommitSum[] = []
  const reader = new WalReader(wal)
  const isOfPages = reader.header?.pageSize === pageSize
  for (const pages of isOfPages ? walTransactions(reader, base.pageCount) : []) {
    const { commit, frameCount } = reader
    sums.resize(commit)
    for (const [pgno, [hi, lo]] of pages) if (pgno <= commit) sums.set(pgno, hi, lo)
    commits.push({ frameCount, isRight: isRight(sums) })
  }
  return { commits, sums }
}

/**
 * The newest version of each page in the files. A page that none of them has, or that a later one cut off, has no sum.
 */
export function sumsOfLog(files: readonly WholeLtxFile[]): PageChecksums {
  const sums = new PageChecksums()
  let pageSize = 0
  for (const file of files) {
    const { header } = file
    if (header.pageSize !== pageSize) sums.clear()
    pageSize = header.pageSize
    if (header.commit > sums.pageCount) sums.resize(header.commit)
    readLtxFile(file.path, { page: (pgno, data) => setSum(sums, pgno, data) })
    sums.resize(header.commit)
  }
  return sums
}

/** `base` with every page that `log` has from there. */
export function overlaid(base: PageChecksums, log: PageChecksums): PageChecksums {
  const result = copyOf(base)
  result.resize(log.pageCount)
  for (let pgno = 1; pgno <= log.pageCount; pgno++) {
    if (log.hi(pgno) !== 0) result.set(pgno, log.hi(pgno), log.lo(pgno))
  }
  return result
}

/** Numbers of the pages up to `commit` that differ from the log's. */
export function differingPages(sums: PageChecksums, log: PageChecksums, commit: number): number[] {
  const differing: number[] = []
  for (let pgno = 1; pgno <= commit; pgno++) {
    if (log.hi(pgno) !== 0 && !sums.has(pgno, log.sumOf(pgno))) differing.push(pgno)
  }
  return differing
}

export interface LogComparison {
  /** Those of `pgnos` whose content in the file is in no LTX file at all: newer, or rotten. */
  readonly unknown: readonly number[]
  /** SQLite's change counter in the newest page 1 of the log; undefined when the log has none. */
  readonly changeCounter: number | undefined
}

/** Whether pages that differ from the log's newest are older pages of the log. */
export function comparedWithLog(
  file: PageChecksums,
  pgnos: readonly number[],
  files: readonly WholeLtxFile[],
): LogComparison {
  const unknown = new Set(pgnos)
  let changeCounter: number | undefined
  for (const { path } of files) {
    readLtxFile(path, {
      page(pgno, data) {
        if (pgno === 1) changeCounter = decodeDatabaseHeader(data)?.changeCounter
        if (unknown.has(pgno) && file.has(pgno, pageSum(pgno, data))) unknown.delete(pgno)
      },
    })
  }
  return { unknown: [...unknown], changeCounter }
}

function setSum(sums: PageChecksums, pgno: number, page: Uint8Array): void {
  if (pgno <= sums.pageCount) sums.setPage(pgno, page)
}
