/**
 * The rolling checksum of one database.
 *
 * Every page has a checksum; a database's checksum is the XOR of them all, with the top bit set. One sum per
 * page is kept, so a transaction costs only the pages it touches: post = pre ⊕ old sums ⊕ new sums.
 *
 * 1. The lock page is never summed: its sum stays zero.
 * 2. Sums of pages beyond `pageCount` are zero, so shrinking needs no special case.
 *
 * The sums live in shared memory (8 bytes a page: low word, high word), so that a role change can hand them
 * from the thread that captures to the thread that applies. One thread uses them at a time.
 */
import { ChecksumAccumulator, type Sum, writePageChecksum } from "../ltx/checksum.ts"

const sum = new Uint32Array(2)

export interface SharedChecksums {
  readonly words: SharedArrayBuffer
  readonly pageCount: number
  readonly hi: number
  readonly lo: number
}

export class PageChecksums {
  #words: Uint32Array<SharedArrayBuffer>
  #pageCount: number
  #hi = 0
  #lo = 0

  constructor(pageCount = 0) {
    this.#words = new Uint32Array(new SharedArrayBuffer(Math.max(pageCount, 1024) * 8))
    this.#pageCount = 0
    this.resize(pageCount)
  }

  /** From what copyTo() wrote: 8 bytes a page. */
  static from(bytes: Uint8Array): PageChecksums {
    const words = new Uint32Array(bytes.slice().buffer)
    const checksums = new PageChecksums(words.length / 2)
    for (let index = 0; index < words.length; index += 2) {
      checksums.set(index / 2 + 1, words[index + 1] as number, words[index] as number)
    }
    return checksums
  }

  /** Takes over the checksums of another thread, which no longer uses them. */
  static of({ words, pageCount, hi, lo }: SharedChecksums): PageChecksums {
    const checksums = new PageChecksums()
    checksums.#words = new Uint32Array(words)
    checksums.#pageCount = pageCount
    checksums.#hi = hi
    checksums.#lo = lo
    return checksums
  }

  /** For another thread; this one no longer uses them. */
  get shared(): SharedChecksums {
    const words = this.#words.buffer
    return { words, pageCount: this.#pageCount, hi: this.#hi, lo: this.#lo }
  }

  copyTo(bytes: Uint8Array): void {
    const { buffer, byteOffset } = this.#words
    bytes.set(new Uint8Array(buffer, byteOffset, this.#pageCount * 8))
  }

  get pageCount(): number {
    return this.#pageCount
  }

  /** The database's checksum. */
  get total(): bigint {
    return (BigInt((this.#hi | 0x80000000) >>> 0) << 32n) | BigInt(this.#lo >>> 0)
  }

  /** High half of a page's sum; 0 for a page that has none. */
  hi(pgno: number): number {
    return pgno <= this.#pageCount ? (this.#words[pgno * 2 - 1] as number) : 0
  }

  lo(pgno: number): number {
    return pgno <= this.#pageCount ? (this.#words[pgno * 2 - 2] as number) : 0
  }

  /** Sets a page's sum and the total with it. Callers resize() first when the page is new. */
  set(pgno: number, hi: number, lo: number): void {
    const index = pgno * 2 - 2
    this.#lo ^= (this.#words[index] as number) ^ lo
    this.#hi ^= (this.#words[index + 1] as number) ^ hi
    this.#words[index] = lo
    this.#words[index + 1] = hi
  }

  /** The same with the sum of `bytes[start, end)`. */
  setPage(pgno: number, bytes: Uint8Array, start = 0, end = bytes.length): void {
    writePageChecksum(sum, pgno, bytes, start, end)
    this.set(pgno, sum[0] as number, sum[1] as number)
  }

  sumOf(pgno: number): Sum {
    return [this.hi(pgno), this.lo(pgno)]
  }

  has(pgno: number, [hi, lo]: Sum): boolean {
    return this.hi(pgno) === hi && this.lo(pgno) === lo
  }

  /** The checksum of a database of the first `pageCount` pages. */
  totalOf(pageCount: number): bigint {
    const total = new ChecksumAccumulator().reset()
    for (let pgno = 1; pgno <= pageCount; pgno++) total.toggle(this.hi(pgno), this.lo(pgno))
    return total.checksum
  }

  /** Pages beyond `pageCount` lose their sums; pages that are new have none until set(). */
  resize(pageCount: number): void {
    for (let pgno = pageCount + 1; pgno <= this.#pageCount; pgno++) this.set(pgno, 0, 0)
    if (pageCount * 2 > this.#words.length) {
      const size = Math.max(pageCount, Math.ceil(this.#words.length * 0.75)) * 2
      const grown = new Uint32Array(new SharedArrayBuffer(size * 4))
      grown.set(this.#words)
      this.#words = grown
    }
    this.#pageCount = pageCount
  }

  clear(): void {
    this.resize(0)
  }
}
