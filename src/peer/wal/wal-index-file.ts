/**
 * The wal-index of a database, through a descriptor of its `-shm` file in the mount.
 *
 * pread and pwrite access it, and clients that map it see changes at once: the kernel has one copy for both. The daemon
 * must not map it itself. When a process is killed, unmapping writes the file's pages back, and a dead daemon could not
 * answer those writes (Linux: fuse_vma_close): it could not end.
 *
 * For every change the caller holds the lock.
 */
import {
  readBackfillCount,
  readReadMark,
  readWalIndexHeader,
  WAL_INDEX_BACKFILL_ATTEMPTED_OFFSET,
  WAL_INDEX_BACKFILL_OFFSET,
  WAL_INDEX_HEAD_SIZE,
  WAL_INDEX_HEADER_SIZE,
  WAL_INDEX_READ_MARK_COUNT,
  WAL_INDEX_READ_MARK_UNUSED,
  type WalIndexHeader,
  walIndexReadMarkOffset,
  writeBackfillAttempted,
  writeBackfillCount,
  writeReadMark,
  writeWalIndexHeader,
} from "../../sqlite/wal-index.ts"
import {
  WAL_INDEX_BLOCK_SIZE,
  WalIndexBlock,
  walIndexBlockOf,
} from "../../sqlite/wal-index-block.ts"
import { type Fd, readAt, truncateFile, writeAt } from "../../sys/file.ts"
import { sizeOf } from "../../sys/file-status.ts"
import { allocate } from "../../sys/memory.ts"
import type { ReaderGate } from "../locks/client-locks.ts"

const HEAD_SIZE = WAL_INDEX_HEAD_SIZE
const HEADERS_SIZE = 2 * WAL_INDEX_HEADER_SIZE

const head = allocate(4096)
const headWords = new Uint32Array(head.bytes.buffer, head.bytes.byteOffset, HEAD_SIZE / 4)
const block = allocate(WAL_INDEX_BLOCK_SIZE)
const expected = new Uint8Array(WAL_INDEX_BLOCK_SIZE)

export interface WalIndexState {
  readonly header: WalIndexHeader
  /** Frames that nobody needs to read, because the database file has their pages. */
  readonly backfillCount: number
  readonly readMarks: readonly number[]
}

export class WalIndexFile implements ReaderGate {
  readonly #fd: Fd

  constructor(fd: Fd) {
    this.#fd = fd
  }

  /** A reader that may not write does not look at a file shorter than a block (SQLite: unixShmMap). */
  makeReadable(): void {
    if (sizeOf("mount:stat", this.#fd) >= WAL_INDEX_BLOCK_SIZE) return
    truncateFile("mount:truncate", this.#fd, WAL_INDEX_BLOCK_SIZE)
  }

  /** Undefined when there is no valid one: somebody has to recover it, or is writing it. */
  read(): WalIndexState | undefined {
    if (!this.#readHead()) return undefined
    const header = readWalIndexHeader(head.bytes)
    if (header === undefined) return undefined
    const readMarks: number[] = []
    for (let mark = 0; mark < WAL_INDEX_READ_MARK_COUNT; mark++) {
      readMarks.push(readReadMark(head.bytes, mark))
    }
    return { header, backfillCount: readBackfillCount(head.bytes), readMarks }
  }

  /** Publishes the header. The second copy first, as readers expect it. WRITE is held. */
  writeHeader(header: WalIndexHeader): void {
    writeWalIndexHeader(head.bytes, header)
    this.#writeHead(WAL_INDEX_HEADER_SIZE, WAL_INDEX_HEADER_SIZE)
    this.#writeHead(0, WAL_INDEX_HEADER_SIZE)
  }

  /**
   * Makes the next writer start the log over: no frame counts any more, and frames that are left in the file have other
   * salts. WRITE and READ1 to READ4 are held. SQLite: walRestartHdr.
   *
   * Without `content` an invalid index stays as it is: the client that recovers it builds it from the WAL. When the
   * content is another than before, that client would make a header of an empty WAL that looks like the old one, and
   * clients that know the old one would continue with their old pages.
   */
  restart(
    random: number,
    content?: { readonly pageSize: number; readonly pageCount: number },
  ): void {
    if (!this.#readHead()) return // no client has it
    const header = readWalIndexHeader(head.bytes) ?? (content && blankHeader(random, content))
    if (header === undefined) return
    // The header comes last: with it and an old count of backfilled frames, readers would soon look for new frames in the
    // database file. The other way round they read frames that the file has as well.
    writeBackfillCount(head.bytes, 0)
    writeBackfillAttempted(head.bytes, 0)
    for (let mark = 0; mark < WAL_INDEX_READ_MARK_COUNT; mark++) {
      writeReadMark(head.bytes, mark, mark < 2 ? 0 : WAL_INDEX_READ_MARK_UNUSED)
    }
    this.#writeHead(HEADERS_SIZE, HEAD_SIZE - HEADERS_SIZE)
    this.writeHeader({
      ...header,
      ...content,
      change: (header.change + 1) >>> 0,
      frameCount: 0,
      salt1: (header.salt1 + 1) >>> 0,
      salt2: Math.floor(random * 0x100000000),
    })
  }

  /**
   * Rebuilds the index from frames of the log, whatever it was. WRITE, CKPT and RECOVER are held. Marks that readers
   * hold stay. SQLite: walIndexRecover.
   */
  rebuild(
    header: WalIndexHeader,
    pgnos: readonly number[],
    isFree: (mark: number) => boolean,
  ): void {
    if (!this.#readHead()) {
      head.bytes.fill(0, 0, HEAD_SIZE)
      this.#writeHead(0, HEAD_SIZE)
    }
    if (pgnos.length > 0) this.addFrames(1, pgnos)
    this.writeBackfillCount(0)
    this.writeBackfillAttempted(header.frameCount)
    this.writeReadMark(0, 0)
    for (let mark = 1; mark < WAL_INDEX_READ_MARK_COUNT; mark++) {
      if (!isFree(mark)) continue
      this.writeReadMark(mark, mark === 1 ? header.frameCount : WAL_INDEX_READ_MARK_UNUSED)
    }
    this.writeHeader(header) // last, as in restart()
  }

  /** READ`mark` is held exclusively. */
  writeReadMark(mark: number, frameCount: number): void {
    this.#writeWord(walIndexReadMarkOffset(mark), frameCount)
  }

  /** CKPT is held. */
  writeBackfillCount(frameCount: number): void {
    this.#writeWord(WAL_INDEX_BACKFILL_OFFSET, frameCount)
  }

  /** CKPT is held. */
  writeBackfillAttempted(frameCount: number): void {
    this.#writeWord(WAL_INDEX_BACKFILL_ATTEMPTED_OFFSET, frameCount)
  }

  /** Adds the pages of frames that do not count yet, in order. WRITE is held. SQLite: walIndexAppend. */
  addFrames(firstFrame: number, pgnos: readonly number[]): void {
    const lastFrame = firstFrame + pgnos.length - 1
    for (let frame = firstFrame; frame <= lastFrame; ) {
      const index = walIndexBlockOf(frame)
      const start = index * WAL_INDEX_BLOCK_SIZE
      const n = readAt("mount:read", this.#fd, block.address, WAL_INDEX_BLOCK_SIZE, start)
      block.bytes.fill(0, n)
      const entries = new WalIndexBlock(index, block.bytes)
      for (; frame <= lastFrame && walIndexBlockOf(frame) === index; frame++) {
        entries.add(frame, pgnos[frame - firstFrame] as number)
      }
      // In block 0 the head, which clients change, takes the place of the first entries.
      const skip = index === 0 ? HEAD_SIZE : 0
      const size = WAL_INDEX_BLOCK_SIZE - skip
      writeAt("mount:write", this.#fd, block.address + skip, size, start + skip)
    }
  }

  /** Whether readers find these pages by it. `pgno` tells the page of a frame, from 1 on. */
  hasFrames(count: number, pgno: (frame: number) => number): boolean {
    for (let frame = 1; frame <= count; ) {
      const index = walIndexBlockOf(frame)
      const start = index * WAL_INDEX_BLOCK_SIZE
      const n = readAt("mount:read", this.#fd, block.address, WAL_INDEX_BLOCK_SIZE, start)
      if (n < WAL_INDEX_BLOCK_SIZE) return false
      expected.fill(0)
      const entries = new WalIndexBlock(index, expected)
      for (; frame <= count && walIndexBlockOf(frame) === index; frame++) {
        entries.add(frame, pgno(frame))
      }
      new WalIndexBlock(index, block.bytes).truncate(frame - 1) // what does not count does not matter
      const from = index === 0 ? HEAD_SIZE : 0
      if (Buffer.compare(block.bytes.subarray(from), expected.subarray(from)) !== 0) return false
    }
    return true
  }

  /**
   * Keeps new readers out, like a running recovery: the two copies of the header disagree, and WRITE and RECOVER are
   * held (SQLite: walIndexReadHdr, SQLITE_BUSY_RECOVERY). Returns how to let them in again. If the daemon dies
   * meanwhile, the next client recovers the index.
   */
  close(): () => void {
    if (!this.#readHead() || readWalIndexHeader(head.bytes) === undefined) return () => {}
    const first = head.bytes.slice(0, WAL_INDEX_HEADER_SIZE)
    head.bytes.fill(0, 0, WAL_INDEX_HEADER_SIZE)
    this.#writeHead(0, WAL_INDEX_HEADER_SIZE)
    return () => {
      head.bytes.set(first)
      this.#writeHead(0, WAL_INDEX_HEADER_SIZE)
    }
  }

  /** False when there is less than a head. */
  #readHead(): boolean {
    return readAt("mount:read", this.#fd, head.address, HEAD_SIZE, 0) === HEAD_SIZE
  }

  /** One word alone: clients change the others. */
  #writeWord(offset: number, value: number): void {
    headWords[offset / 4] = value
    this.#writeHead(offset, 4)
  }

  #writeHead(offset: number, size: number): void {
    writeAt("mount:write", this.#fd, head.address + offset, size, offset)
  }
}

/** Differs from every header that clients know. */
function blankHeader(
  random: number,
  content: { readonly pageSize: number; readonly pageCount: number },
): WalIndexHeader {
  return {
    ...content,
    change: Math.floor(random * 0x100000000),
    ...{ bigEndianChecksum: false, frameCount: 0, frameChecksum1: 0, frameChecksum2: 0 },
    ...{ salt1: 0, salt2: 0 },
  }
}
