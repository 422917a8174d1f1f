/**
 * The position of each database of a replica: the body of its request for a stream. Big endian.
 *
 *     u32 count
 *     for each database, sorted by the bytes of its name:
 *         u32 size of the name, name in UTF-8, u64 TXID, u64 checksum
 */

import { ByteReader, ByteWriter } from "../lib/bytes.ts"
import type { Pos } from "../ltx/pos.ts"

export const MAX_POSITION_MAP_SIZE = 4 * 1024 * 1024

/** As many as a node can have (store/positions.ts). */
export const MAX_POSITION_COUNT = 16_384

const MAX_NAME_SIZE = 255
const MIN_ENTRY_SIZE = 4 + 8 + 8

export function encodePositionMap(positions: ReadonlyMap<string, Pos>): Uint8Array {
  const w = new ByteWriter(4 + positions.size * 64)
  w.u32(positions.size)
  const entries = [...positions].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  for (const [name, pos] of entries) {
    w.string32(name)
    w.u64(pos.txid)
    w.u64(pos.checksum)
  }
  return w.finish()
}

/** Throws a RangeError when the bytes are not a position map. Does not check the names. */
export function decodePositionMap(bytes: Uint8Array): Map<string, Pos> {
  if (bytes.length > MAX_POSITION_MAP_SIZE) {
    throw damaged(`it has ${bytes.length} bytes, expected at most ${MAX_POSITION_MAP_SIZE}`)
  }
  const r = new ByteReader(bytes, "position map")
  const count = r.u32()
  if (count > r.remaining / MIN_ENTRY_SIZE) {
    throw damaged(`${r.remaining} bytes are too few for ${count} databases`)
  }
  if (count > MAX_POSITION_COUNT) {
    throw damaged(`it has ${count} databases, expected at most ${MAX_POSITION_COUNT}`)
  }
  const positions = new Map<string, Pos>()
  for (let i = 0; i < count; i++) {
    const name = r.string32(MAX_NAME_SIZE)
    if (positions.has(name)) throw damaged(`it names "${name}" twice`)
    positions.set(name, { txid: r.u64(), checksum: r.u64() })
  }
  r.end()
  return positions
}

function damaged(problem: string): RangeError {
  return new RangeError(`Cannot decode position map: ${problem}`)
}
