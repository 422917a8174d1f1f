/**
 * The page checksums of a database that was closed in order: `dbs/<name>/checksums`. Reading them instead of the whole
 * database makes a clean start independent of the database's size.
 *
 *      0  "LFSUM001"
 *      8  u64 TXID                 of the position they belong to
 *     16  u64 checksum
 *     24  u32 page size
 *     28  u32 commit               pages
 *     32  u64 size of the database file, bytes
 *     40  f64 mtime of the database file, milliseconds since 1970
 *     48  u64 CRC-64 of everything but this field
 *     56  u32[2] × commit          sums: low and high half
 *
 * Numbers are big endian, sums little endian as in memory. The file goes before the database is used: an existing file is
 * the last thing that happened to the database. It is believed only if the database file has the size and mtime it had
 * then; the pages themselves are summed later, in the background. It then becomes the first `sums` of the running node
 * (kept-sums.ts).
 */
import { PageChecksums } from "../capture/page-checksums.ts"
import { Crc64 } from "../lib/codecs/crc64.ts"
import type { Pos } from "../ltx/pos.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { replaceFile } from "../store/synced.ts"
import { readStart, statusAt, unlinkFile } from "../sys/file.ts"
import { emptyStatus, statusOf } from "../sys/file-status.ts"

const MAGIC = 0x4c4653554d303031n // "LFSUM001"
export const SUMS_HEADER_SIZE = 56
/** Of the size and the mtime of the database file, 16 bytes. */
export const SUMS_STATUS_OFFSET = 32
const CRC_OFFSET = 48
const PAGE_SIZE_MIN = 512

export interface SavedSums {
  readonly pos: Pos
  readonly pageSize: number
  readonly commit: number
  readonly sums: PageChecksums
}

/** What such a file begins with, but for its checksum. */
export interface SumsHeader {
  readonly pos: Pos
  readonly pageSize: number
  readonly commit: number
  readonly size: number // of the database file, bytes
  readonly modifiedMs: number
}

export function encodeSumsHeader(into: Uint8Array, header: SumsHeader): void {
  const view = new DataView(into.buffer, into.byteOffset, SUMS_HEADER_SIZE)
  view.setBigUint64(0, MAGIC)
  view.setBigUint64(8, header.pos.txid)
  view.setBigUint64(16, header.pos.checksum)
  view.setUint32(24, header.pageSize)
  view.setUint32(28, header.commit)
  view.setBigUint64(SUMS_STATUS_OFFSET, BigInt(header.size))
  view.setFloat64(SUMS_STATUS_OFFSET + 8, header.modifiedMs)
}

/** Undefined for anything else. */
export function decodeSumsHeader(bytes: Uint8Array): SumsHeader | undefined {
  if (bytes.length < SUMS_HEADER_SIZE) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, SUMS_HEADER_SIZE)
  if (view.getBigUint64(0) !== MAGIC) return undefined
  return {
    pos: { txid: view.getBigUint64(8), checksum: view.getBigUint64(16) },
    pageSize: view.getUint32(24),
    commit: view.getUint32(28),
    size: Number(view.getBigUint64(SUMS_STATUS_OFFSET)),
    modifiedMs: view.getFloat64(SUMS_STATUS_OFFSET + 8),
  }
}

/** Undefined when they are not as many as the header says. */
export function decodeSums(
  bytes: Uint8Array,
  { commit }: Pick<SumsHeader, "commit">,
): PageChecksums | undefined {
  if (bytes.length !== SUMS_HEADER_SIZE + commit * 8) return undefined
  return PageChecksums.from(bytes.subarray(SUMS_HEADER_SIZE))
}

/** Saves the sums of a database whose file is complete and synced. */
export function saveSums(path: string, database: BackedFile, state: SavedSums): void {
  const bytes = new Uint8Array(SUMS_HEADER_SIZE + state.commit * 8)
  const status = emptyStatus()
  statusOf("database:stat", database.fd, status)
  const { size, modifiedMs } = status
  const { pos, pageSize, commit, sums } = state
  encodeSumsHeader(bytes, { pos, pageSize, commit, size, modifiedMs })
  sums.copyTo(bytes.subarray(SUMS_HEADER_SIZE))
  new DataView(bytes.buffer).setBigUint64(CRC_OFFSET, crcOf(bytes))
  replaceFile("checksums", path, bytes)
}

/** What the last clean stop has left. */
export interface FoundSums extends SavedSums {
  /** Whether the database file still has the size and the time of then. */
  readonly isCurrent: boolean
}

/** The saved sums, if they are those of the present database file. Removes their file. */
export function takeSums(path: string, database: BackedFile): SavedSums | undefined {
  const found = findSums(path, database.path)
  unlinkFile("checksums:unlink", path)
  return found?.isCurrent === true ? found : undefined
}

/** The saved sums, even of a database file that has changed since. Remove them before anything changes it. */
export function findSums(path: string, databasePath: string): FoundSums | undefined {
  const bytes = readSums("checksums:read", path, databasePath)
  const header = bytes && decodeSumsHeader(bytes)
  if (bytes === undefined || header === undefined) return undefined
  if (new DataView(bytes.buffer).getBigUint64(CRC_OFFSET) !== crcOf(bytes)) return undefined
  const sums = decodeSums(bytes, header)
  if (sums === undefined) return undefined
  const { pos, pageSize, commit, size, modifiedMs } = header
  const status = statusAt("database:stat", databasePath)
  const isCurrent = status !== undefined && status.size === size && status.modifiedMs === modifiedMs
  return { pos, pageSize, commit, sums, isCurrent }
}

/** Room for the sums of a database that has shrunk since. */
const SUMS_SIZE_MIN = 16 * 1024 * 1024

/** A file of sums; undefined when there is none, or one that is longer than any database like this one can have. */
export function readSums(op: string, path: string, databasePath: string): Uint8Array | undefined {
  const size = statusAt("database:stat", databasePath)?.size ?? 0
  const pagesMax = Math.ceil(size / PAGE_SIZE_MIN)
  const sizeMax = SUMS_HEADER_SIZE + Math.max(SUMS_SIZE_MIN, pagesMax * 8)
  const bytes = readStart(op, path, SUMS_HEADER_SIZE)
  const header = bytes && decodeSumsHeader(bytes)
  if (header === undefined) return undefined
  const expected = SUMS_HEADER_SIZE + header.commit * 8
  return expected > sizeMax ? undefined : readStart(op, path, expected + 1)
}

function crcOf(bytes: Uint8Array): bigint {
  return new Crc64().update(bytes, 0, CRC_OFFSET).update(bytes, SUMS_HEADER_SIZE).digest()
}
