/**
 * The position of every database, in memory that all threads share: any thread reads it without asking.
 *
 * A slot belongs to one database for the life of the process. It is written by one thread at a time (the fs
 * thread on a primary, the peer thread on a replica) and read by all, guarded by a sequence number:
 *
 *   0 sequence    odd while the slot is being written
 *   1,2 txid      low, high half
 *   3,4 checksum  low, high half
 *   5,6 time      of the last transaction, milliseconds since 1970, low, high half
 *   7 page size   bytes, 0 before the first transaction
 *   8 commit      pages after the last transaction, 0 when the database is dropped or new
 *   9,10 stored   the last TXID whose LTX file is there for others to read, low, high half
 *   11,12         checksum after it
 *   13 name size  bytes
 *   14… name      UTF-8, up to 255 bytes
 *
 * Word 0 of the memory is the count of slots in use, word 1 a counter of changes to wait on.
 */
import { assert } from "../lib/assert.ts"
import { LitefsError } from "../lib/errors.ts"
import type { Pos } from "../ltx/pos.ts"

const HEADER_WORDS = 16
const SLOT_WORDS = 80
const SLOT_COUNT_MAX = 16384
const NAME_SIZE_WORD = 13
const NAME_WORD = 14
const NAME_SIZE_MAX = (SLOT_WORDS - NAME_WORD) * 4

export interface DatabaseState {
  readonly pos: Pos
  readonly timestampMs: number
  readonly pageSize: number
  readonly commit: number
}

export interface SharedState extends DatabaseState {
  /** The position up to which LTX files are there to be read; it may be one transaction behind `pos`. */
  readonly stored: Pos
}

export type Slot = number

export class Positions {
  readonly memory: SharedArrayBuffer
  readonly #words: Int32Array
  readonly #bytes: Uint8Array
  readonly #slots = new Map<string, Slot>()
  readonly #names: string[] = []

  static create(): Positions {
    return new Positions(new SharedArrayBuffer((HEADER_WORDS + SLOT_WORDS * SLOT_COUNT_MAX) * 4))
  }

  constructor(memory: SharedArrayBuffer) {
    this.memory = memory
    this.#words = new Int32Array(memory)
    this.#bytes = new Uint8Array(memory)
  }

  /** The slot of a database, or undefined when no thread has added one. */
  find(name: string): Slot | undefined {
    return this.#slots.get(name) ?? (this.#refresh() ? this.#slots.get(name) : undefined)
  }

  /** The slot of a database, made when there is none. Only the thread that writes positions adds. */
  add(name: string): Slot {
    const found = this.find(name)
    if (found !== undefined) return found
    const slot = Atomics.load(this.#words, 0)
    if (slot === SLOT_COUNT_MAX) {
      throw new LitefsError("no-space", `Cannot add database "${name}": there are ${slot} already`)
    }
    const encoded = new TextEncoder().encode(name)
    assert(encoded.length <= NAME_SIZE_MAX, "the name was validated")
    const at = HEADER_WORDS + slot * SLOT_WORDS
    this.#bytes.set(encoded, (at + NAME_WORD) * 4)
    this.#words[at + NAME_SIZE_WORD] = encoded.length
    Atomics.store(this.#words, 0, slot + 1) // publishes the slot
    return must(this.find(name))
  }

  name(slot: Slot): string {
    if (slot >= this.#names.length) this.#refresh()
    return must(this.#names[slot])
  }

  get count(): number {
    return Atomics.load(this.#words, 0)
  }

  read(slot: Slot): SharedState {
    const at = HEADER_WORDS + slot * SLOT_WORDS
    const words = this.#words
    for (;;) {
      const before = Atomics.load(words, at)
      const state = {
        pos: { txid: u64(words, at + 1), checksum: u64(words, at + 3) },
        timestampMs: Number(u64(words, at + 5)),
        pageSize: words[at + 7] as number,
        commit: (words[at + 8] as number) >>> 0,
        stored: { txid: u64(words, at + 9), checksum: u64(words, at + 11) },
      }
      if (before % 2 === 0 && Atomics.load(words, at) === before) return state
    }
  }

  /** `stored` is given when the LTX file of the last transaction is there already. */
  write(slot: Slot, state: DatabaseState, stored: Pos | undefined): void {
    const at = HEADER_WORDS + slot * SLOT_WORDS
    const words = this.#words
    Atomics.add(words, at, 1)
    putPos(words, at + 1, state.pos)
    putU64(words, at + 5, BigInt(Math.round(state.timestampMs)))
    words[at + 7] = state.pageSize
    words[at + 8] = state.commit
    if (stored !== undefined) putPos(words, at + 9, stored)
    Atomics.add(words, at, 1)
    Atomics.add(words, 1, 1)
  }

  /** The LTX file of the last transaction is there. */
  markStored(slot: Slot): void {
    const { pos } = this.read(slot)
    const at = HEADER_WORDS + slot * SLOT_WORDS
    Atomics.add(this.#words, at, 1)
    putPos(this.#words, at + 9, pos)
    Atomics.add(this.#words, at, 1)
    Atomics.add(this.#words, 1, 1)
  }

  /** Grows with every write() of any thread: unchanged means that no position has changed. */
  get changeCount(): number {
    return Atomics.load(this.#words, 1)
  }

  /** True when slots were found that this thread had not seen. */
  #refresh(): boolean {
    const count = this.count
    const known = this.#names.length
    for (let slot = known; slot < count; slot++) {
      const at = HEADER_WORDS + slot * SLOT_WORDS
      const start = (at + NAME_WORD) * 4
      // TextDecoder does not take shared memory, so the bytes are copied.
      const encoded = this.#bytes.slice(start, start + (this.#words[at + NAME_SIZE_WORD] as number))
      const name = new TextDecoder().decode(encoded)
      this.#names.push(name)
      this.#slots.set(name, slot)
    }
    return count > known
  }
}

function must<T>(value: T | undefined): T {
  assert(value !== undefined, "the slot was added")
  return value
}

function u64(words: Int32Array, at: number): bigint {
  return (BigInt((words[at + 1] as number) >>> 0) << 32n) | BigInt((words[at] as number) >>> 0)
}

function putPos(words: Int32Array, at: number, pos: Pos): void {
  putU64(words, at, pos.txid)
  putU64(words, at + 2, pos.checksum)
}

function putU64(words: Int32Array, at: number, value: bigint): void {
  words[at] = Number(BigInt.asIntN(32, value))
  words[at + 1] = Number(BigInt.asIntN(32, value >> 32n))
}
