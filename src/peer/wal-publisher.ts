/**
 * Publishes a transaction that its writer put into the WAL and did not live to publish: adds its frames to the
 * wal-index, as the writer would have, or as SQLite's recovery would (walIndexAppend, walIndexWriteHdr).
 *
 * The dead writer's lock on WRITE is still in force: the kernel keeps it until the fs thread answers the FLUSH
 * of its descriptor, and the fs thread waits for us. So nobody else writes meanwhile, and no lock is taken here.
 *
 * It is only done when the index says exactly that the WAL ends where this transaction begins. Whatever else it
 * says is left to others: a recovery finds the frames by itself.
 */
import { join } from "node:path"
import type { LastTransaction } from "../capture/wal-tracker.ts"
import {
  readWalIndexHeader,
  WAL_INDEX_HEADER_SIZE,
  WAL_INDEX_READ_MARK_COUNT,
  WAL_INDEX_READ_MARK_UNUSED,
  type WalIndexHeader,
  writeBackfillAttempted,
  writeBackfillCount,
  writeReadMark,
  writeWalIndexHeader,
} from "../sqlite/wal-index.ts"
import { WAL_INDEX_BLOCK_SIZE, WalIndexBlock, walIndexBlockOf } from "../sqlite/wal-index-block.ts"
import { closeFile, type Fd, O_RDWR, openIfExists, readAt, writeAt } from "../sys/file.ts"
import { allocate } from "../sys/memory.ts"

const HEADERS_SIZE = 2 * WAL_INDEX_HEADER_SIZE
const headers = allocate(4096)
const block = allocate(WAL_INDEX_BLOCK_SIZE)

/** Bytes of the first block that are not page numbers: headers, read marks and locks, which clients change. */
const FIRST_BLOCK_HEAD_SIZE = 136

/** True when the transaction was published, false when there was nothing to do or nothing that could be done. */
export function publish(directory: string, database: string, last: LastTransaction): boolean {
  const shm = openIfExists("mount:open", join(directory, `${database}-shm`), O_RDWR)
  if (shm === undefined) return false
  try {
    const n = readAt("mount:read", shm, headers.address, HEADERS_SIZE, 0)
    if (n < HEADERS_SIZE) return false
    const header = readWalIndexHeader(headers.bytes.subarray(0, HEADERS_SIZE))
    if (header === undefined || !precedes(header, last)) return false
    addFrames(shm, last)
    writeHeaders(shm, {
      ...header,
      change: (header.change + 1) >>> 0,
      frameCount: last.firstFrame + last.pgnos.length - 1,
      pageCount: last.commit,
      frameChecksum1: last.checksum1,
      frameChecksum2: last.checksum2,
    })
    return true
  } finally {
    closeFile(shm)
  }
}

function precedes(header: WalIndexHeader, last: LastTransaction): boolean {
  return (
    header.frameCount === last.firstFrame - 1 &&
    header.pageSize === last.pageSize &&
    header.salt1 === last.salt1 &&
    header.salt2 === last.salt2
  )
}

function addFrames(shm: Fd, { firstFrame, pgnos }: LastTransaction): void {
  const lastFrame = firstFrame + pgnos.length - 1
  for (let frame = firstFrame; frame <= lastFrame; ) {
    const index = walIndexBlockOf(frame)
    const start = index * WAL_INDEX_BLOCK_SIZE
    const n = readAt("mount:read", shm, block.address, WAL_INDEX_BLOCK_SIZE, start)
    block.bytes.fill(0, n)
    const entries = new WalIndexBlock(index, block.bytes)
    for (; frame <= lastFrame && walIndexBlockOf(frame) === index; frame++) {
      entries.add(frame, pgnos[frame - firstFrame] as number)
    }
    const head = index === 0 ? FIRST_BLOCK_HEAD_SIZE : 0
    const size = WAL_INDEX_BLOCK_SIZE - head
    writeAt("mount:write", shm, block.address + head, size, start + head)
  }
}

/**
 * Keeps new readers out, as a recovery does that is running: the two copies of the header disagree, and the caller
 * holds WRITE and RECOVER (SQLite: walIndexReadHdr, SQLITE_BUSY_RECOVERY). Returns how to let them in again. A
 * daemon that dies meanwhile leaves an index that the next client recovers.
 */
export function closeWalIndex(shm: Fd): () => void {
  const n = readAt("mount:read", shm, headers.address, HEADERS_SIZE, 0)
  if (n < HEADERS_SIZE || readWalIndexHeader(headers.bytes.subarray(0, HEADERS_SIZE)) === undefined)
    return () => {}
  const first = headers.bytes.slice(0, WAL_INDEX_HEADER_SIZE)
  headers.bytes.fill(0, 0, WAL_INDEX_HEADER_SIZE)
  writeAt("mount:write", shm, headers.address, WAL_INDEX_HEADER_SIZE, 0)
  return () => {
    headers.bytes.set(first)
    writeAt("mount:write", shm, headers.address, WAL_INDEX_HEADER_SIZE, 0)
  }
}

/**
 * Has the next writer start the log over: other content has taken the place of the database and of all that the log
 * held. The caller holds every lock. An index that is not valid is left alone: the next client recovers it from
 * the WAL, which is empty. SQLite: walRestartHdr.
 */
export function restartWalIndex(
  shm: Fd,
  { pageSize, commit }: { readonly pageSize: number; readonly commit: number },
  random: number,
): void {
  const n = readAt("mount:read", shm, headers.address, FIRST_BLOCK_HEAD_SIZE, 0)
  if (n < FIRST_BLOCK_HEAD_SIZE) return
  const header = readWalIndexHeader(headers.bytes.subarray(0, HEADERS_SIZE))
  if (header === undefined) return
  writeHeaders(shm, {
    ...header,
    change: (header.change + 1) >>> 0,
    frameCount: 0,
    pageSize,
    pageCount: commit,
    salt1: (header.salt1 + 1) >>> 0,
    salt2: Math.floor(random * 0x100000000),
  })
  writeBackfillCount(headers.bytes, 0)
  writeBackfillAttempted(headers.bytes, 0)
  for (let mark = 0; mark < WAL_INDEX_READ_MARK_COUNT; mark++) {
    writeReadMark(headers.bytes, mark, mark < 2 ? 0 : WAL_INDEX_READ_MARK_UNUSED)
  }
  const size = FIRST_BLOCK_HEAD_SIZE - HEADERS_SIZE
  writeAt("mount:write", shm, headers.address + HEADERS_SIZE, size, HEADERS_SIZE)
}

/** The second copy first, as readers expect it. */
export function writeHeaders(shm: Fd, header: WalIndexHeader): void {
  writeWalIndexHeader(headers.bytes, header)
  const size = WAL_INDEX_HEADER_SIZE
  writeAt("mount:write", shm, headers.address + size, size, size)
  writeAt("mount:write", shm, headers.address, size, 0)
}
