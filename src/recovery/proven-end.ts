/**
 * Whether the database is after the transaction of a damaged LTX file.
 *
 * The transaction may have been acknowledged, so a bad bit in its file does not undo it. The proof is the database's
 * checksum after it, from the file or from a clean stop: when the pages sum to that, alone or with commits of the WAL,
 * they are those after the transaction. When the damage is in that very checksum, the checksum of the file proves it:
 * it is right again with the sum of the pages in its place.
 *
 * It is no proof when the transaction before has the same checksum (recover.ts). Nothing is written here.
 */

import { sumsOfFile } from "../capture/file-sums.ts"
import { decodedIfAny, isZero, readU32BE, readU64BE, writeU64BE } from "../lib/bytes.ts"
import { CHECKSUM_FLAG, EMPTY_CHECKSUM } from "../ltx/checksum.ts"
import { LtxDecoder } from "../ltx/decoder.ts"
import { LTX_FLAG_COMPRESSED, LTX_HEADER_SIZE, type LtxHeader } from "../ltx/header.ts"
import type { Checksum, Pos } from "../ltx/pos.ts"
import { headerIfAny } from "../ltx/span.ts"
import { LTX_TRAILER_SIZE } from "../ltx/trailer.ts"
import { readDatabaseHeader, trustedPageCount } from "../sqlite/database-header.ts"
import { WalReader } from "../sqlite/wal-reader.ts"
import { FileSource } from "../store/ltx/file-source.ts"
import type { LtxFileInfo } from "../store/ltx/ltx-directory.ts"
import type { LtxSummary } from "../store/ltx/ltx-file.ts"
import type { FoundSums } from "./saved-sums.ts"
import { walFrameCount } from "./wal-rescue.ts"

export interface ProvenEnd {
  readonly pos: Pos
  readonly pageSize: number
  readonly commit: number // pages
  /** Frames of the WAL that are missing in the database file; 0 when it has everything. */
  readonly walFrames: number
}

export interface EndSources {
  readonly database: string
  readonly wal: string
}

/** `before` is the file before the damaged one, if it exists. */
export function provenEnd(
  paths: EndSources,
  file: LtxFileInfo,
  before: LtxSummary | undefined,
  saved: FoundSums | undefined,
): ProvenEnd | undefined {
  using database = FileSource.open(paths.database)
  using ltx = FileSource.open(file.path)
  if (ltx === undefined) return undefined
  const stated = new StatedChecksum(ltx, saved?.pos.txid === file.maxTxid ? saved : undefined)
  const isAfter = (checksum: Checksum) => {
    return checksum !== before?.trailer.postApplyChecksum && stated.is(checksum)
  }
  const end = (checksum: Checksum, pageSize: number, commit: number, walFrames: number) => {
    return { pos: { txid: file.maxTxid, checksum }, pageSize, commit, walFrames }
  }
  const header = readDatabaseHeader(database)
  using wal = FileSource.open(paths.wal)
  const walHeader = wal && new WalReader(wal).header
  const pageSize =
    header?.pageSize ??
    walHeader?.pageSize ??
    stated.header?.pageSize ??
    before?.header.pageSize ??
    saved?.pageSize
  if (pageSize === undefined) return undefined
  const size = database?.size ?? 0
  const counts = [
    ...[stated.header?.commit, before?.header.commit, saved?.commit],
    ...[header && trustedPageCount(header), Math.floor(size / pageSize)],
  ].filter((count): count is number => count !== undefined && count > 0 && count * pageSize <= size)
  const descending = [...new Set(counts)].sort((a, b) => b - a)
  const sums = sumsOfFile(database, pageSize, descending[0] ?? 0)
  for (const count of descending) {
    sums.resize(count)
    if (isAfter(sums.total)) return end(sums.total, pageSize, count, 0)
  }
  if (size === 0 && walHeader === undefined && isAfter(EMPTY_CHECKSUM)) {
    return end(EMPTY_CHECKSUM, pageSize, 0, 0)
  }
  if (walHeader === undefined) return undefined
  const after = sumsOfFile(database, pageSize, descending[0] ?? 0)
  const isWanted = () => stated.isSaid(after.total) && isAfter(after.total)
  const frames = walFrameCount(paths.wal, after, { isWanted, pageSize })
  if (frames.wanted > 0) return end(after.total, pageSize, after.pageCount, frames.wanted)
  if (frames.all === 0 || !isAfter(after.total)) return undefined
  return end(after.total, pageSize, after.pageCount, frames.all)
}

const PIECE_SIZE = 64 * 1024

/** What is known of the checksum of the database after the transaction of a damaged file. */
class StatedChecksum {
  /** The header of the LTX file, if it is readable. */
  readonly header: LtxHeader | undefined
  readonly #ltx: FileSource
  readonly #trailer = new Uint8Array(LTX_TRAILER_SIZE)
  readonly #said: ReadonlySet<Checksum>

  constructor(ltx: FileSource, saved: FoundSums | undefined) {
    this.#ltx = ltx
    const bytes = new Uint8Array(LTX_HEADER_SIZE)
    const isLong = ltx.size > bytes.length + LTX_TRAILER_SIZE
    const said = new Set<Checksum>(saved === undefined ? [] : [saved.pos.checksum])
    if (isLong) {
      ltx.readAt(0, bytes)
      ltx.readAt(ltx.size - LTX_TRAILER_SIZE, this.#trailer)
      said.add(readU64BE(this.#trailer, 0) | CHECKSUM_FLAG)
    }
    this.#said = said
    this.header = isLong ? headerIfAny(bytes) : undefined
  }

  isSaid(checksum: Checksum): boolean {
    return this.#said.has(checksum)
  }

  is(checksum: Checksum): boolean {
    return this.isSaid(checksum) || this.#isWholeWith(checksum)
  }

  /** Whether the file is whole but for the checksum of the database in it. */
  #isWholeWith(checksum: Checksum): boolean {
    if (this.header === undefined) return false
    const decoder = new LtxDecoder({})
    const end = this.#ltx.size - LTX_TRAILER_SIZE
    const trailer = this.#trailer.slice()
    writeU64BE(trailer, 0, checksum)
    const isWhole = decodedIfAny(() => {
      for (let offset = 0; offset < end; offset += PIECE_SIZE) {
        const piece = new Uint8Array(Math.min(PIECE_SIZE, end - offset))
        this.#ltx.readAt(offset, piece)
        decoder.push(piece)
      }
      decoder.push(trailer)
      decoder.end()
      return true
    })
    return isWhole === true
  }
}

const SECTOR_SIZE = 512

/**
 * Whether a file that is not whole may have been torn when it was written: it ends early, or has zeros for a sector. A
 * file that ends like an LTX file, up to one byte, was written to its end: it is damaged. Compressed data has no 512
 * zeros.
 */
export function looksTorn(path: string): boolean {
  using file = FileSource.open(path)
  if (file === undefined || file.size <= LTX_HEADER_SIZE + LTX_TRAILER_SIZE) return true
  const header = new Uint8Array(LTX_HEADER_SIZE)
  file.readAt(0, header)
  // Before the trailer comes the end of the LZ4 frame with its checksum, or page number 0.
  const isPlain = (readU32BE(header, 4) & LTX_FLAG_COMPRESSED) === 0
  const tail = new Uint8Array(8 + LTX_TRAILER_SIZE)
  file.readAt(file.size - tail.length, tail)
  const marks = [
    ...[0, 1, 2, 3].map((index) => tail[index + (isPlain ? 4 : 0)] === 0),
    ...[8, 16].map((index) => ((tail[index] as number) & 0x80) !== 0),
  ]
  if (marks.filter((isRight) => !isRight).length > 1) return true
  if (isPlain) return false
  const piece = new Uint8Array(PIECE_SIZE)
  for (let offset = 0; offset < file.size; offset += PIECE_SIZE) {
    const read = file.readAt(offset, piece)
    for (let start = 0; start + SECTOR_SIZE <= read; start += SECTOR_SIZE) {
      if (isZero(piece.subarray(start, start + SECTOR_SIZE))) return true
    }
  }
  return false
}
