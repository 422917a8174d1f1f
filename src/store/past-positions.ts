/**
 * Positions of a database whose LTX files retention has removed: `dbs/<name>/past`, 16 bytes each, a TXID and the
 * checksum after it, big endian, ascending. They let a primary tell whether a replica that was away for long was on the
 * same history when no LTX file is left to tell it.
 *
 * The file is only a memory, and may be lost: then more is kept than necessary. Nothing in it is synced. When it is
 * full the older half is forgotten. It goes when another history takes the place of this one.
 */
import { readU64BE, writeU64BE } from "../lib/bytes.ts"
import type { Checksum, Pos, Txid } from "../ltx/pos.ts"
import {
  closing,
  type Fd,
  O_CREAT,
  O_RDWR,
  openFile,
  openIfExists,
  readBytesAt,
  writeBytesAt,
} from "../sys/file.ts"
import { sizeOf } from "../sys/file-status.ts"
import { replaceFile } from "./synced.ts"

const RECORD_SIZE = 16
const COUNT_MAX = 1 << 20

export function appendPastPositions(
  path: string,
  positions: readonly Pos[],
  countMax = COUNT_MAX,
): void {
  if (positions.length === 0) return
  const added = new Uint8Array(positions.length * RECORD_SIZE)
  for (const [index, { txid, checksum }] of positions.entries()) {
    writeU64BE(added, index * RECORD_SIZE, txid)
    writeU64BE(added, index * RECORD_SIZE + 8, checksum)
  }
  using file = closing(openFile("past:open", path, O_RDWR | O_CREAT))
  const count = countOf(file.fd) // without what a crash has torn
  if (count + positions.length <= countMax) {
    return writeBytesAt("past:write", file.fd, added, count * RECORD_SIZE)
  }
  const kept = new Uint8Array(Math.min(count, countMax >> 1) * RECORD_SIZE)
  readBytesAt("past:read", file.fd, kept, count * RECORD_SIZE - kept.length)
  replaceFile("past", path, Buffer.concat([kept, added]))
}

/** The checksum that the database had after the transaction; undefined when that is not known. */
export function pastChecksum(path: string, txid: Txid): Checksum | undefined {
  const fd = openIfExists("past:open", path, O_RDWR)
  if (fd === undefined) return undefined
  using _ = closing(fd)
  const record = new Uint8Array(RECORD_SIZE)
  let [low, high] = [0, countOf(fd)]
  while (low < high) {
    const middle = (low + high) >>> 1
    readBytesAt("past:read", fd, record, middle * RECORD_SIZE)
    const found = readU64BE(record, 0)
    if (found === txid) return readU64BE(record, 8)
    if (found < txid) low = middle + 1
    else high = middle
  }
  return undefined
}

function countOf(fd: Fd): number {
  return Math.floor(sizeOf("past:stat", fd) / RECORD_SIZE)
}
