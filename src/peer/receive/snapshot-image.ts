/**
 * The database file that a snapshot makes, written beside the one in use while the snapshot arrives.
 *
 *   making ── page()… ──▶ making ── finish() ──▶ on the disk
 *      └────────────── discard() ──────────────▶ gone
 *
 * A size in the header that is more than the disk has free is refused at once: it is a claim, and no sign of a full
 * disk. Room is reserved as pages come, some way ahead:
 * the header may claim anything. Written data is synced as it goes: neither the page cache nor the last sync gets
 * large.
 */
import { dirname } from "node:path"
import { LitefsError } from "../../lib/errors.ts"
import { formatSize } from "../../lib/size.ts"
import type { LtxHeader } from "../../ltx/header.ts"
import {
  closeFile,
  type Fd,
  O_CREAT,
  O_RDWR,
  O_TRUNC,
  openFile,
  reserveSpace,
  syncData,
  syncFile,
  truncateFile,
  unlinkFile,
  writeAt,
} from "../../sys/file.ts"
import { fileSystemStatus } from "../../sys/file-status.ts"
import { allocate } from "../../sys/memory.ts"

const UNSYNCED_SIZE_MAX = 32 * 1024 * 1024
const RESERVE_SIZE = 64 * 1024 * 1024
const BUFFER_SIZE = 256 * 1024
const buffer = allocate(BUFFER_SIZE)

/** The owner of the pages in the shared buffer: data that arrives in one piece is mostly of one file. */
let owner: SnapshotImage | undefined

export class SnapshotImage {
  readonly #path: string
  readonly #pageSize: number
  readonly #size: number
  #fd: Fd
  #offset = 0 // in the file, of the buffer's content
  #buffered = 0
  #unsynced = 0
  #reserved = 0 // bytes of the file

  constructor(path: string, { pageSize, commit }: LtxHeader) {
    this.#path = path
    this.#pageSize = pageSize
    this.#size = pageSize * commit
    checkRoom(dirname(path), this.#size)
    this.#fd = openFile("next:open", path, O_RDWR | O_CREAT | O_TRUNC)
    try {
      this.#reserve(0)
    } catch (error) {
      this.discard()
      throw error
    }
  }

  page(pgno: number, data: Uint8Array): void {
    const offset = (pgno - 1) * this.#pageSize
    this.#reserve(offset + data.length)
    const follows = owner === this && offset === this.#offset + this.#buffered
    if (!follows || this.#buffered + data.length > BUFFER_SIZE) this.#start(offset)
    buffer.bytes.set(data, this.#buffered)
    this.#buffered += data.length
  }

  /** Reserves room on the disk for the next data when the file is written up to `end`. */
  #reserve(end: number): void {
    if (end < this.#reserved || this.#reserved === this.#size) return
    const size = Math.min(Math.max(RESERVE_SIZE, end - this.#reserved), this.#size - this.#reserved)
    reserveSpace("next:reserve", this.#fd, this.#reserved, size)
    this.#reserved += size
  }

  finish(): void {
    this.#flush()
    truncateFile("next:truncate", this.#fd, this.#size)
    syncFile("next:fsync", this.#fd)
    this.#close()
  }

  /** Does not throw, because it runs after another failure. */
  discard(): void {
    this.#close()
    try {
      unlinkFile("next:discard", this.#path)
    } catch {
      // The next start removes it.
    }
  }

  #start(offset: number): void {
    if (owner !== undefined) owner.#flush()
    owner = this
    this.#offset = offset
  }

  #flush(): void {
    if (this.#buffered === 0) return
    const size = this.#buffered
    this.#buffered = 0
    writeAt("next:write", this.#fd, buffer.address, size, this.#offset)
    this.#offset += size
    this.#unsynced += size
    if (this.#unsynced < UNSYNCED_SIZE_MAX) return
    syncData("next:fdatasync", this.#fd)
    this.#unsynced = 0
  }

  #close(): void {
    if (owner === this) owner = undefined
    closeFile(this.#fd)
    this.#fd = -1
    this.#buffered = 0
  }
}

/** Throws a LitefsError "io": it concerns this database alone, and another time there may be room. */
export function checkRoom(directory: string, size: number): void {
  const { blocks, blockSize, blocksAvailable } = fileSystemStatus("next:statfs", directory)
  const free = blocksAvailable * blockSize
  // A file system that does not count blocks has none at all.
  if (blocks === 0 || size <= free) return
  throw new LitefsError(
    "io",
    `it needs ${formatSize(size)}, ${formatSize(free)} are free in "${directory}": make room there`,
  )
}
