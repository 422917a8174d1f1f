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
 * Numbers are big endian, sums little endian as in memory. The file is removed before the database is used: an existing
 * file is the last thing that happened to the database. It is believed only if the database file has the size and mtime
 * it had then; the pages themselves are summed later, in the background.
 */
import { PageChecksums } from "../capture/page-checksums.ts"
import { Crc64 } from "../lib/codecs/crc64.ts"
import type { Pos } from "../ltx/pos.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { replaceFile } from "../store/synced.ts"
import { readWhole, statusAt, unlinkFile } from "../sys/file.ts"
import { emptyStatus, statusOf } from "../sys/file-status.ts"

const MAGIC = 0x4c4653554d303031n // "LFSUM001"
const HEADER_SIZE = 56
const CRC_OFFSET = 48

export interface SavedSums {
  readonly pos: Pos
  readonly pageSize: number
  readonly commit: number
  readonly sums: PageChecksums
}

/** Saves the sums of a database whose file is complete and synced. */
export function saveSums(path: string, database: BackedFile, state: SavedSums): void {
  const bytes = new Uint8Array(HEADER_SIZE + state.commit * 8)
  const view = new DataView(bytes.buffer)
  const status = emptyStatus()
  statusOf("database:stat", database.fd, status)
  view.setBigUint64(0, MAGIC)
  view.setBigUint64(8, state.pos.txid)
  view.setBigUint64(16, state.pos.checksum)
  view.setUint32(24, state.pageSize)
  view.setUint32(28, state.commit)
  view.setBigUint64(32, BigInt(status.size))
  view.setFloat64(40, status.modifiedMs)
  state.sums.copyTo(bytes.subarray(HEADER_SIZE))
  view.setBigUint64(CRC_OFFSET, crcOf(bytes))
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
  const bytes = readWhole("checksums:read", path)
  if (bytes === undefined || bytes.length < HEADER_SIZE) return undefined
  const view = new DataView(bytes.buffer)
  const commit = view.getUint32(28)
  const isWhole =
    view.getBigUint64(0) === MAGIC &&
    bytes.length === HEADER_SIZE + commit * 8 &&
    view.getBigUint64(CRC_OFFSET) === crcOf(bytes)
  if (!isWhole) return undefined
  return {
    pos: { txid: view.getBigUint64(8), checksum: view.getBigUint64(16) },
    pageSize: view.getUint32(24),
    commit,
    sums: PageChecksums.from(bytes.subarray(HEADER_SIZE)),
    isCurrent: isStatus(databasePath, view.getBigUint64(32), view.getFloat64(40)),
  }
}

function isStatus(path: string, size: bigint, modifiedMs: number): boolean {
  const status = statusAt("database:stat", path)
  return status !== undefined && BigInt(status.size) === size && status.modifiedMs === modifiedMs
}

function crcOf(bytes: Uint8Array): bigint {
  return new Crc64().update(bytes, 0, CRC_OFFSET).update(bytes, HEADER_SIZE).digest()
}
