/**
 * Walks the valid frames of a WAL.
 *
 * Every frame that it stops at has the right salts and checksum. It only reports where transactions end: frames after
 * the last commit frame belong to an unfinished transaction, and the caller decides whether to use them. It does not
 * look at the wal-index, which may know fewer frames.
 */

import { must } from "../lib/assert.ts"
import type { ByteSource } from "../lib/byte-source.ts"
import { readU32BE } from "../lib/bytes.ts"
import {
  decodeWalHeader,
  verifyWalFrame,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  WalChecksum,
  type WalHeader,
  walFrameOffset,
  walFrameSize,
} from "./wal.ts"

/** Between two frames of a WAL. */
export interface WalPosition {
  readonly header: WalHeader
  /** The number of frames before it. */
  readonly frameCount: number
  readonly checksum1: number
  readonly checksum2: number
}

/** The end of a transaction. */
export interface WalCommit extends WalPosition {
  /** The size of the database after it, in pages. */
  readonly commit: number
}

export class WalReader {
  readonly #source: ByteSource
  readonly #header: WalHeader | undefined
  readonly #checksum = new WalChecksum()
  readonly #frame: Uint8Array
  #frameCount = 0
  #lastCommit: WalCommit | undefined

  /** Starts at the first frame, or at a position from an earlier reader. */
  constructor(source: ByteSource, start: WalPosition | undefined = startOf(source)) {
    this.#source = source
    this.#header = start?.header
    this.#frameCount = start?.frameCount ?? 0
    this.#checksum.set(start?.checksum1, start?.checksum2)
    this.#frame = new Uint8Array(start === undefined ? 0 : walFrameSize(start.header.pageSize))
  }

  /** Undefined if the log has no valid header, and thus no frames. */
  get header(): WalHeader | undefined {
    return this.#header
  }

  /** Moves to the next frame. False if there is no valid one yet: a writer may add one. */
  next(): boolean {
    const header = this.#header
    if (header === undefined) return false
    const offset = walFrameOffset(this.#frameCount, header.pageSize)
    if (this.#source.readAt(offset, this.#frame) < this.#frame.length) return false
    if (!verifyWalFrame(this.#frame, 0, header, this.#checksum)) return false
    this.#frameCount++
    if (this.commit > 0) this.#lastCommit = { ...this.position, commit: this.commit }
    return true
  }

  /** The number of valid frames up to and including the current one. */
  get frameCount(): number {
    return this.#frameCount
  }

  /** The page number of the current frame. */
  get pgno(): number {
    return readU32BE(this.#frame, 0)
  }

  /** Of the current frame: the size of the database in pages if it ends a transaction, else 0. */
  get commit(): number {
    return readU32BE(this.#frame, 4)
  }

  /** The page of the current frame. Borrowed: valid until `next`. */
  get page(): Uint8Array {
    return this.#frame.subarray(WAL_FRAME_HEADER_SIZE)
  }

  /** The position after the current frame. */
  get position(): WalPosition {
    const { s0, s1 } = this.#checksum
    const header = must(this.#header, "WAL header")
    return { header, frameCount: this.#frameCount, checksum1: s0, checksum2: s1 }
  }

  /** The last commit frame passed so far. */
  get lastCommit(): WalCommit | undefined {
    return this.#lastCommit
  }
}

function startOf(source: ByteSource): WalPosition | undefined {
  const bytes = new Uint8Array(WAL_HEADER_SIZE)
  if (source.readAt(0, bytes) < WAL_HEADER_SIZE) return undefined
  const header = decodeWalHeader(bytes)
  if (header === undefined) return undefined
  const { checksum1, checksum2 } = header
  return { header, frameCount: 0, checksum1, checksum2 }
}
