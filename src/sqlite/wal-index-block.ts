/**
 * The hash tables of the wal-index: which frame of the WAL has the newest version of a page.
 *
 * The `-shm` file is a row of blocks of 32 KiB. Each covers a run of frames:
 *
 *      0      u32[4096]  page number of each of its frames; in block 0 the first 34 of them are
 *                        the head of the wal-index, so it has only 4062
 *     16384   u16[8192]  hash slots: 0, or which of its frames, from 1 on
 *
 * A lookup of a page starts at slot `pgno * 383 mod 8192` and ends at an empty slot. Frames are added in order, so of
 * several frames of a page the newest is in the last slot. Readers ignore frames beyond the header that they have read;
 * a writer can therefore add a frame while they look. Frames count from 1, as in SQLite. SQLite: walHash, walHashGet,
 * walIndexAppend, walCleanupHash.
 */

import { assert } from "../lib/assert.ts"

export const WAL_INDEX_BLOCK_SIZE = 32768

const FRAME_COUNT = 4096
/** The head of the wal-index takes the place of the first page numbers. */
const FIRST_BLOCK_HEAD_SIZE = 136
const FIRST_FRAME_COUNT = FRAME_COUNT - FIRST_BLOCK_HEAD_SIZE / 4
const SLOT_COUNT = 8192
const SLOTS_OFFSET = FRAME_COUNT * 4
const HASH_FACTOR = 383

/** The index of the block that holds a frame. SQLite: walFramePage. */
export function walIndexBlockOf(frame: number): number {
  return Math.floor((frame + FRAME_COUNT - FIRST_FRAME_COUNT - 1) / FRAME_COUNT)
}

/** A view of one block; it keeps no state of its own. */
export class WalIndexBlock {
  readonly #pgnos: Uint32Array
  readonly #slots: Uint16Array
  /** The frame before the first one of this block. SQLite: iZero. */
  readonly #base: number

  constructor(index: number, bytes: Uint8Array) {
    assert(bytes.length === WAL_INDEX_BLOCK_SIZE, "A wal-index block is 32 KiB")
    const headSize = index === 0 ? FIRST_BLOCK_HEAD_SIZE : 0
    const frameCount = index === 0 ? FIRST_FRAME_COUNT : FRAME_COUNT
    this.#pgnos = new Uint32Array(bytes.buffer, bytes.byteOffset + headSize, frameCount)
    this.#slots = new Uint16Array(bytes.buffer, bytes.byteOffset + SLOTS_OFFSET, SLOT_COUNT)
    this.#base = index === 0 ? 0 : FIRST_FRAME_COUNT + (index - 1) * FRAME_COUNT
  }

  /** The page of a frame, or 0 if the frame was not added. */
  pgno(frame: number): number {
    return this.#pgnos[this.#entryOf(frame) - 1] as number
  }

  /**
   * Adds a frame. The caller holds the WRITE lock and adds frames in order. The first frame of a block clears it, and
   * each one removes the remains of an unfinished transaction at and after it.
   */
  add(frame: number, pgno: number): void {
    assert(pgno > 0, "Cannot add to wal-index: pgno is 0")
    const entry = this.#entryOf(frame)
    if (entry === 1) {
      this.#pgnos.fill(0)
      this.#slots.fill(0)
    } else if (this.#pgnos[entry - 1] !== 0) {
      this.truncate(frame - 1)
    }
    const slot = this.#emptySlot(pgno)
    Atomics.store(this.#pgnos, entry - 1, pgno)
    // In one store: half a slot would lead readers to another frame.
    Atomics.store(this.#slots, slot, entry)
  }

  /** Forgets the frames after `lastFrame`. SQLite: walCleanupHash. */
  truncate(lastFrame: number): void {
    const lastEntry = Math.max(0, lastFrame - this.#base)
    for (let slot = 0; slot < SLOT_COUNT; slot++) {
      if ((this.#slots[slot] as number) > lastEntry) this.#slots[slot] = 0
    }
    this.#pgnos.fill(0, lastEntry)
  }

  #emptySlot(pgno: number): number {
    let slot = Math.imul(pgno, HASH_FACTOR) & (SLOT_COUNT - 1)
    for (let tried = 0; tried < SLOT_COUNT; tried++) {
      if (this.#slots[slot] === 0) return slot
      slot = (slot + 1) & (SLOT_COUNT - 1)
    }
    // A block is never more than half full: SQLite did not write this one.
    throw new RangeError("Cannot use wal-index: a hash table has no empty slot")
  }

  /** The number of a frame within the block, from 1. */
  #entryOf(frame: number): number {
    const entry = frame - this.#base
    assert(0 < entry && entry <= this.#pgnos.length, `Frame ${frame} is in another wal-index block`)
    return entry
  }
}
