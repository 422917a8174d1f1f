/**
 * Commits in a WAL that nobody has captured: clients write past the daemon (mount/bypass.ts), and it was killed before
 * it could follow. One transaction leads from what the log has to what those clients have seen, the database file with
 * the commits of the WAL, and is durable before anything of them changes:
 *
 *   the log       may have less: what was committed last
 *                 may have more: a transaction that was captured while its writer synced it. The writer heard of an
 *                   error when the daemon died, and another one has written over it
 *   the WAL       is then over, and is cut off. Its old clients may have it open still; nobody shares it with them
 *
 * None of this is so when the machine was started anew: the WAL is then what the disk has of it, and nothing says when
 * that was. Nor when the last transaction is another node's, and did not reach the WAL. What a WAL has alone is then set
 * aside (wal-rescue.ts).
 */
import { checkClaim } from "../capture/claim.ts"
import { sumsOfFile } from "../capture/file-sums.ts"
import { History } from "../capture/history.ts"
import { systemClock } from "../lib/clock.ts"
import type { Logger } from "../lib/log.ts"
import { pageSum, type Sum } from "../ltx/checksum.ts"
import { formatPos } from "../ltx/pos.ts"
import {
  DATABASE_HEADER_SIZE,
  decodeDatabaseHeader,
  isWalMode,
  readDatabaseHeader,
  trustedPageCount,
} from "../sqlite/database-header.ts"
import {
  WAL_FRAME_HEADER_SIZE,
  type WalHeader,
  walFrameOffset,
  walFrameSize,
} from "../sqlite/wal.ts"
import { WalReader } from "../sqlite/wal-reader.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { directLog } from "../store/log/commit-log.ts"
import { FileSource } from "../store/ltx/file-source.ts"
import type { LtxDirectory } from "../store/ltx/ltx-directory.ts"
import { allocate } from "../sys/memory.ts"
import { type KeptSums, newestPages } from "./kept-sums.ts"
import type { LastFile } from "./last-file.ts"
import { readChainFile, readNewest, stateAfter } from "./log/log-chain.ts"
import { cutOff } from "./wal-rescue.ts"

/** Clients wrote past the last daemon. */
export interface WrotePast {
  readonly nodeId: bigint
  /** The machine has run since, so that the WAL is what they wrote. */
  readonly isSameBoot: boolean
}

export interface TailGiven {
  readonly name: string
  readonly wal: string // path
  readonly ltx: LtxDirectory
  /** As clients have left it. */
  readonly database: BackedFile
  readonly last: LastFile
  /** The files that recovery would replay. */
  readonly chain: Parameters<typeof readNewest>[1]
  /** At the end of the log, where that is known without a look at all of the database file. */
  readonly known: KeptSums | undefined
  readonly past: WrotePast
  readonly log: Logger
}

/** The commits of a WAL, and the newest frame of each page in them, by its index. */
interface Commits {
  readonly header: WalHeader
  readonly frameCount: number
  readonly commit: number // pages of the database, as the last one says
  readonly newest: ReadonlyMap<number, { readonly frame: number; readonly sum: Sum }>
  readonly hasLast: boolean // the last transaction of the log
}

const page = allocate(65536)

/** True when the log has a transaction more. It is all that counts then, as it is when there was nothing to capture. */
export function captureTail(given: TailGiven): boolean {
  const { name, wal: path, ltx, database, last, chain, known, past, log } = given
  const { summary } = last
  const { pageSize, commit: commitBefore, nodeId } = summary.header
  const first = readDatabaseHeader(database)
  const isWal = first !== undefined && isWalMode(first) && first.pageSize === pageSize
  if (!past.isSameBoot || commitBefore === 0 || !isWal) return false
  using wal = FileSource.open(path)
  const commits = wal && commitsOf(wal, name, last)
  if (wal === undefined || commits === undefined || commits.header.pageSize !== pageSize) {
    return false
  }
  if (nodeId !== past.nodeId && !commits.hasLast) return false

  const sums = known?.sums ?? sumsOfFile(database, pageSize, commitBefore)
  const isAt = () => sums.total === summary.trailer.postApplyChecksum
  const logged = known ? newestPages(known) : readNewest(name, chain, summary, isAt())
  const seen = new Map<number, Sum>()
  for (const pgno of logged.keys()) {
    const bytes = page.bytes.subarray(0, pageSize)
    bytes.fill(0, database.readAt((pgno - 1) * pageSize, bytes))
    seen.set(pgno, pageSum(pgno, bytes))
  }
  for (const [pgno, { sum }] of commits.newest) seen.set(pgno, sum)
  for (const [pgno, [hi, lo]] of logged) sums.set(pgno, hi, lo)
  if (!isAt()) return false // recovery says what that means

  const readPage = (pgno: number, into: { readonly bytes: Uint8Array }) => {
    const bytes = into.bytes.subarray(0, pageSize).fill(0)
    const found = commits.newest.get(pgno)
    if (found === undefined) database.readAt((pgno - 1) * pageSize, bytes)
    else wal.readAt(walFrameOffset(found.frame, pageSize) + WAL_FRAME_HEADER_SIZE, bytes)
  }
  readPage(1, page)
  const commit = trueCommit(commits.commit, commitBefore)
  const pgnos = [...seen.keys()]
    .filter(
      (pgno) => pgno <= commit && !(pgno <= commitBefore && sums.has(pgno, seen.get(pgno) as Sum)),
    )
    .sort((a, b) => a - b)
  const history = new History(name, stateAfter(summary, sums), {
    ...{ ltx, log: directLog, nodeId: past.nodeId, clock: systemClock },
  })
  const roomForPages = Math.ceil(database.size() / pageSize)
  const writtenSize = (from: number) => {
    return [...commits.newest.keys()].filter((pgno) => pgno * pageSize > from).length * pageSize
  }
  checkClaim({ pageSize, commit, roomForPages, writtenSize }, history, (message) =>
    log.warn(message),
  )
  const { salt1, salt2 } = commits.header
  const size = commits.frameCount * walFrameSize(pageSize)
  const range = { offset: walFrameOffset(0, pageSize), size, salt1, salt2 }
  const isNew = history.append({ pageSize, commit, pgnos, readPage, wal: range })
  if (isNew) {
    log.info("captured the commits of a WAL that followed on the log", {
      ...{ db: name, pos: formatPos(history.pos) },
    })
  }
  cutOff(path)
  return isNew
}

/** As capture/wal-tracker.ts has it. `page` is the first one. */
function trueCommit(said: number, before: number): number {
  const header = decodeDatabaseHeader(page.bytes.subarray(0, DATABASE_HEADER_SIZE))
  return said > before ? Math.min(said, (header && trustedPageCount(header)) ?? said) : said
}

function commitsOf(wal: FileSource, name: string, last: LastFile): Commits | undefined {
  const reader = new WalReader(wal)
  const newest = new Map<number, { frame: number; sum: Sum }>()
  const wanted = pagesOf(name, last)
  let hasLast = false
  let pending = new Map<number, { frame: number; sum: Sum }>()
  while (reader.next()) {
    const { pgno, frameCount } = reader
    pending.set(pgno, { frame: frameCount - 1, sum: pageSum(pgno, reader.page) })
    if (reader.commit === 0) continue
    for (const [pgno, found] of pending) newest.set(pgno, found)
    hasLast ||=
      wanted.size > 0 &&
      [...wanted].every(([pgno, [hi, lo]]) => {
        const sum = pending.get(pgno)?.sum
        return sum !== undefined && sum[0] === hi && sum[1] === lo
      })
    pending = new Map()
  }
  const { header, lastCommit } = reader
  if (header === undefined || lastCommit === undefined) return undefined
  const { frameCount, commit } = lastCommit
  return { header, frameCount, commit, newest, hasLast }
}

/** The pages of the last transaction of the log. */
function pagesOf(name: string, { file }: LastFile): Map<number, Sum> {
  const pages = new Map<number, Sum>()
  readChainFile(name, file, { page: (pgno, data) => pages.set(pgno, pageSum(pgno, data)) })
  return pages
}
