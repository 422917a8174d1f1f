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
  type WalIndexHeader,
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

/** The second copy first, as readers expect it. */
export function writeHeaders(shm: Fd, header: WalIndexHeader): void {
  writeWalIndexHeader(headers.bytes, header)
  const size = WAL_INDEX_HEADER_SIZE
  writeAt("mount:write", shm, headers.address + size, size, size)
  writeAt("mount:write", shm, headers.address, size, 0)
}
