/**
 * The writes of an open rollback transaction to the database file, kept in memory until it commits.
 *
 * The database file then only ever holds committed transactions: no crash leaves half a transaction in it, its journal
 * need not be durable, and SQLite's syncs need not be done. A rollback costs nothing.
 *
 * Pages are held whole. A write of partial pages, or of more pages than fit, is not taken: what is held then goes
 * to the file as SQLite means it to, and makes room for more (`Capture`). Zeros beyond the end are an exception: SQLite makes a file longer with
 * them (SQLITE_FCNTL_CHUNK_SIZE), and they count as a change of size.
 *
 * Pages that were cut off do not come back when the file grows again: beyond `cut`, the file counts for nothing.
 */
import { isZero } from "../lib/bytes.ts"
import { allocate, empty, type Region } from "../sys/memory.ts"

/** For all databases of the process together. */
const SIZE_MAX = 64 * 1024 * 1024
const BLOCK_SIZE = 1024 * 1024

/** This many unused ones keep their memory: enough for transactions of usual size. */
const KEPT_BLOCKS = 8

/** Blocks that no overlay uses. */
const pool: Region[] = []
const emptied: Region[] = []
let allocatedSize = 0

export class Overlay {
  readonly #blocks: Region[] = []
  readonly #slots = new Map<number, number>() // pgno → slot
  #pageSize = 0
  #nextSlot = 0
  #size: number | undefined
  #cut = Number.POSITIVE_INFINITY

  get isEmpty(): boolean {
    return this.#size === undefined
  }

  /**
   * Size of the database file as the transaction sees it, bytes; undefined when the transaction has changed nothing.
   */
  get size(): number | undefined {
    return this.#size
  }

  /** Of the pages that are held, bytes; 0 when there are none. */
  get pageSize(): number {
    return this.#pageSize
  }

  /** Bytes of the file below that still count. */
  get cut(): number {
    return this.#cut
  }

  /** False when the write cannot be held. `fileSize` is the size of the file before. */
  write(offset: number, size: number, from: Region, pageSize: number, fileSize: number): boolean {
    if (pageSize === 0 || (this.#pageSize !== 0 && this.#pageSize !== pageSize)) return false
    if (offset % pageSize !== 0 || size % pageSize !== 0) {
      const isGrowth = offset >= (this.#size ?? fileSize) && isZero(from.bytes.subarray(0, size))
      if (isGrowth) this.#size = offset + size
      return isGrowth
    }
    this.#pageSize = pageSize
    for (let done = 0; done < size; done += pageSize) {
      const pgno = (offset + done) / pageSize + 1
      const target = this.#make(pgno)
      if (target === undefined) return false
      target.set(from.bytes.subarray(done, done + pageSize))
    }
    this.#size = Math.max(this.#size ?? fileSize, offset + size)
    return true
  }

  /** Cuts the file, as the transaction sees it, or makes it longer. */
  truncate(size: number): void {
    this.#size = size
    this.#cut = Math.min(this.#cut, size)
    if (this.#pageSize === 0) return
    const count = Math.ceil(size / this.#pageSize)
    for (const pgno of this.#slots.keys()) if (pgno > count) this.#slots.delete(pgno)
    if (size % this.#pageSize !== 0) this.page(count)?.fill(0, size % this.#pageSize)
  }

  /** Puts the transaction's writes over what was read from the file: `size` bytes at `offset`. */
  patch(into: Uint8Array, offset: number, size: number): void {
    if (this.#slots.size === 0 || size === 0) return
    const first = Math.floor(offset / this.#pageSize) + 1
    const last = Math.floor((offset + size - 1) / this.#pageSize) + 1
    for (let pgno = first; pgno <= last; pgno++) {
      const page = this.page(pgno)
      if (page === undefined) continue
      const start = (pgno - 1) * this.#pageSize
      const from = Math.max(start, offset)
      const to = Math.min(start + this.#pageSize, offset + size)
      into.set(page.subarray(from - start, to - start), from - offset)
    }
  }

  /** The content of a page that the transaction has written. */
  page(pgno: number): Uint8Array | undefined {
    const slot = this.#slots.get(pgno)
    return slot === undefined ? undefined : this.#slot(slot).bytes
  }

  /** Pages that the transaction has written, in no order. Their memory is good until the next change. */
  *pages(): Iterable<[pgno: number, page: Region]> {
    for (const [pgno, slot] of this.#slots) yield [pgno, this.#slot(slot)]
  }

  clear(): void {
    for (const block of this.#blocks.splice(0)) {
      if (pool.length < KEPT_BLOCKS) pool.push(block)
      else {
        empty(block)
        emptied.push(block)
      }
    }
    this.#slots.clear()
    this.#nextSlot = 0
    this.#pageSize = 0
    this.#size = undefined
    this.#cut = Number.POSITIVE_INFINITY
  }

  #make(pgno: number): Uint8Array | undefined {
    const known = this.page(pgno)
    if (known !== undefined) return known
    const slot = this.#nextSlot
    const perBlock = BLOCK_SIZE / this.#pageSize
    if (slot >= this.#blocks.length * perBlock && !this.#addBlock()) return undefined
    this.#slots.set(pgno, slot)
    this.#nextSlot = slot + 1
    return this.#slot(slot).bytes
  }

  #addBlock(): boolean {
    const block = pool.pop() ?? emptied.pop()
    if (block !== undefined) {
      this.#blocks.push(block)
      return true
    }
    if (allocatedSize + BLOCK_SIZE > SIZE_MAX) return false
    allocatedSize += BLOCK_SIZE
    this.#blocks.push(allocate(BLOCK_SIZE))
    return true
  }

  #slot(slot: number): Region {
    const perBlock = BLOCK_SIZE / this.#pageSize
    const block = this.#blocks[Math.floor(slot / perBlock)] as Region
    const start = (slot % perBlock) * this.#pageSize
    return {
      address: block.address + start,
      bytes: block.bytes.subarray(start, start + this.#pageSize),
    }
  }
}
