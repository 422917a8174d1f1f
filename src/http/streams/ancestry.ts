/**
 * What a primary knows of a position that a replica names: whether its own history has been there.
 *
 *   at or after our last TXID ─▶ the positions tell
 *   before it                 ─▶ the LTX file that ends there, or begins there; else what retention remembers
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs"
import { decodeLtxHeader, LTX_HEADER_SIZE } from "../../ltx/header.ts"
import { type Checksum, type Pos, posEquals } from "../../ltx/pos.ts"
import { decodeLtxTrailer, LTX_TRAILER_SIZE } from "../../ltx/trailer.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { LtxDirectory } from "../../store/ltx/ltx-directory.ts"
import { pastChecksum } from "../../store/past-positions.ts"

/** Undefined when nothing is left that could tell. */
export function ancestryOf(
  dataDir: DataDir,
  database: string,
  known: Pos,
  pos: Pos,
): "same" | "other" | undefined {
  if (known.txid >= pos.txid) return posEquals(known, pos) ? "same" : "other"
  const checksum = checksumAt(dataDir, database, known.txid)
  if (checksum === undefined) return undefined
  return checksum === known.checksum ? "same" : "other"
}

function checksumAt(dataDir: DataDir, database: string, txid: bigint): Checksum | undefined {
  const files = new LtxDirectory(dataDir.ltxDir(database)).list()
  const ending = files.find(({ maxTxid }) => maxTxid === txid)
  if (ending !== undefined) {
    return decodeLtxTrailer(readPart(ending.path, -LTX_TRAILER_SIZE, LTX_TRAILER_SIZE))
      .postApplyChecksum
  }
  const following = files.find(({ minTxid }) => minTxid === txid + 1n)
  if (following !== undefined) {
    return decodeLtxHeader(readPart(following.path, 0, LTX_HEADER_SIZE)).preApplyChecksum
  }
  return pastChecksum(dataDir.pastPath(database), txid)
}

/** A negative offset counts from the end. */
function readPart(path: string, offset: number, size: number): Uint8Array {
  const fd = openSync(path, "r")
  try {
    const bytes = new Uint8Array(size)
    readSync(fd, bytes, 0, size, offset < 0 ? fstatSync(fd).size + offset : offset)
    return bytes
  } finally {
    closeSync(fd)
  }
}
