/**
 * The page checksums of a database, kept beside it while a node runs: `dbs/<name>/sums`. With them a start after a kill
 * reads what was written lately, and not the database:
 *
 *   sums at TXID S ── the pages of LTX files S + 1 … N ──▶ sums at N, which have the checksum of the log there
 *
 * That checksum proves sums and log, not the database file. Of the file this is known without reading it:
 *
 * 1. The machine has run since, so that it is as it was last written (`mounted`, node/storage/stale-mount.ts).
 * 2. The thread that owns the database wrote to it last, and only what was captured (store/noted-file.ts).
 * 3. What the file had at the TXID in `synced` stays: whatever page is older than the log, or newer than S, is in an LTX
 *    file after that, and recovery compares those pages with the file.
 *
 * Where one of these is in doubt, recovery reads all of the file. As after a clean stop, all pages are verified later in
 * the background.
 *
 * The layout is that of saved-sums.ts, without its checksum. A thread that does not own the database copies the sums
 * while the owner changes them: S is the position before. A page that changes meanwhile is in an LTX file after S, so
 * it does not matter which sum of it was copied. Nothing of this is synced.
 */
import type { SharedHistoryState } from "../capture/handover.ts"
import type { HistoryState } from "../capture/history.ts"
import type { PageChecksums } from "../capture/page-checksums.ts"
import { decodedIfAny } from "../lib/bytes.ts"
import type { Turns } from "../lib/turns.ts"
import type { Sum } from "../ltx/checksum.ts"
import { type Pos, posEquals, type Txid } from "../ltx/pos.ts"
import { posAfter, posBefore } from "../ltx/span.ts"
import type { DataDir } from "../store/data-dir.ts"
import { FileSource } from "../store/ltx/file-source.ts"
import type { LtxFileInfo } from "../store/ltx/ltx-directory.ts"
import { readLtxFile } from "../store/ltx/ltx-file.ts"
import { readLastWrite, wasWrittenAt } from "../store/noted-file.ts"
import {
  closing,
  discardFile,
  O_CREAT,
  O_RDWR,
  O_TRUNC,
  openFile,
  renameFile,
  statusAt,
  writeBytesAt,
} from "../sys/file.ts"
import { chainTo } from "./log/log-chain.ts"
import {
  decodeSums,
  decodeSumsHeader,
  encodeSumsHeader,
  readSums,
  SUMS_HEADER_SIZE,
  SUMS_STATUS_OFFSET,
  type SumsHeader,
} from "./saved-sums.ts"

/** Pages of a database that is worth the file. A smaller one is read as quickly. */
export const KEPT_PAGES_MIN = 64
const CHUNK_SIZE = 1024 * 1024

/** Sums that a start goes on with. */
export interface KeptSums {
  readonly pageSize: number
  readonly sums: PageChecksums
  /** The position that they belong to, after advance() the one at the end of the log. */
  pos: Pos
  /** The last LTX file that advance() has read. */
  readTxid: Txid
  /** Pages that recovery may have to replay. */
  readonly pgnos: Set<number>
}

/** Undefined when there are none, or when nothing says that the database file is as this node has left it. */
export function findKeptSums(dataDir: DataDir, name: string): KeptSums | undefined {
  try {
    const bytes = readSums("sums:read", dataDir.sumsPath(name), dataDir.path(name, "database"))
    const header = bytes && decodeSumsHeader(bytes)
    if (bytes === undefined || header === undefined) return undefined
    const sums = decodeSums(bytes, header)
    if (sums === undefined || !isAsLeft(dataDir, name, header)) return undefined
    const { pos, pageSize } = header
    return { pos, pageSize, sums, readTxid: 0n, pgnos: new Set() }
  } catch {
    return undefined // the database itself tells
  }
}

function isAsLeft(dataDir: DataDir, name: string, { size, modifiedMs }: SumsHeader): boolean {
  const status = statusAt("database:stat", dataDir.path(name, "database"))
  if (status === undefined) return false
  const last = readLastWrite(dataDir.writtenPath(name))
  if (last === undefined) return status.size === size && status.modifiedMs === modifiedMs
  return last !== "unreadable" && !last.isHalf && wasWrittenAt(last, status.modifiedMs)
}

/**
 * Takes the sums to the end of the log. False when the log does not lead there from where they are: they are worthless
 * then.
 */
export function advance(
  kept: KeptSums,
  last: LtxFileInfo,
  files: readonly LtxFileInfo[],
  synced: Txid,
): boolean {
  const from = kept.pos.txid < synced ? kept.pos.txid : synced
  const chain = chainTo(last, files, from).filter(({ maxTxid }) => {
    return maxTxid > from && maxTxid > kept.readTxid
  })
  for (const file of chain) {
    if (decodedIfAny(() => take(kept, file)) !== true) return false
    kept.readTxid = file.maxTxid
  }
  return kept.pos.txid === last.maxTxid && kept.sums.total === kept.pos.checksum
}

/** Undefined: the file is not of their history. Throws a RangeError when it is not whole. */
function take(kept: KeptSums, file: LtxFileInfo): true | undefined {
  const { sums, pgnos } = kept
  const isNew = file.maxTxid > kept.pos.txid
  let follows = !isNew
  const summary = readLtxFile(file.path, {
    header: (header) => {
      if (!isNew) return
      follows = header.pageSize === kept.pageSize && posEquals(posBefore(header), kept.pos)
      if (follows) sums.resize(header.commit)
    },
    page: (pgno, data) => {
      pgnos.add(pgno)
      if (isNew && follows) sums.setPage(pgno, data)
    },
  })
  if (isNew && follows) kept.pos = posAfter(summary)
  return follows || undefined
}

/** The pages that recovery may have to replay, as they should be at the end of the log. */
export function newestPages({ sums, pgnos }: KeptSums): Map<number, Sum> {
  const inside = [...pgnos].filter((pgno) => pgno <= sums.pageCount)
  return new Map(inside.map((pgno) => [pgno, sums.sumOf(pgno)]))
}

/**
 * After a recovery: what the next start may go on with. Sums that this one has gone on with are said to be of the database
 * file as it is now; with `isRead`, they are made anew. Does not throw: without them a start takes longer.
 */
export function keepSums(
  dataDir: DataDir,
  name: string,
  state: HistoryState,
  isRead: boolean,
): void {
  const path = dataDir.sumsPath(name)
  try {
    if (isRead && state.commit >= KEPT_PAGES_MIN) {
      const bytes = new Uint8Array(SUMS_HEADER_SIZE + state.commit * 8)
      encodeSumsHeader(bytes, { ...state, ...statusFor(dataDir, name) })
      state.sums.copyTo(bytes.subarray(SUMS_HEADER_SIZE))
      writeAnew(path, bytes)
    } else if (isRead || state.commit === 0) {
      discardFile("sums:unlink", path)
    } else {
      restate(path, statusFor(dataDir, name))
    }
    discardFile("written:unlink", dataDir.writtenPath(name))
  } catch {
    discardFile("sums:unlink", path)
  }
}

function statusFor(dataDir: DataDir, name: string): Pick<SumsHeader, "size" | "modifiedMs"> {
  const status = statusAt("database:stat", dataDir.path(name, "database"))
  return { size: status?.size ?? 0, modifiedMs: status?.modifiedMs ?? 0 }
}

function writeAnew(path: string, bytes: Uint8Array): void {
  const temporary = `${path}.tmp`
  using file = closing(openFile("sums:open", temporary, O_RDWR | O_CREAT | O_TRUNC))
  writeBytesAt("sums:write", file.fd, bytes, 0)
  renameFile("sums:rename", temporary, path)
}

function restate(
  path: string,
  { size, modifiedMs }: Pick<SumsHeader, "size" | "modifiedMs">,
): void {
  const bytes = new Uint8Array(16)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, BigInt(size))
  view.setFloat64(8, modifiedMs)
  using file = closing(openFile("sums:open", path, O_RDWR))
  writeBytesAt("sums:write", file.fd, bytes, SUMS_STATUS_OFFSET)
}

/** The position of the sums; undefined when there are none. */
export function keptPos(dataDir: DataDir, name: string): Pos | undefined {
  using file = FileSource.open(dataDir.sumsPath(name))
  return file && readHeader(file)?.pos
}

function readHeader(file: FileSource): SumsHeader | undefined {
  const bytes = new Uint8Array(SUMS_HEADER_SIZE)
  return decodeSumsHeader(bytes.subarray(0, file.readAt(0, bytes)))
}

/**
 * Saves the sums of a running node again, in turns with the other work of this thread. The owner of the database may
 * change them meanwhile. False when `isCurrent` says that they are of another history by now.
 */
export async function copySums(
  dataDir: DataDir,
  name: string,
  { pos, pageSize, commit, sums }: SharedHistoryState,
  turns: Turns,
  isCurrent: () => boolean,
): Promise<boolean> {
  const path = dataDir.sumsPath(name)
  const temporary = `${path}.tmp`
  const before = FileSource.open(path)
  // What nobody has written to since the start is as it was then; for all else there is a newer word.
  const found = before && readHeader(before)
  before?.[Symbol.dispose]()
  const { size, modifiedMs } = found ?? statusFor(dataDir, name)
  try {
    using file = closing(openFile("sums:open", temporary, O_RDWR | O_CREAT | O_TRUNC))
    const header = new Uint8Array(SUMS_HEADER_SIZE)
    encodeSumsHeader(header, { pos, pageSize, commit, size, modifiedMs })
    writeBytesAt("sums:write", file.fd, header, 0)
    const chunk = new Uint8Array(Math.min(CHUNK_SIZE, commit * 8))
    for (let at = 0; at < commit * 8; at += chunk.length) {
      const count = Math.min(chunk.length, commit * 8 - at)
      chunk.set(new Uint8Array(sums.words, at, count))
      writeBytesAt("sums:write", file.fd, chunk.subarray(0, count), SUMS_HEADER_SIZE + at)
      if (turns.isOver) await turns.next()
    }
    if (isCurrent()) {
      renameFile("sums:rename", temporary, path)
      return true
    }
  } catch (error) {
    discardFile("sums:discard", temporary)
    throw error
  }
  discardFile("sums:discard", temporary)
  return false
}
