/**
 * The position of every database, in memory that all threads share: any thread reads it without asking.
 *
 * A slot belongs to one database until that is gone for good. Then it is free for another, under another number: a
 * `Slot` holds where the slot lies and how often it was taken and freed. A holder of an earlier database's number reads
 * that there is nothing, never what belongs to the next database.
 *
 * It is written by one thread at a time (the fs thread on a primary, the peer thread on a replica) and read by all,
 * guarded by a sequence number (seqlock.ts):
 *
 *   0 sequence    odd while the slot is being written
 *   1,2 txid      low, high half
 *   3,4 checksum  low, high half
 *   5,6 time      of the last transaction, milliseconds since 1970, low, high half
 *   7 page size   bytes, 0 before the first transaction
 *   8 commit      pages after the last transaction, 0 when the database is dropped or new
 *   9,10 stored   the last TXID whose LTX file others can read, low, high half
 *   11,12         checksum after it
 *   13 life       grows when the slot is taken and when it is freed: odd while it is taken
 *   14 name size  bytes
 *   15… name      UTF-8, up to 255 bytes; written while the slot is free
 *
 * Word 0 of the memory counts the slots that were ever in use, word 2 the slots taken and freed. Behind the slots lies
 * a list of those that have changed lately (change-ring.ts).
 */
import { assert, must } from "../lib/assert.ts"
import { LitefsError } from "../lib/errors.ts"
import { type Pos, ZERO_POS } from "../ltx/pos.ts"
import { ANY_PLACE, CHANGE_RING_WORDS, ChangeRing } from "./change-ring.ts"
import { loadU64, readGuarded, storeU64, writeGuarded } from "./seqlock.ts"

const HEADER_WORDS = 16
const SLOT_WORDS = 80
const COUNT_WORD = 0
const TAKEN_WORD = 2
const INDEX_BITS = 14
export const SLOT_COUNT_MAX = 2 ** INDEX_BITS
const RING_START = HEADER_WORDS + SLOT_WORDS * SLOT_COUNT_MAX
const LIFE_COUNT = 2 ** (32 - INDEX_BITS)
const STATE_WORDS = 12 // after the sequence
const LIFE_WORD = 13
const NAME_SIZE_WORD = 14
const NAME_WORD = 15
const NAME_SIZE_MAX = (SLOT_WORDS - NAME_WORD) * 4

export interface DatabaseState {
  readonly pos: Pos
  readonly timestampMs: number
  readonly pageSize: number
  readonly commit: number
}

export interface SharedState extends DatabaseState {
  /** The position up to which LTX files can be read; it may be one transaction behind `pos`. */
  readonly stored: Pos
}

/** An unsigned number of 32 bits. */
export type Slot = number

/** Where the slot lies. Once it is free, another database may lie there. */
export function slotIndex(slot: Slot): number {
  return slot % SLOT_COUNT_MAX
}

export class Positions {
  readonly memory: SharedArrayBuffer
  readonly #words: Int32Array
  readonly #bytes: Uint8Array
  readonly #changes: ChangeRing
  /** The taken slots that this thread has seen. */
  readonly #slots = new Map<string, Slot>()
  readonly #names: string[] = [] // by index, like #lives
  readonly #lives = new Int32Array(SLOT_COUNT_MAX)
  #seenTaken = 0
  /** Slots that this thread has freed, and another may have taken since. */
  readonly #freed: number[] = []

  static create(): Positions {
    return new Positions(new SharedArrayBuffer((RING_START + CHANGE_RING_WORDS) * 4))
  }

  constructor(memory: SharedArrayBuffer) {
    this.memory = memory
    this.#words = new Int32Array(memory)
    this.#bytes = new Uint8Array(memory)
    this.#changes = new ChangeRing(this.#words.subarray(RING_START))
  }

  /** The slot of a database, or undefined when no thread has added one. */
  find(name: string): Slot | undefined {
    this.#refresh()
    return this.#slots.get(name)
  }

  /** Throws when add() would: before anything of the database is on the disk. */
  checkRoom(name: string): void {
    if (this.find(name) === undefined && this.#slots.size >= SLOT_COUNT_MAX) throw this.#full(name)
  }

  /** The slot of a database, made when there is none. Only the thread that writes positions adds. */
  add(name: string): Slot {
    const found = this.find(name)
    if (found !== undefined) return found
    const index = this.#freeIndex()
    if (index === undefined) throw this.#full(name)
    const encoded = new TextEncoder().encode(name)
    assert(encoded.length <= NAME_SIZE_MAX, "the name was validated")
    const words = this.#words
    const at = wordOf(index)
    this.#bytes.set(encoded, (at + NAME_WORD) * 4)
    Atomics.store(words, at + NAME_SIZE_WORD, encoded.length)
    if (index >= Atomics.load(words, COUNT_WORD)) Atomics.store(words, COUNT_WORD, index + 1)
    Atomics.store(words, at + LIFE_WORD, nextLife(Atomics.load(words, at + LIFE_WORD))) // publishes it
    this.#changed(index)
    return must(this.#slots.get(name), "slot that was added")
  }

  /** The database is gone for good. Only the thread that writes positions frees. */
  free(slot: Slot): void {
    if (!this.#isTaken(slot)) return
    const words = this.#words
    const at = wordOf(slotIndex(slot))
    writeGuarded(words, at, () => {
      Atomics.store(words, at + LIFE_WORD, nextLife(Atomics.load(words, at + LIFE_WORD)))
      for (let word = at + 1; word <= at + STATE_WORDS; word++) Atomics.store(words, word, 0)
    })
    this.#refresh()
    this.#changed(slotIndex(slot))
    this.#freed.push(slotIndex(slot))
    this.#changes.note(ANY_PLACE) // its place would not tell anybody its name
  }

  /** All taken slots. */
  entries(): Iterable<readonly [name: string, slot: Slot]> {
    this.#refresh()
    return this.#slots
  }

  get count(): number {
    this.#refresh()
    return this.#slots.size
  }

  /** Zeros when the slot is free, or belongs to another database. */
  read(slot: Slot): SharedState {
    const at = wordOf(slotIndex(slot))
    const words = this.#words
    return readGuarded(words, at, () => {
      if (!this.#isTaken(slot)) return NOTHING
      return {
        pos: loadPos(words, at + 1),
        timestampMs: Number(loadU64(words, at + 5)),
        pageSize: Atomics.load(words, at + 7),
        commit: Atomics.load(words, at + 8) >>> 0,
        stored: loadPos(words, at + 9),
      }
    })
  }

  /** `stored` is given when the LTX file of the last transaction already exists. */
  write(slot: Slot, state: DatabaseState, stored: Pos | undefined): void {
    if (!this.#isTaken(slot)) return
    const at = wordOf(slotIndex(slot))
    const words = this.#words
    const timestampMs = BigInt(Math.round(state.timestampMs))
    writeGuarded(words, at, () => {
      storePos(words, at + 1, state.pos)
      storeU64(words, at + 5, timestampMs)
      Atomics.store(words, at + 7, state.pageSize)
      Atomics.store(words, at + 8, state.commit)
      if (stored !== undefined) storePos(words, at + 9, stored)
    })
    this.#changes.note(slotIndex(slot))
  }

  /** The LTX file of the last transaction exists now. */
  markStored(slot: Slot): void {
    if (!this.#isTaken(slot)) return
    const { pos } = this.read(slot)
    const at = wordOf(slotIndex(slot))
    writeGuarded(this.#words, at, () => storePos(this.#words, at + 9, pos))
    this.#changes.note(slotIndex(slot))
  }

  /** Grows with every write() of any thread: unchanged means that no position has changed. */
  get changeCount(): number {
    return this.#changes.count
  }

  /** The databases that were written since `changeCount` had that value; undefined when it may be any. */
  changedSince(changeCount: number): string[] | undefined {
    const indexes = this.#changes.since(changeCount)
    if (indexes === undefined) return undefined
    this.#refresh()
    return [...indexes].flatMap((index) => {
      const name = this.#names[index]
      return name === undefined || name === "" ? [] : [name]
    })
  }

  #full(name: string): LitefsError {
    const count = this.#slots.size
    return new LitefsError("no-space", `Cannot add database "${name}": there are ${count} already`)
  }

  #isTaken(slot: Slot): boolean {
    return Atomics.load(this.#words, wordOf(slotIndex(slot)) + LIFE_WORD) === lifeOf(slot)
  }

  /** A free slot, or else one that was never in use. */
  #freeIndex(): number | undefined {
    const count = Atomics.load(this.#words, COUNT_WORD)
    for (let index = this.#freed.pop(); index !== undefined; index = this.#freed.pop()) {
      if (!isLifeTaken(this.#lifeAt(index))) return index
    }
    if (this.#slots.size === count) return count < SLOT_COUNT_MAX ? count : undefined
    for (let index = 0; index < count; index++) {
      if (!isLifeTaken(this.#lifeAt(index))) return index
    }
    return undefined
  }

  /** This thread has taken or freed the slot, and has seen the changes of others before. */
  #changed(index: number): void {
    this.#look(index)
    this.#seenTaken = (Atomics.add(this.#words, TAKEN_WORD, 1) + 1) | 0
  }

  /** Looks at slots that other threads have taken or freed since the last look. */
  #refresh(): void {
    const taken = Atomics.load(this.#words, TAKEN_WORD)
    if (taken === this.#seenTaken) return
    const count = Atomics.load(this.#words, COUNT_WORD)
    for (let index = 0; index < count; index++) {
      if (this.#lives[index] !== this.#lifeAt(index)) this.#look(index)
    }
    this.#seenTaken = taken
  }

  #look(index: number): void {
    let life = this.#lifeAt(index)
    let name = ""
    while (isLifeTaken(life)) {
      name = this.#nameAt(wordOf(index))
      const after = this.#lifeAt(index)
      if (after === life) break
      life = after
    }
    const before = this.#names[index]
    const slotBefore = slotOf(index, this.#lives[index] as number)
    // The name may have another slot by now.
    if (before !== undefined && this.#slots.get(before) === slotBefore) this.#slots.delete(before)
    this.#names[index] = name
    this.#lives[index] = life
    if (isLifeTaken(life)) this.#slots.set(name, slotOf(index, life))
  }

  #lifeAt(index: number): number {
    return Atomics.load(this.#words, wordOf(index) + LIFE_WORD)
  }

  #nameAt(at: number): string {
    const start = (at + NAME_WORD) * 4
    // TextDecoder does not take shared memory, so the bytes are copied.
    const encoded = this.#bytes.slice(start, start + Atomics.load(this.#words, at + NAME_SIZE_WORD))
    return new TextDecoder().decode(encoded)
  }
}

const NOTHING: SharedState = {
  pos: ZERO_POS,
  timestampMs: 0,
  pageSize: 0,
  commit: 0,
  stored: ZERO_POS,
}

function wordOf(index: number): number {
  return HEADER_WORDS + index * SLOT_WORDS
}

function slotOf(index: number, life: number): Slot {
  return life * SLOT_COUNT_MAX + index
}

function lifeOf(slot: Slot): number {
  return Math.floor(slot / SLOT_COUNT_MAX)
}

function nextLife(life: number): number {
  return (life + 1) % LIFE_COUNT
}

function isLifeTaken(life: number): boolean {
  return life % 2 === 1
}

function loadPos(words: Int32Array, at: number): Pos {
  return { txid: loadU64(words, at), checksum: loadU64(words, at + 2) }
}

function storePos(words: Int32Array, at: number, pos: Pos): void {
  storeU64(words, at, pos.txid)
  storeU64(words, at + 2, pos.checksum)
}
