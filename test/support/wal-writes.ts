/**
 * The writes with which SQLite makes a WAL, told from the file before and after each statement.
 *
 * As strace shows them (SQLite 3.54, wal.c sqlite3WalFrames): the header is one write of 32 bytes, a frame a write
 * of its header and one of its page. A transaction that has spilled a page and changes it again writes the page over
 * the one in its frame, and from then on headers without salts and checksums; after the commit frame
 * walRewriteChecksums() writes every header from that frame on.
 */

import { WAL_FRAME_HEADER_SIZE, WAL_HEADER_SIZE, walFrameOffset } from "../../src/sqlite/wal.ts"
import { WalReader } from "../../src/sqlite/wal-reader.ts"
import { bytesSource } from "./bytes-source.ts"
import type { Random } from "./random.ts"
import type { SqliteFiles } from "./sqlite-files.ts"

export interface FileWrite {
  readonly offset: number
  readonly bytes: Uint8Array
}

const SUMMED_SIZE = 8 // of a frame header: page number and commit size

/** Valid frames of a WAL up to its last commit. */
export function committedFrames(wal: Uint8Array): number {
  const reader = new WalReader(bytesSource(wal))
  while (reader.next());
  return reader.lastCommit?.frameCount ?? 0
}

export class WalRecorder {
  readonly #files: SqliteFiles
  readonly #pageSize: number
  #before: Uint8Array
  #written = 0 // frames since the last restart, also those of an open transaction

  constructor(files: SqliteFiles) {
    this.#files = files
    this.#pageSize = Number(files.value("PRAGMA page_size"))
    this.#before = files.read("-wal")
    this.#written = committedFrames(this.#before)
  }

  /** Runs SQL of which at most the last statement commits, and at most one transaction. */
  run(sql: string): FileWrite[] {
    this.#files.run(sql)
    const before = this.#before
    const after = this.#files.read("-wal")
    this.#before = after
    if (after.length === 0) return []
    const writes: FileWrite[] = []
    if (!isSame(before, after, 0, WAL_HEADER_SIZE)) {
      writes.push({ offset: 0, bytes: after.slice(0, WAL_HEADER_SIZE) })
      this.#written = 0
    }
    const committedBefore = this.#written === 0 ? 0 : committedFrames(before)
    const committed = committedFrames(after)
    let end = this.#written // frames that are there now
    while (this.#end(end) <= after.length && !this.#isSameFrame(before, after, end)) end++

    let rewrittenFrom = end
    for (let frame = committedBefore; frame < this.#written; frame++) {
      if (!this.#isSameHeader(before, after, frame)) rewrittenFrom = Math.min(rewrittenFrom, frame)
      const start = this.#offset(frame) + WAL_FRAME_HEADER_SIZE
      if (isSame(before, after, start, this.#end(frame))) continue
      rewrittenFrom = Math.min(rewrittenFrom, frame)
      writes.push({ offset: start, bytes: after.slice(start, this.#end(frame)) })
    }
    const rewritesHeaders = rewrittenFrom < end && committed > committedBefore
    for (let frame = this.#written; frame < end; frame++) {
      const start = this.#offset(frame)
      const header = after.slice(start, start + WAL_FRAME_HEADER_SIZE)
      if (rewritesHeaders) header.fill(0, SUMMED_SIZE)
      const page = after.slice(start + WAL_FRAME_HEADER_SIZE, this.#end(frame))
      writes.push({ offset: start, bytes: header })
      writes.push({ offset: start + WAL_FRAME_HEADER_SIZE, bytes: page })
    }
    for (let frame = rewrittenFrom; rewritesHeaders && frame < end; frame++) {
      const start = this.#offset(frame)
      writes.push({ offset: start, bytes: after.slice(start, start + WAL_FRAME_HEADER_SIZE) })
    }
    this.#written = sql.startsWith("ROLLBACK") ? committed : end
    return writes
  }

  #offset(frame: number): number {
    return walFrameOffset(frame, this.#pageSize)
  }

  #end(frame: number): number {
    return this.#offset(frame + 1)
  }

  #isSameHeader(before: Uint8Array, after: Uint8Array, frame: number): boolean {
    const start = this.#offset(frame)
    return isSame(before, after, start, start + WAL_FRAME_HEADER_SIZE)
  }

  #isSameFrame(before: Uint8Array, after: Uint8Array, frame: number): boolean {
    return isSame(before, after, this.#offset(frame), this.#end(frame))
  }
}

function isSame(a: Uint8Array, b: Uint8Array, start: number, end: number): boolean {
  if (a.length < end || b.length < end) return false
  return Buffer.compare(a.subarray(start, end), b.subarray(start, end)) === 0
}

/** As a kernel cuts writes: at the boundaries of its pages. */
export function atPageBoundaries(writes: readonly FileWrite[]): FileWrite[] {
  return writes.flatMap(({ offset, bytes }) => {
    const parts: FileWrite[] = []
    for (let done = 0; done < bytes.length; ) {
      const size = Math.min(bytes.length - done, 4096 - ((offset + done) % 4096))
      parts.push({ offset: offset + done, bytes: bytes.subarray(done, done + size) })
      done += size
    }
    return parts
  })
}

/** Cut anywhere, also between the bytes of a checksum. */
export function anywhere(random: Random, writes: readonly FileWrite[]): FileWrite[] {
  return writes.flatMap(({ offset, bytes }) => {
    const parts: FileWrite[] = []
    for (let done = 0; done < bytes.length; ) {
      const size = random.between(1, Math.min(bytes.length - done, random.pick([5, 40, 600])))
      parts.push({ offset: offset + done, bytes: bytes.subarray(done, done + size) })
      done += size
    }
    return parts
  })
}
