/**
 * Content of a database file that somebody else has written while no LiteFS ran, and that a replay would undo.
 *
 * By itself such a file looks like one after a crash: its pages differ from the log. But a crash leaves content that
 * pages have had before, and that is known in most cases: the whole file is at a position of the log, or the LTX files,
 * the journal or the WAL have it. Where they do not, because a page was written long ago or by a transaction that did not
 * end, the times tell: LiteFS did not write a database file a second after everything else, and after its word that it
 * does so (store/noted-file.ts). After a clean stop nothing has to be guessed: the file must be as it was left, if the
 * log is.
 *
 * Such a file is kept whole as `database.changed-<ms>` beside the database file.
 */
import { sumsOfFile } from "../capture/file-sums.ts"
import type { PageChecksums } from "../capture/page-checksums.ts"
import { decodedIfAny, isZero } from "../lib/bytes.ts"
import type { LtxHeader } from "../ltx/header.ts"
import { type Checksum, posEquals } from "../ltx/pos.ts"
import { posAfter } from "../ltx/span.ts"
import { readJournalHeader } from "../sqlite/journal.ts"
import { WalReader } from "../sqlite/wal-reader.ts"
import type { DataDir } from "../store/data-dir.ts"
import { SEGMENT_COUNT, segmentPath } from "../store/log/log-segment.ts"
import { FileSource } from "../store/ltx/file-source.ts"
import { LtxDirectory, type LtxFileInfo, setAside } from "../store/ltx/ltx-directory.ts"
import { type LtxSummary, readLtxFile } from "../store/ltx/ltx-file.ts"
import { readSynced } from "../store/synced.ts"
import { syncDirectory } from "../sys/directory.ts"
import { closing, copyFile, O_RDWR, openFile, statusAt, syncFile } from "../sys/file.ts"
import { savedIn, savedPages } from "./journal-rollback.ts"
import { LoggedPages } from "./log/logged-pages.ts"
import type { EndSources } from "./proven-end.ts"
import type { FoundSums } from "./saved-sums.ts"
import { walFrameCount } from "./wal-rescue.ts"

export interface ReplayFacts {
  readonly dataDir: DataDir
  readonly name: string
  /** The files to replay, oldest first. */
  readonly chain: readonly LtxFileInfo[]
  readonly last: LtxSummary
  /** Whether the journal is rolled back first. */
  readonly undoes?: boolean
  /** From a clean stop that was the last event here, as far as LiteFS knows. */
  readonly saved: FoundSums | undefined
}

/** Whether the file has content that is not LiteFS's. Nothing is written. */
export function isWrittenOutside(facts: ReplayFacts): boolean {
  const { dataDir, name, last, saved } = facts
  using database = FileSource.open(dataDir.path(name, "database"))
  if (database === undefined || database.size === 0) return false
  const { pageSize, commit } = last.header
  const pageCount = Math.ceil(database.sizeBesideHole(commit * pageSize) / pageSize)
  const sums = sumsOfFile(database, pageSize, pageCount)
  if (saved !== undefined && posEquals(saved.pos, posAfter(last))) {
    return !isAt(sums, saved.pos.checksum, saved.commit)
  }
  const isSuspect =
    saved !== undefined ||
    readSynced(dataDir.syncedPath(name)) > last.header.maxTxid ||
    isLaterThanAll(facts)
  if (!isSuspect) return false
  const logged = new LoggedPages(pageSize)
  if (isAtPositionOf(facts, sums, logged)) return false
  const undone = addSideFiles(dataDir, name, last, logged)
  const replaced = new Set([...logged.newest.keys(), ...(facts.undoes === true ? undone : [])])
  let unknown = unknownPages(database, sums, last.header, logged, replaced)
  const files = new LtxDirectory(dataDir.ltxDir(name)).list()
  const older = files.filter(({ maxTxid }) => maxTxid < (facts.chain[0]?.minTxid ?? 0n))
  for (const file of older.toReversed()) {
    if (unknown.length === 0) return false
    const pages = new LoggedPages(pageSize)
    if (!readInto(file, pages)) continue
    unknown = unknown.filter((pgno) => !pages.knows(pgno, sums.sumOf(pgno)))
  }
  return unknown.length > 0
}

/**
 * Whether the remains of a database that was dropped last are those of the dropped one. A crash then came in between.
 */
export function isWhatWasDropped(paths: EndSources, { header }: LtxSummary): boolean {
  using database = FileSource.open(paths.database)
  const { pageSize, preApplyChecksum } = header
  const sums = sumsOfFile(database, pageSize, Math.ceil((database?.size ?? 0) / pageSize))
  if (sums.total === preApplyChecksum) return true
  const isWanted = () => sums.total === preApplyChecksum
  return walFrameCount(paths.wal, sums, { isWanted, pageSize }).wanted > 0
}

/**
 * Sets aside the files that SQLite makes beside a database that is opened where LiteFS keeps it. Nobody uses them, and
 * with them the file would be another database. Returns their new names.
 */
export function setAsideClientFiles(dataDir: DataDir, name: string, nowMs: number): string[] {
  const paths = ["-wal", "-journal"].map((suffix) => dataDir.path(name, "database") + suffix)
  const used = paths.filter((path) => (statusAt("database:look", path)?.size ?? 0) > 0)
  return used.map((path) => setAside(path, "changed", nowMs))
}

/** Keeps the file as it is. Returns the name of the copy, which is durable. */
export function keepDatabaseFile(dataDir: DataDir, name: string, nowMs: number): string {
  const path = dataDir.path(name, "database")
  const kept = `${path}.changed-${nowMs}`
  copyFile("database:keep", path, kept)
  using file = closing(openFile("database:keep", kept, O_RDWR))
  syncFile("database:keep-fsync", file.fd)
  syncDirectory("database:sync-dir", dataDir.databaseDir(name))
  return kept
}

/** What a restart of the machine may add to the time of a client's last write. */
const MARGIN_MS = 1000

function isLaterThanAll({ dataDir, name, chain, last }: ReplayFacts): boolean {
  const writtenMs = statusAt("database:stat", dataDir.path(name, "database"))?.modifiedMs ?? 0
  const paths = [
    ...Array.from({ length: SEGMENT_COUNT }, (_, index) => segmentPath(dataDir.root, index)),
    ...(["journal", "wal", "shm"] as const).map((file) => dataDir.path(name, file)),
    dataDir.undoPath(name),
    dataDir.writtenPath(name),
    ...chain.map(({ path }) => path),
  ]
  const times = paths.map((path) => statusAt("database:stat-others", path)?.modifiedMs ?? 0)
  return writtenMs > Math.max(last.header.timestampMs, ...times) + MARGIN_MS
}

/** Whether the file as a whole is at a position that a transaction of the chain leads from or to. Fills `logged`. */
function isAtPositionOf(facts: ReplayFacts, sums: PageChecksums, logged: LoggedPages): boolean {
  const ends: { checksum: Checksum; commit: number }[] = []
  for (const [index, file] of facts.chain.entries()) {
    const summary = readInto(file, logged)
    if (!summary) continue
    const { header, trailer } = summary
    if (index === 0) ends.push({ checksum: header.preApplyChecksum, commit: sums.pageCount })
    ends.push({ checksum: trailer.postApplyChecksum, commit: header.commit })
  }
  return ends.some(({ checksum, commit }) => isAt(sums, checksum, commit))
}

function isAt(sums: PageChecksums, checksum: Checksum, commit: number): boolean {
  return commit <= sums.pageCount && sums.totalOf(commit) === checksum
}

/** Those of the replaced and cut-off pages that have content which they have never had. */
function unknownPages(
  database: FileSource,
  sums: PageChecksums,
  { pageSize, commit }: LtxHeader,
  logged: LoggedPages,
  replaced: ReadonlySet<number>,
): number[] {
  const page = new Uint8Array(pageSize)
  const unknown: number[] = []
  for (let pgno = 1; pgno <= sums.pageCount; pgno++) {
    // Other pages stay, and are right because all of them sum up.
    if (pgno <= commit && !replaced.has(pgno)) continue
    if (logged.knows(pgno, sums.sumOf(pgno))) continue
    page.fill(0, database.readAt((pgno - 1) * pageSize, page))
    if (!isZero(page)) unknown.push(pgno)
  }
  return unknown
}

/**
 * Adds the pages that an interrupted transaction has saved, and commits of the WAL. Returns the pages that the journal
 * puts back.
 */
function addSideFiles(
  dataDir: DataDir,
  name: string,
  last: LtxSummary,
  logged: LoggedPages,
): ReadonlySet<number> {
  const undone = new Set<number>()
  const { pageSize } = last.header
  const pos = posAfter(last)
  using journal = FileSource.open(dataDir.path(name, "journal"))
  if (journal !== undefined && readJournalHeader(journal)?.pageSize === pageSize) {
    for (const { pgno, page } of savedPages(savedIn(dataDir, name, pos))) {
      logged.learn(pgno, page)
      undone.add(pgno)
    }
  }
  using wal = FileSource.open(dataDir.path(name, "wal"))
  const reader = wal && new WalReader(wal)
  while (reader?.header?.pageSize === pageSize && reader.next())
    logged.learn(reader.pgno, reader.page)
  return undone
}

function readInto(file: LtxFileInfo, logged: LoggedPages): LtxSummary | undefined {
  return decodedIfAny(() => readLtxFile(file.path, logged.handler()))
}
