/**
 * From what is on the disk to the content that the log states for the database.
 *
 * The log is the truth: its last file tells the checksum of the whole database. The attempts are, in this order,
 *
 *   1. the database file as it is, with as many commits of the WAL as necessary;
 *   2. the same after the journal has been played back;
 *   3. either of them with the pages of the log written over it.
 *
 * The first one with the right checksum is the recipe. Nothing is written here.
 *
 * The checksum of all pages is not enough (recovery/recover.ts). After a commit of the WAL the pages that the log has
 * must be as they are there. Where the file has the checksum with and without what the journal undoes, the journal is
 * played back.
 */

import { sumsOfFile } from "../capture/file-sums.ts"
import type { PageChecksums } from "../capture/page-checksums.ts"
import type { ByteSource } from "../lib/byte-source.ts"
import type { Pos } from "../ltx/pos.ts"
import { posAfter } from "../ltx/span.ts"
import { readDatabaseHeader } from "../sqlite/database-header.ts"
import type { WholeLtxFile } from "../store/ltx/inspected-ltx-file.ts"
import {
  comparedWithLog,
  differingPages,
  largestCommit,
  overlaid,
  rolledBack,
  sumsOfLog,
  undonePageCount,
  walCommits,
} from "./page-sums.ts"

export interface ImageSources {
  readonly database: ByteSource | undefined
  /** Set only when it is hot. */
  readonly journal: ByteSource | undefined
  /** What the journal has not saved (store/undo-file.ts). */
  readonly undo: ByteSource | undefined
  readonly wal: ByteSource | undefined
}

export interface Recipe {
  readonly rollsBack: boolean
  /** How many frames of the WAL are written over the file, up to the end of a commit. */
  readonly walFrames: number
  readonly replays: boolean
}

export interface DatabaseImage {
  /** Undefined when nothing here has the right checksum. */
  readonly recipe: Recipe | undefined
  /** Checksum of the database file alone, cut or padded to its size after the last transaction. */
  readonly fileTotal: bigint
  /** Pages of the file that certainly differ from the log. */
  readonly differing: readonly number[]
  /** Those of them that are in no LTX file, older ones included: newer than the log, or rotten. */
  readonly unknown: readonly number[]
  /** Whether by SQLite's change counter the file has transactions that the log lacks. */
  readonly isNewer: boolean
  readonly walCommitCount: number
  /** Commits of the WAL beyond the last transaction of the log; undefined when that is unknown. */
  readonly unloggedCommitCount: number | undefined
  /** Whether the log and the database file give the database without the WAL. */
  readonly walIsNeeded: boolean
}

interface Candidate {
  readonly sums: PageChecksums
  readonly recipe: Recipe
}

export function databaseImage(
  sources: ImageSources,
  chain: readonly WholeLtxFile[],
  last: WholeLtxFile,
): DatabaseImage {
  const { pageSize, commit } = last.header
  const target = last.trailer.postApplyChecksum
  const fileSums = sumsOfFile(sources.database, pageSize, pageCountOf(sources, pageSize, commit))
  const bases = basesOf(fileSums, sources, posAfter(last))
  const log = sumsOfLog(chain)
  const walks = bases.map(({ sums, recipe }) => {
    const wal = sources.wal ?? NO_BYTES
    const { commits, sums: after } = walCommits(sums, wal, pageSize, (sums) => {
      // The commit may have counted a file that is longer than the database.
      if (sums.pageCount < commit || sums.total !== target) return false
      return differingPages(sums, log, commit).length === 0
    })
    const atStart = { frameCount: 0, isRight: sums.totalOf(commit) === target }
    return { sums, recipe, after, states: [atStart, ...commits] }
  })
  const [asIs, undone] = walks
  if (asIs !== undefined && undone?.states[0]?.isRight === true) {
    // Otherwise the journal undoes nothing, and says no more than the file.
    if (differingPages(undone.sums, asIs.sums, commit).length > 0) walks.reverse()
  }

  let recipe: Recipe | undefined
  let unloggedCommitCount: number | undefined
  for (const { sums, recipe: base, states } of walks) {
    const index = states.findLastIndex(({ isRight }) => isRight)
    if (index < 0) continue
    // The file alone is better than the file with frames that it already holds.
    const walFrames = states[0]?.isRight ? 0 : (states[index]?.frameCount ?? 0)
    const replays = walFrames === 0 && differingPages(sums, log, commit).length > 0
    recipe = { ...base, walFrames, replays }
    unloggedCommitCount = states.length - 1 - index
    break
  }
  const replayed = (sums: PageChecksums) => overlaid(sums, log).total === target
  const replayBase = bases.toReversed().find(({ sums }) => replayed(sums))
  if (recipe === undefined && replayBase !== undefined) {
    recipe = { ...replayBase.recipe, replays: true }
  }
  if (recipe === undefined) {
    const walk = walks.toReversed().find(({ after }) => replayed(after))
    const walFrames = walk?.states.at(-1)?.frameCount ?? 0
    if (walk !== undefined) recipe = { ...walk.recipe, walFrames, replays: true }
  }
  const differing = differingPages(fileSums, log, commit)
  const pageCount = Math.floor((sources.database?.size ?? 0) / pageSize)
  const { unknown, changeCounter } = comparedWithLog(
    fileSums,
    differing.filter((pgno) => pgno <= pageCount),
    recipe?.replays ? chain : [],
  )
  const fileCounter = readDatabaseHeader(sources.database)?.changeCounter
  return {
    recipe,
    fileTotal: fileSums.totalOf(commit),
    differing,
    unknown,
    isNewer:
      (fileCounter ?? 0) > (changeCounter ?? Number.POSITIVE_INFINITY) && unknown.includes(1),
    walCommitCount: (walks[0]?.states.length ?? 1) - 1,
    unloggedCommitCount,
    walIsNeeded: (recipe?.walFrames ?? 0) > 0 && replayBase === undefined,
  }
}

const NO_BYTES: ByteSource = { size: 0, readAt: () => 0 }

/**
 * What lies beyond the database's end, only a journal or a commit in the WAL could count: no more than these say, however
 * long the file is, which may be a sparse one.
 */
function pageCountOf(sources: ImageSources, pageSize: number, commit: number): number {
  const { database, journal, wal } = sources
  const inFile = Math.ceil((database?.size ?? 0) / pageSize)
  if (inFile <= commit) return commit
  const undone = (journal && undonePageCount(journal, commit)) ?? 0
  return Math.min(inFile, Math.max(undone, largestCommit(wal ?? NO_BYTES, pageSize, commit)))
}

function basesOf(sums: PageChecksums, { journal, undo }: ImageSources, pos: Pos): Candidate[] {
  const asIs = { sums, recipe: { rollsBack: false, walFrames: 0, replays: false } }
  if (journal === undefined) return [asIs]
  const recipe = { rollsBack: true, walFrames: 0, replays: false }
  return [asIs, { sums: rolledBack(sums, journal, undo, pos), recipe }]
}
