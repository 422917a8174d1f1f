/**
 * The counts of the fs thread, in memory that the main thread reads when it is asked for metrics.
 *
 * Only one thread writes a word, so an increment is a load and a store, without a lock; a reader may miss the last one.
 * Numbers are doubles: whole up to 2^53, and nobody sees an aligned one half written.
 *
 *   0…63    requests of the kernel, by opcode
 *   64…80   histogram of the time that a transaction took to become durable
 *   93, 94  size of the JavaScript heap of the fs thread and of the peer thread at the last request, bytes
 *   96…     per database, by slot: COLUMNS
 */

import { HISTOGRAM_WORDS, Histogram } from "../lib/histogram.ts"
import { heapUsed } from "../sys/process/process.ts"
import { SLOT_COUNT_MAX, type Slot, slotIndex } from "./positions.ts"

const OPCODE_COUNT = 64
const HISTOGRAM_START = OPCODE_COUNT
const HEAP_START = 93
const SLOT_START = 96

/** The counts of each database. */
export const Column = {
  DATABASE_WRITES: 0,
  JOURNAL_WRITES: 1,
  WAL_WRITES: 2,
  SHM_WRITES: 3,
  COMMITS: 4,
  LTX_BYTES: 5,
} as const

const COLUMN_COUNT = 6

export type Column = (typeof Column)[keyof typeof Column]

/** The heaps of threads other than the main one. */
const HeapOf = { fs: 0, peer: 1 } as const

export class Counters {
  readonly memory: SharedArrayBuffer
  readonly requests: Float64Array
  readonly commitTime: Histogram
  readonly #words: Float64Array

  static create(): Counters {
    return new Counters(new SharedArrayBuffer((SLOT_START + SLOT_COUNT_MAX * COLUMN_COUNT) * 8))
  }

  constructor(memory: SharedArrayBuffer) {
    this.memory = memory
    this.#words = new Float64Array(memory)
    this.requests = this.#words.subarray(0, OPCODE_COUNT)
    const histogram = this.#words.subarray(HISTOGRAM_START, HISTOGRAM_START + HISTOGRAM_WORDS)
    this.commitTime = new Histogram(histogram)
  }

  /** Measures the heap of the calling thread. */
  measureHeap(thread: keyof typeof HeapOf): void {
    const used = heapUsed()
    if (used !== undefined) this.#words[HEAP_START + HeapOf[thread]] = used
  }

  heapSize(thread: keyof typeof HeapOf): number {
    return this.#words[HEAP_START + HeapOf[thread]] as number
  }

  add(slot: Slot, column: Column, count: number): void {
    const at = startOf(slot) + column
    this.#words[at] = (this.#words[at] as number) + count
  }

  read(slot: Slot, column: Column): number {
    return this.#words[startOf(slot) + column] as number
  }

  /** The slot belongs to another database from here on. */
  clear(slot: Slot): void {
    this.#words.fill(0, startOf(slot), startOf(slot) + COLUMN_COUNT)
  }
}

function startOf(slot: Slot): number {
  return SLOT_START + slotIndex(slot) * COLUMN_COUNT
}
