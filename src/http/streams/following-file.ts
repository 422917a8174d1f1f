/**
 * LTX files to send: the one that follows on a position, or several of them merged. On this main thread, work that
 * grows with their number or size gives others their turn.
 */
import { messageOf } from "../../lib/errors.ts"
import { logger } from "../../lib/log.ts"
import type { Turns } from "../../lib/turns.ts"
import { compactInSteps } from "../../ltx/compactor.ts"
import { LtxEncoder } from "../../ltx/encoder.ts"
import type { LtxHeader } from "../../ltx/header.ts"
import type { Pos } from "../../ltx/pos.ts"
import { posAfter, readSpan, spanOf } from "../../ltx/span.ts"
import { FileSource } from "../../store/ltx/file-source.ts"
import { LtxDirectory } from "../../store/ltx/ltx-directory.ts"

const log = logger("stream")

/** Files up to this size are read at once and sent in one write. */
const SMALL_SIZE_MAX = 256 * 1024

/** Fewer transactions are not worth a merge. */
const COMPACTED_COUNT_MIN = 8

/** The most that one compacted file is made of: it is in memory. */
const COMPACTED_COUNT_MAX = 128
const COMPACTED_SIZE_MAX = 1024 * 1024

export interface FollowingFile {
  readonly path: string
  readonly header: LtxHeader
  readonly pos: Pos // after it
  readonly bytes: Uint8Array | undefined // of a small file
}

/** A whole LTX file in memory, if it begins where `known` ends. */
export function following(
  bytes: Uint8Array,
  known: Pos,
): { readonly bytes: Uint8Array; readonly pos: Pos } | undefined {
  const span = spanOf(bytes)
  if (span.header.preApplyChecksum !== known.checksum) return undefined
  return { bytes, pos: posAfter(span) }
}

/** The LTX file that begins where `known` ends, if it exists. */
export async function followingFile(
  directory: string,
  known: Pos,
  turns: Turns,
): Promise<FollowingFile | undefined> {
  const ltx = new LtxDirectory(directory)
  const txid = known.txid + 1n
  const single = openFollowing(ltx.filePath(txid, txid), known)
  if (single !== undefined) return single
  // A node that was a replica may have several transactions in one file.
  const longer = (await ltx.listInTurns(turns)).findLast(({ minTxid }) => minTxid === txid)
  return longer === undefined ? undefined : openFollowing(longer.path, known)
}

/**
 * What follows on `file` up to `target`, merged with it into one file; undefined when that is impossible or not worth
 * it. Pages that change again and again are sent once, and the replica writes, syncs and applies once.
 */
export async function compactedFile(
  directory: string,
  file: FollowingFile,
  target: Pos,
  turns: Turns,
): Promise<FollowingFile | undefined> {
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
    if (turns.isOver) await turns.next()
  }
  if (files.length < COMPACTED_COUNT_MIN) return undefined
  const parts: Uint8Array[] = []
  try {
    const encoder = new LtxEncoder((bytes) => parts.push(bytes.slice()))
    const pieces = files.map((bytes) => [bytes])
    for (const _ of compactInSteps(pieces, encoder)) if (turns.isOver) await turns.next()
  } catch (error) {
    // One of them is damaged; sent by itself, its receiver refuses it.
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
  using file = FileSource.open(path)
  if (file === undefined) return undefined
  const bytes = file.size <= SMALL_SIZE_MAX ? new Uint8Array(file.size) : undefined
  if (bytes !== undefined) file.readAt(0, bytes)
  const span = bytes === undefined ? readSpan(file) : spanOf(bytes)
  if (span.header.preApplyChecksum !== known.checksum) return undefined
  return { path, header: span.header, pos: posAfter(span), bytes }
}
