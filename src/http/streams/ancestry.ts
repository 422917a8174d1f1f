/**
 * What a primary knows of a position that a replica names: whether its own history has been there.
 *   at or after our last TXID ─▶ the positions tell
 *   before it                 ─▶ the LTX file that ends there, or begins there; else what retention remembers
 */
import { type Checksum, type Pos, posEquals, type Txid } from "../../ltx/pos.ts"
import { readHeader, readTrailer } from "../../ltx/span.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { openLtxFile } from "../../store/ltx/file-source.ts"
import { LtxDirectory } from "../../store/ltx/ltx-directory.ts"
import { pastChecksum } from "../../store/past-positions.ts"

/** Undefined when nothing is left that could tell. */
export function ancestryOf(
  dataDir: DataDir,
  database: string,
  known: Pos,
  pos: Pos,
): "same" | "other" | undefined {
  return ancestryBy((txid) => checksumAt(dataDir, database, txid), known, pos)
}

/** The same by the checksums after transactions of the past, as far as they are known. */
export function ancestryBy(
  checksumAt: (txid: Txid) => Checksum | undefined,
  known: Pos,
  pos: Pos,
): "same" | "other" | undefined {
  if (known.txid >= pos.txid) return posEquals(known, pos) ? "same" : "other"
  const checksum = checksumAt(known.txid)
  if (checksum === undefined) return undefined
  return checksum === known.checksum ? "same" : "other"
}

function checksumAt(dataDir: DataDir, database: string, txid: bigint): Checksum | undefined {
  const files = new LtxDirectory(dataDir.ltxDir(database)).list()
  const ending = files.find(({ maxTxid }) => maxTxid === txid)
  if (ending !== undefined) {
    using file = openLtxFile(ending.path)
    return readTrailer(file).postApplyChecksum
  }
  const following = files.find(({ minTxid }) => minTxid === txid + 1n)
  if (following !== undefined) {
    using file = openLtxFile(following.path)
    return readHeader(file).preApplyChecksum
  }
  return pastChecksum(dataDir.pastPath(database), txid)
}
