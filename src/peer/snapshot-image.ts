/**
 * The database file that a snapshot makes, written beside the one in use while the snapshot arrives.
 *
 *   making ── page()… ──▶ making ── finish() ──▶ on the disk
 *      └────────────── discard() ──────────────▶ gone
 *
 * Its room is reserved before the first page, so a disk that is too small is found out at once, and what was
 * written is synced as it goes: neither the page cache nor the last sync gets large.
 */
import type { LtxHeader } from "../ltx/header.ts"
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
} from "../sys/file.ts"
import { allocate } from "../sys/memory.ts"

const UNSYNCED_SIZE_MAX = 32 * 1024 * 1024
const BUFFER_SIZE = 256 * 1024
const buffer = allocate(BUFFER_SIZE)

/** Whose pages are in the buffer, which all share: what arrives in one piece is mostly of one file. */
let owner: SnapshotImage | undefined

export class SnapshotImage {
  readonly #path: string
  readonly #pageSize: number
  readonly #size: number
  #fd: Fd
  #offset = 0 // in the file, of what is in the buffer
  #buffered = 0
  #unsynced = 0

  constructor(path: string, { pageSize, commit }: LtxHeader) {
    this.#path = path
    this.#pageSize = pageSize
    this.#size = pageSize * commit
    this.#fd = openFile("next:open", path, O_RDWR | O_CREAT | O_TRUNC)
    try {
      if (this.#size > 0) reserveSpace("next:reserve", this.#fd, 0, this.#size)
    } catch (error) {
      this.discard()
      throw error
    }
  }

  page(pgno: number, data: Uint8Array): void {
    const offset = (pgno - 1) * this.#pageSize
    const follows = owner === this && offset === this.#offset + this.#buffered
    if (!follows || this.#buffered + data.length > BUFFER_SIZE) this.#start(offset)
    buffer.bytes.set(data, this.#buffered)
    this.#buffered += data.length
  }

  finish(): void {
    this.#flush()
    truncateFile("next:truncate", this.#fd, this.#size)
    syncFile("next:fsync", this.#fd)
    this.#close()
  }

  /** Does not throw, since it runs when something else has failed. */
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
