/** LTX files as they are sent: the one that follows on a position, or several of them made one. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import { compactLtxFiles } from "../../ltx/compactor.ts"
import { LtxEncoder } from "../../ltx/encoder.ts"
import { decodeLtxHeader, LTX_HEADER_SIZE, type LtxHeader } from "../../ltx/header.ts"
import type { Pos } from "../../ltx/pos.ts"
import { posAfter, spanOf } from "../../ltx/span.ts"
import { decodeLtxTrailer, LTX_TRAILER_SIZE } from "../../ltx/trailer.ts"
import { LtxDirectory } from "../../store/ltx/ltx-directory.ts"

const log = logger("stream")

/** Files up to this size are read at once and sent in one write. */
const SMALL_SIZE_MAX = 256 * 1024

/** Below so many transactions it is not worth the trouble. */
const COMPACTED_COUNT_MIN = 8

/** What one compacted file is made of: making it must not keep this thread for long. */
const COMPACTED_COUNT_MAX = 128
const COMPACTED_SIZE_MAX = 1024 * 1024

export interface FollowingFile {
  readonly path: string
  readonly header: LtxHeader
  readonly pos: Pos // after it
  readonly bytes: Uint8Array | undefined // of a small file
}

/** A whole LTX file in memory, when it begins where `known` ends. */
export function following(
  bytes: Uint8Array,
  known: Pos,
): { readonly bytes: Uint8Array; readonly pos: Pos } | undefined {
  const span = spanOf(bytes)
  if (span.header.preApplyChecksum !== known.checksum) return undefined
  return { bytes, pos: posAfter(span) }
}

/** The LTX file that begins where `known` ends, when it is there. */
export function followingFile(directory: string, known: Pos): FollowingFile | undefined {
  const ltx = new LtxDirectory(directory)
  const txid = known.txid + 1n
  const single = openFollowing(ltx.filePath(txid, txid), known)
  if (single !== undefined) return single
  // A node that was a replica may have several transactions in one file.
  const longer = ltx.list().findLast(({ minTxid }) => minTxid === txid)
  return longer === undefined ? undefined : openFollowing(longer.path, known)
}

/**
 * What follows on `file` up to `target`, as one file with it; undefined when that is not worth it, or not possible.
 * Pages that change again and again are sent once, and the replica writes, syncs and applies once.
 */
export function compactedFile(
  directory: string,
  file: FollowingFile,
  target: Pos,
): FollowingFile | undefined {
  if (target.txid - file.pos.txid < COMPACTED_COUNT_MIN || file.bytes === undefined)
    return undefined
  const files = [file.bytes]
  let last = file
  let size = file.bytes.length
  while (last.pos.txid < target.txid && files.length < COMPACTED_COUNT_MAX) {
    const txid = last.pos.txid + 1n
    const next = openFollowing(new LtxDirectory(directory).filePath(txid, txid), last.pos)
    if (next?.bytes === undefined || !goTogether(file.header, next.header)) break
    size += next.bytes.length
    if (size > COMPACTED_SIZE_MAX) break
    files.push(next.bytes)
    last = next
  }
  if (files.length < COMPACTED_COUNT_MIN) return undefined
  const parts: Uint8Array[] = []
  try {
    const encoder = new LtxEncoder((bytes) => parts.push(bytes.slice()))
    compactLtxFiles(
      files.map((bytes) => [bytes]),
      encoder,
    )
  } catch (error) {
    // One of them is damaged; sent by itself it is refused where it arrives.
    log.warn("cannot compact LTX files", { file: file.path, problem: messageOf(error) })
    return undefined
  }
  return { ...last, path: file.path, bytes: Buffer.concat(parts) }
}

/** A database that is dropped and made anew, or gets another page size, takes two steps. */
function goTogether(first: LtxHeader, next: LtxHeader): boolean {
  return first.commit > 0 && next.commit > 0 && first.pageSize === next.pageSize
}

function openFollowing(path: string, known: Pos): FollowingFile | undefined {
  let fd: number
  try {
    fd = openSync(path, "r")
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined
    throw error
  }
  try {
    const { size } = fstatSync(fd)
    const isSmall = size <= SMALL_SIZE_MAX
    const head = readPart(fd, 0, isSmall ? size : LTX_HEADER_SIZE)
    const tail = isSmall
      ? head.subarray(size - LTX_TRAILER_SIZE)
      : readPart(fd, size - LTX_TRAILER_SIZE, LTX_TRAILER_SIZE)
    const header = decodeLtxHeader(head.subarray(0, LTX_HEADER_SIZE))
    if (header.preApplyChecksum !== known.checksum) return undefined
    const { postApplyChecksum } = decodeLtxTrailer(tail)
    return {
      path,
      header,
      pos: { txid: header.maxTxid, checksum: postApplyChecksum },
      bytes: isSmall ? head : undefined,
    }
  } finally {
    closeSync(fd)
  }
}

function readPart(fd: number, offset: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  if (readSync(fd, bytes, 0, size, offset) < size) {
    throw new LitefsError("damaged", "Cannot read LTX file: it is shorter than it was")
  }
  return bytes
}
