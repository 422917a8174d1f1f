/**
 * Reads an LTX file that arrives in pieces, split anywhere, and verifies it.
 *
 *               100 bytes         pgno 0            16 bytes
 *     header ─────────────▶ pages ───────▶ trailer ──────────▶ done
 *                           page ▸ pgno ▸ page …
 *
 * It verifies the header, the order of the pages, the LZ4 frame, and the checksum of the file. In a snapshot it also
 * verifies that all pages are there, that the first is that of a SQLite database, and that they sum up to its
 * post-apply checksum. The caller checks that the file follows on the position of a database.
 *
 * The pages come before the checksum at the end of the file is known: a caller does nothing with them that it cannot
 * undo until `trailer` has been called. A damaged file is a RangeError.
 */

import { assert, must } from "../lib/assert.ts"
import { Crc64 } from "../lib/codecs/crc64.ts"
import { Lz4FrameDecoder } from "../lib/codecs/lz4.ts"
import { Gather } from "../lib/gather.ts"
import { CHECKSUM_FLAG, ChecksumAccumulator } from "./checksum.ts"
import { firstPageProblem } from "./first-page.ts"
import {
  decodeLtxHeader,
  isCompressed,
  isSnapshot,
  LTX_HEADER_SIZE,
  type LtxHeader,
} from "./header.ts"
import { PageOrder } from "./page-order.ts"
import { formatChecksum } from "./pos.ts"
import {
  decodeLtxTrailer,
  LTX_TRAILER_SIZE,
  LTX_TRAILER_SUMMED_SIZE,
  type LtxTrailer,
} from "./trailer.ts"

export interface LtxHandler {
  header?(header: LtxHeader): void
  /** `data` is borrowed: valid until this returns. */
  page?(pgno: number, data: Uint8Array): void
  /** The whole file is verified. */
  trailer?(trailer: LtxTrailer): void
}

type State = "header" | "pages" | "trailer" | "done"

export class LtxDecoder {
  readonly #on: LtxHandler
  /** Collects parts of the file: header, trailer, and an uncompressed page block. */
  readonly #gather = new Gather()
  /** Collects parts of the page block, once it is decompressed. */
  readonly #pageGather = new Gather()
  readonly #lz4 = new Lz4FrameDecoder((content) => this.#pageBlock(content))
  readonly #crc = new Crc64()
  readonly #database = new ChecksumAccumulator()
  #state: State = "header"
  #header: LtxHeader | undefined
  #order: PageOrder | undefined
  /** The page whose data comes next; 0 when a page number does. */
  #pgno = 0
  #pageBlockEnded = false

  constructor(on: LtxHandler) {
    this.#on = on
  }

  get done(): boolean {
    return this.#state === "done"
  }

  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at += this.#push(bytes, at)
  }

  /** The input has ended. Throws unless the file has ended, too. */
  end(): void {
    if (this.#state !== "done") throw damaged(`it ends inside its ${this.#state}`)
  }

  /** Makes the decoder ready for another file. */
  reset(): void {
    this.#gather.reset()
    this.#pageGather.reset()
    this.#lz4.reset()
    this.#state = "header"
    this.#header = undefined
    this.#order = undefined
    this.#pgno = 0
    this.#pageBlockEnded = false
  }

  /** Takes some of `bytes` from `at` on and returns how many. */
  #push(bytes: Uint8Array, at: number): number {
    switch (this.#state) {
      case "header": {
        const record = this.#gather.take(bytes, at, LTX_HEADER_SIZE)
        if (record !== undefined) this.#readHeader(record)
        return this.#gather.used
      }
      case "pages":
        return isCompressed(this.#currentHeader())
          ? this.#pushLz4(bytes, at)
          : this.#pushPages(bytes, at)
      case "trailer": {
        const record = this.#gather.take(bytes, at, LTX_TRAILER_SIZE)
        if (record !== undefined) this.#readTrailer(record)
        return this.#gather.used
      }
      case "done":
        throw damaged(`${bytes.length - at} bytes after its trailer`)
    }
  }

  #pushLz4(bytes: Uint8Array, at: number): number {
    const used = this.#lz4.push(bytes.subarray(at))
    if (this.#lz4.finished) {
      if (!this.#pageBlockEnded) throw damaged("its LZ4 frame ends inside the page block")
      this.#state = "trailer"
    }
    return used
  }

  #pushPages(bytes: Uint8Array, at: number): number {
    const used = this.#pushPageRecord(this.#gather, bytes, at)
    if (this.#pageBlockEnded) this.#state = "trailer"
    return used
  }

  #pageBlock(content: Uint8Array): void {
    for (let at = 0; at < content.length; ) {
      if (this.#pageBlockEnded) throw damaged("its LZ4 frame goes on after the page block")
      at += this.#pushPageRecord(this.#pageGather, content, at)
    }
  }

  /** Takes a page number or the data of a page. */
  #pushPageRecord(gather: Gather, bytes: Uint8Array, at: number): number {
    if (this.#pgno === 0) {
      const pgno = gather.takeU32BE(bytes, at)
      if (pgno !== undefined) this.#readPgno(pgno)
    } else {
      const page = gather.take(bytes, at, this.#currentHeader().pageSize)
      if (page !== undefined) this.#readPage(page)
    }
    return gather.used
  }

  #readHeader(record: Uint8Array): void {
    const header = decodeLtxHeader(record)
    this.#crc.reset().update(record)
    this.#database.reset()
    this.#header = header
    this.#order = new PageOrder(header)
    this.#state = "pages"
    this.#on.header?.(header)
  }

  #readPgno(pgno: number): void {
    const order = must(this.#order, "page order")
    this.#crc.updateU32BE(pgno)
    this.#pageBlockEnded = pgno === 0
    const problem = this.#pageBlockEnded ? order.end() : order.next(pgno)
    if (problem !== undefined) throw damaged(problem)
    this.#pgno = pgno
  }

  #readPage(page: Uint8Array): void {
    const pgno = this.#pgno
    this.#pgno = 0
    this.#crc.update(page)
    if (isSnapshot(this.#currentHeader())) this.#checkSnapshotPage(pgno, page)
    this.#on.page?.(pgno, page)
  }

  #checkSnapshotPage(pgno: number, page: Uint8Array): void {
    const problem = pgno === 1 ? firstPageProblem(page, page.length) : undefined
    if (problem !== undefined) throw damaged(problem)
    this.#database.togglePage(pgno, page)
  }

  #readTrailer(record: Uint8Array): void {
    const trailer = decodeLtxTrailer(record)
    this.#crc.update(record, 0, LTX_TRAILER_SUMMED_SIZE)
    expectChecksum("file checksum", CHECKSUM_FLAG | this.#crc.digest(), trailer.fileChecksum)
    if (isSnapshot(this.#currentHeader())) {
      expectChecksum("post-apply checksum", this.#database.checksum, trailer.postApplyChecksum)
    }
    this.#state = "done"
    this.#on.trailer?.(trailer)
  }

  #currentHeader(): LtxHeader {
    assert(this.#header !== undefined, "An LTX page comes after the header")
    return this.#header
  }
}

function expectChecksum(what: string, computed: bigint, stored: bigint): void {
  if (computed === stored) return
  const [is, should] = [formatChecksum(computed), formatChecksum(stored)]
  throw damaged(`its ${what} is ${is}, expected ${should}`)
}

function damaged(problem: string): RangeError {
  return new RangeError(`Cannot decode LTX file: ${problem}`)
}
