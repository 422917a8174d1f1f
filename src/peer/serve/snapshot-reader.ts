/**
 * Reads a frozen database (`capture/frozen-view.ts`), pages 1 to the last, and turns it into the requested format.
 *
 * It sends only as much as there is credit for, so a slow receiver costs no memory. The checksum of the pages that it
 * has read must be that of the position; otherwise the receiver gets an error, and an LTX file no trailer.
 */

import { FrozenPages } from "../../capture/frozen-pages.ts"
import type { FrozenState } from "../../capture/frozen-view.ts"
import { LitefsError } from "../../lib/errors.ts"
import { Gate } from "../../lib/gate.ts"
import { ChecksumAccumulator, lockPgno } from "../../ltx/checksum.ts"
import { formatPos } from "../../ltx/pos.ts"
import { disguiseHeader } from "../../sqlite/header-disguise.ts"
import { BackedFile } from "../../store/backed-file.ts"
import type { DataDir } from "../../store/data-dir.ts"
import { allocate } from "../../sys/memory.ts"
import { type SnapshotFormat, snapshotWriter } from "./snapshot-format.ts"

const PART_SIZE = 64 * 1024
const page = allocate(65536)

export class SnapshotReader {
  readonly #name: string
  readonly #state: FrozenState
  readonly #format: SnapshotFormat
  readonly #nodeId: bigint
  readonly #pages: FrozenPages
  readonly #database: BackedFile
  readonly #wal: BackedFile
  readonly #side: BackedFile
  readonly #gate = new Gate()
  #credit = 0
  #isCancelled = false
  #part = new Uint8Array(PART_SIZE)
  #partSize = 0

  constructor(
    dataDir: DataDir,
    name: string,
    state: FrozenState,
    format: SnapshotFormat,
    nodeId: bigint,
  ) {
    this.#name = name
    this.#format = format
    this.#state = state
    this.#nodeId = nodeId
    this.#pages = new FrozenPages(state.pages)
    this.#database = dataDir.file(name, "database")
    this.#wal = dataDir.file(name, "wal")
    this.#side = new BackedFile("snapshot", state.sidePath)
    // Now, while the names stand for the files of the view.
    try {
      for (const file of this.#files) file.open()
    } catch (error) {
      this.#close()
      throw error
    }
  }

  get #files(): readonly BackedFile[] {
    return [this.#database, this.#wal, this.#side]
  }

  #close(): void {
    for (const file of this.#files) file.close()
  }

  addCredit(size: number): void {
    this.#credit += size
    this.#gate.open()
  }

  cancel(): void {
    this.#isCancelled = true
    this.#gate.open()
  }

  async send(sink: (bytes: Uint8Array) => void): Promise<void> {
    try {
      const { pos, pageSize, commit } = this.#state
      const checksum = new ChecksumAccumulator().reset()
      const append = (bytes: Uint8Array) => this.#append(bytes, sink)
      const writer = snapshotWriter(this.#format, this.#state, this.#nodeId, append)
      const bytes = page.bytes.subarray(0, pageSize)
      for (let pgno = 1; pgno <= commit; pgno++) {
        while (this.#credit <= 0 && !this.#isCancelled) await this.#gate.wait()
        if (this.#isCancelled) return
        if (pgno === lockPgno(pageSize)) {
          writer.lockPage()
          continue
        }
        // No await between these two lines: the page buffer is shared.
        this.#readPage(pgno)
        checksum.togglePage(pgno, bytes)
        writer.page(pgno, bytes)
      }
      if (this.#pages.isBroken) {
        throw new LitefsError(
          "unavailable",
          `Cannot read "${this.#name}" to its end: this node's role has changed, or there is no room to keep old pages`,
        )
      }
      if (checksum.checksum !== pos.checksum) {
        throw new LitefsError(
          "damaged",
          `Cannot read "${this.#name}": its pages no longer sum to ${formatPos(pos)}`,
        )
      }
      writer.end(checksum.checksum)
      this.#flush(sink)
    } finally {
      this.#close()
    }
  }

  /** Reads a page as of the view into the buffer. FrozenPages says why this order is right. */
  #readPage(pgno: number): void {
    const { pageSize, walOffsets, walDisguise } = this.#state
    const walOffset = walOffsets.get(pgno)
    if (walOffset === undefined || this.#pages.isWalGone) {
      this.#database.readPadded(page, pageSize, (pgno - 1) * pageSize)
    } else {
      this.#wal.readPadded(page, pageSize, walOffset)
      if (pgno === 1) disguiseHeader(page.bytes, 0, -walDisguise)
      if (this.#pages.isWalGone) {
        this.#database.readPadded(page, pageSize, (pgno - 1) * pageSize)
      }
    }
    const slot = this.#pages.slot(pgno)
    if (slot !== undefined) this.#side.readPadded(page, pageSize, slot * pageSize)
    this.#pages.nextToRead = pgno + 1
  }

  #append(bytes: Uint8Array, sink: (bytes: Uint8Array) => void): void {
    for (let done = 0; done < bytes.length; ) {
      const part = bytes.subarray(done, done + PART_SIZE - this.#partSize)
      this.#part.set(part, this.#partSize)
      this.#partSize += part.length
      done += part.length
      if (this.#partSize === PART_SIZE) this.#flush(sink)
    }
  }

  #flush(sink: (bytes: Uint8Array) => void): void {
    this.#credit -= this.#partSize
    sink(this.#part.slice(0, this.#partSize))
    this.#partSize = 0
  }
}
