/**
 * Which page may come next in the page block of an LTX file. The encoder and the decoder share these rules.
 *
 * 1. Page numbers rise, from 1 to at most `commit`.
 * 2. The lock page is never there.
 * 3. A snapshot leaves out no page but the lock page.
 */

import { lockPgno } from "./checksum.ts"
import { isSnapshot, type LtxHeader } from "./header.ts"

export class PageOrder {
  readonly #commit: number
  readonly #lockPgno: number
  readonly #snapshot: boolean
  #last = 0

  constructor(header: LtxHeader) {
    this.#commit = header.commit
    this.#lockPgno = lockPgno(header.pageSize)
    this.#snapshot = isSnapshot(header)
  }

  /** Takes the next page. Returns what is wrong with it, if anything. */
  next(pgno: number): string | undefined {
    if (pgno <= this.#last) return `page ${pgno} comes after page ${this.#last}`
    if (pgno > this.#commit) return `page ${pgno} is beyond the database of ${this.#commit} pages`
    if (pgno === this.#lockPgno) return `page ${pgno} is the lock page`
    if (this.#snapshot && pgno !== this.#afterLast()) {
      return `page ${this.#afterLast()} of a snapshot is missing`
    }
    this.#last = pgno
    return undefined
  }

  /** What is wrong with ending here, if anything. */
  end(): string | undefined {
    if (this.#snapshot && this.#afterLast() <= this.#commit) {
      return `page ${this.#afterLast()} of a snapshot is missing`
    }
    return undefined
  }

  #afterLast(): number {
    return this.#last + 1 === this.#lockPgno ? this.#last + 2 : this.#last + 1
  }
}
