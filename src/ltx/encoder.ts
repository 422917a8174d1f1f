/**
 * Writes an LTX file as a stream.
 *
 *              header()            close()
 *     header ───────────▶ pages ───────────▶ closed
 *                         page() stays
 *
 * The file is header, page block, trailer. The page block is `u32 pgno ‖ page` for each page, and a zero pgno ends it.
 * With LTX_FLAG_COMPRESSED all of it, including the zero, is one LZ4 frame. `reset` makes the encoder ready for another
 * file and keeps its buffers: a commit should not allocate 128 KiB.
 *
 * Wrong use is an AssertionError. The caller is responsible for a right post-apply checksum.
 */

import { assert, must } from "../lib/assert.ts"
import { writeU32BE } from "../lib/bytes.ts"
import { Crc64 } from "../lib/codecs/crc64.ts"
import { type ByteSink, Lz4FrameEncoder } from "../lib/codecs/lz4.ts"
import { CHECKSUM_FLAG } from "./checksum.ts"
import { encodeLtxHeader, isCompressed, type LtxHeader } from "./header.ts"
import { PageOrder } from "./page-order.ts"
import type { Checksum } from "./pos.ts"
import { encodeLtxTrailer, LTX_TRAILER_SUMMED_SIZE, type LtxTrailer } from "./trailer.ts"

type State =
  | { readonly kind: "header" }
  | { readonly kind: "pages"; readonly header: LtxHeader; readonly order: PageOrder }
  | { readonly kind: "closed" }

export class LtxEncoder {
  readonly #sink: ByteSink
  readonly #crc = new Crc64()
  readonly #pgno = new Uint8Array(4)
  #lz4: Lz4FrameEncoder | undefined
  #writePageBlock: ByteSink
  #state: State = { kind: "header" }

  /** `sink` borrows its bytes: they are valid until it returns. */
  constructor(sink: ByteSink) {
    this.#sink = sink
    this.#writePageBlock = sink
  }

  header(header: LtxHeader): void {
    assert(this.#state.kind === "header", `Cannot encode LTX header: state is ${this.#state.kind}`)
    const bytes = encodeLtxHeader(header)
    this.#crc.reset().update(bytes)
    this.#writePageBlock = isCompressed(header) ? this.#compressedSink() : this.#sink
    this.#state = { kind: "pages", header, order: new PageOrder(header) }
    this.#sink(bytes)
  }

  page(pgno: number, data: Uint8Array): void {
    const state = this.#state
    assert(state.kind === "pages", `Cannot encode LTX page: state is ${state.kind}`)
    const { pageSize } = state.header
    if (data.length !== pageSize) {
      assert(false, `Cannot encode LTX page: it has ${data.length} bytes, page size is ${pageSize}`)
    }
    const problem = state.order.next(pgno)
    if (problem !== undefined) assert(false, `Cannot encode LTX page: ${problem}`)
    this.#writePgno(pgno)
    this.#crc.update(data)
    this.#writePageBlock(data)
  }

  close(postApplyChecksum: Checksum): LtxTrailer {
    const state = this.#state
    assert(state.kind === "pages", `Cannot close LTX file: state is ${state.kind}`)
    const problem = state.order.end()
    assert(problem === undefined, `Cannot close LTX file: ${problem}`)
    this.#writePgno(0)
    if (isCompressed(state.header)) must(this.#lz4, "LZ4 frame").end()
    const trailer = this.#trailer(postApplyChecksum)
    this.#state = { kind: "closed" }
    this.#sink(encodeLtxTrailer(trailer))
    return trailer
  }

  /** Starts over, whether the last file was closed or abandoned. */
  reset(): void {
    this.#lz4?.reset()
    this.#state = { kind: "header" }
  }

  #writePgno(pgno: number): void {
    writeU32BE(this.#pgno, 0, pgno)
    this.#crc.updateU32BE(pgno)
    this.#writePageBlock(this.#pgno)
  }

  #compressedSink(): ByteSink {
    this.#lz4 ??= new Lz4FrameEncoder(this.#sink)
    const lz4 = this.#lz4
    return (bytes) => lz4.write(bytes)
  }

  #trailer(postApplyChecksum: Checksum): LtxTrailer {
    const unsummed = { postApplyChecksum, fileChecksum: CHECKSUM_FLAG }
    this.#crc.update(encodeLtxTrailer(unsummed), 0, LTX_TRAILER_SUMMED_SIZE)
    return { postApplyChecksum, fileChecksum: CHECKSUM_FLAG | this.#crc.digest() }
  }
}
