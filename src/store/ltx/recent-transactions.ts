/**
 * The last transactions of a primary, in memory that its threads share. A stream takes them from here, and need not
 * wait for their LTX files, which are made after the clients were answered.
 *
 * They belong to one term: when the node is the primary again, its TXIDs may come again with other content.
 * 32 places of 32 KiB take turns. One thread writes, others read; a place is guarded by a sequence number (seqlock.ts):
 *
 *      0  u32 sequence   odd while the place is being written
 *      4  u32 slot       of the database in Positions
 *      8  u64 TXID       low, high half
 *     16  u32 size       of the LTX file, bytes
 *     32  the LTX file
 */
import type { Txid } from "../../ltx/pos.ts"
import type { Slot } from "../positions.ts"
import { CHANGED, loadU64, storeU64, tryReadGuarded, writeGuarded } from "../seqlock.ts"

const PLACE_COUNT = 32
const PLACE_SIZE = 32 * 1024
const HEAD_SIZE = 32
const PLACE_WORDS = PLACE_SIZE / 4
const NO_SLOT = -1

/** Words of a place. */
const SLOT = 1
const TXID = 2
const SIZE = 4

export class RecentTransactions {
  readonly memory: SharedArrayBuffer
  readonly #words: Int32Array
  readonly #bytes: Uint8Array
  #next = 0

  static create(): RecentTransactions {
    return new RecentTransactions(new SharedArrayBuffer(PLACE_COUNT * PLACE_SIZE))
  }

  constructor(memory: SharedArrayBuffer) {
    this.memory = memory
    this.#words = new Int32Array(memory)
    this.#bytes = new Uint8Array(memory)
  }

  /** The writer has become the primary, or no longer is: clears all transactions of the term before. */
  clear(): void {
    const words = this.#words
    for (let place = 0; place < PLACE_COUNT; place++) {
      const at = place * PLACE_WORDS
      writeGuarded(words, at, () => Atomics.store(words, at + SLOT, NO_SLOT))
    }
  }

  /** False when the file is too large for a place. */
  add(slot: Slot, txid: Txid, file: Uint8Array): boolean {
    if (file.length > PLACE_SIZE - HEAD_SIZE) return false
    const at = this.#next * PLACE_WORDS
    this.#next = (this.#next + 1) % PLACE_COUNT
    const words = this.#words
    writeGuarded(words, at, () => {
      Atomics.store(words, at + SLOT, slot | 0)
      storeU64(words, at + TXID, txid)
      Atomics.store(words, at + SIZE, file.length)
      this.#bytes.set(file, at * 4 + HEAD_SIZE)
    })
    return true
  }

  /** The LTX file of a transaction; undefined when it was never here, or no longer is. */
  find(slot: Slot, txid: Txid): Uint8Array | undefined {
    for (let place = 0; place < PLACE_COUNT; place++) {
      const at = place * PLACE_WORDS
      if (!this.#isThere(at, slot, txid)) continue
      const file = tryReadGuarded(this.#words, at, () => {
        return this.#isThere(at, slot, txid) ? this.#copy(at) : undefined
      })
      if (file !== undefined && file !== CHANGED) return file
    }
    return undefined
  }

  #isThere(at: number, slot: Slot, txid: Txid): boolean {
    const words = this.#words
    if (Atomics.load(words, at) === 0) return false // never written
    return Atomics.load(words, at + SLOT) === (slot | 0) && loadU64(words, at + TXID) === txid
  }

  #copy(at: number): Uint8Array {
    const size = Math.min(Math.max(0, Atomics.load(this.#words, at + SIZE)), PLACE_SIZE - HEAD_SIZE)
    const start = at * 4 + HEAD_SIZE
    return new Uint8Array(this.#bytes.subarray(start, start + size)) // a copy
  }
}
