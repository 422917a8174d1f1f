/**
 * The last transactions of a primary, in memory that its threads share. A stream takes them from here, and need not wait
 * for their LTX files, which are made when the clients have been answered.
 *
 * They are those of one term: when the node is the primary again, its TXIDs may come again with other content.
 *
 * 32 places of 32 KiB take turns. One thread writes, others read; a place is guarded by a sequence number:
 *
 *      0  u32 sequence   odd while the place is being written
 *      4  u32 slot       of the database in Positions
 *      8  u64 TXID       low, high half
 *     16  u32 size       of the LTX file, bytes
 *     32  the LTX file
 */
import type { Txid } from "../../ltx/pos.ts"
import type { Slot } from "../positions.ts"

const PLACE_COUNT = 32
const PLACE_SIZE = 32 * 1024
const HEAD_SIZE = 32
const PLACE_WORDS = PLACE_SIZE / 4
const NO_SLOT = -1

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

  /** The writer is the primary anew, or no longer: nothing of before is found. */
  clear(): void {
    const words = this.#words
    for (let place = 0; place < PLACE_COUNT; place++) {
      const at = place * PLACE_WORDS
      Atomics.add(words, at, 1)
      words[at + 1] = NO_SLOT
      Atomics.add(words, at, 1)
    }
  }

  /** False when the file is too large for a place. */
  add(slot: Slot, txid: Txid, file: Uint8Array): boolean {
    if (file.length > PLACE_SIZE - HEAD_SIZE) return false
    const at = this.#next * PLACE_WORDS
    this.#next = (this.#next + 1) % PLACE_COUNT
    const words = this.#words
    Atomics.add(words, at, 1)
    words[at + 1] = slot | 0
    words[at + 2] = Number(BigInt.asIntN(32, txid))
    words[at + 3] = Number(BigInt.asIntN(32, txid >> 32n))
    words[at + 4] = file.length
    this.#bytes.set(file, at * 4 + HEAD_SIZE)
    Atomics.add(words, at, 1)
    return true
  }

  /** The LTX file of a transaction, or undefined when it is not, or no longer, here. */
  find(slot: Slot, txid: Txid): Uint8Array | undefined {
    const low = Number(BigInt.asIntN(32, txid))
    const high = Number(BigInt.asIntN(32, txid >> 32n))
    const words = this.#words
    for (let place = 0; place < PLACE_COUNT; place++) {
      const at = place * PLACE_WORDS
      const before = Atomics.load(words, at)
      if (words[at + 1] !== (slot | 0) || words[at + 2] !== low || words[at + 3] !== high) continue
      if (before === 0 || before % 2 !== 0) continue
      const start = at * 4 + HEAD_SIZE
      const bytes = this.#bytes.slice(start, start + (words[at + 4] as number))
      if (Atomics.load(words, at) === before) return bytes
    }
    return undefined
  }
}
