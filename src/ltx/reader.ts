/**
 * An LTX file that gives its next page on demand, for callers that read several at once.
 *
 * The input is any iterable of its pieces, and nothing is taken from it before it is needed. The file is verified as by
 * `LtxDecoder`, and as there it is known to be whole only when `trailer` is set.
 */

import { must } from "../lib/assert.ts"
import { LtxDecoder } from "./decoder.ts"
import type { LtxHeader } from "./header.ts"
import type { LtxTrailer } from "./trailer.ts"

export interface LtxPage {
  readonly pgno: number
  readonly data: Uint8Array
}

/** How much input is decoded at a time. Its decompressed pages are held in memory. */
const STEP_SIZE = 4096

export class LtxReader {
  readonly #pieces: Iterator<Uint8Array>
  readonly #decoder: LtxDecoder
  readonly #pages: LtxPage[] = []
  #nextPage = 0
  #piece: Uint8Array = new Uint8Array(0)
  #header: LtxHeader | undefined
  #trailer: LtxTrailer | undefined

  constructor(pieces: Iterable<Uint8Array>) {
    this.#pieces = pieces[Symbol.iterator]()
    this.#decoder = new LtxDecoder({
      header: (header) => {
        this.#header = header
      },
      page: (pgno, data) => {
        this.#pages.push({ pgno, data: data.slice() })
      },
      trailer: (trailer) => {
        this.#trailer = trailer
      },
    })
    while (this.#header === undefined && this.#step());
  }

  get header(): LtxHeader {
    return must(this.#header, "LTX header")
  }

  /** Set once `next` has come to the end, or earlier. */
  get trailer(): LtxTrailer | undefined {
    return this.#trailer
  }

  /** The next page; undefined after the last one, when the file is verified. */
  next(): LtxPage | undefined {
    while (this.#nextPage === this.#pages.length) {
      this.#pages.length = 0
      this.#nextPage = 0
      if (!this.#step()) return undefined
    }
    return this.#pages[this.#nextPage++]
  }

  /** Decodes some more. False at the end of the input. */
  #step(): boolean {
    while (this.#piece.length === 0) {
      const piece = this.#pieces.next()
      if (piece.done === true) {
        this.#decoder.end()
        return false
      }
      this.#piece = piece.value
    }
    const step = this.#piece.subarray(0, STEP_SIZE)
    this.#piece = this.#piece.subarray(step.length)
    this.#decoder.push(step)
    return true
  }
}
