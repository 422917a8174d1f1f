/**
 * Makes one LTX file of several that follow on each other: applied, it does what they do in order.
 *
 * It reads all files at once, each from front to back, so memory does not grow with their size. It takes the last
 * version of a page that is in several files. It leaves a version out if a later file made the database too small for
 * it: should the database grow again, the page begins anew.
 *
 * Files are a RangeError when they do not follow on each other, are damaged, or make a snapshot without the checksum
 * that the last of them claims. The encoder is then left open, and its output is worthless.
 */

import { assert, must } from "../lib/assert.ts"
import { ChecksumAccumulator } from "./checksum.ts"
import type { LtxEncoder } from "./encoder.ts"
import { isSnapshot, LTX_FLAG_COMPRESSED, type LtxHeader, NO_WAL } from "./header.ts"
import { PageOrder } from "./page-order.ts"
import { type Checksum, formatChecksum, formatTxid } from "./pos.ts"
import { type LtxPage, LtxReader } from "./reader.ts"
import type { LtxTrailer } from "./trailer.ts"

/** A file that takes part in the merge. */
interface Input {
  readonly reader: LtxReader
  /** The smallest size that the database has after this file or a later one, in pages. */
  readonly leastCommit: number
  page: LtxPage | undefined
}

/**
 * Compacts files, each given in pieces, from the oldest to the newest. The encoder is new or was just reset; it is
 * closed with the returned trailer.
 */
export function compactLtxFiles(...given: Parameters<typeof compactInSteps>): LtxTrailer {
  const steps = compactInSteps(...given)
  for (;;) {
    const { done, value } = steps.next()
    if (done === true) return value
  }
}

/** compactLtxFiles() for a caller that does something else in between: a step is a page. */
export function* compactInSteps(
  files: readonly Iterable<Uint8Array>[],
  encoder: LtxEncoder,
  { compress = true }: { compress?: boolean } = {},
): Generator<undefined, LtxTrailer> {
  assert(files.length > 0, "Cannot compact LTX files: there are none")
  const readers = files.map((file) => new LtxReader(file))
  const headers = readers.map((reader) => reader.header)
  checkHeaders(headers)
  const inputs = yield* inputsOf(readers)
  const header = compactedHeader(headers, compress)
  const check = new SnapshotCheck(header)
  encoder.header(header)
  yield* mergePages(inputs, (pgno, data) => {
    check.page(pgno, data)
    encoder.page(pgno, data)
  })
  checkChecksums(readers)
  const { postApplyChecksum } = trailerOf(must(readers.at(-1), "last file"))
  check.end(postApplyChecksum)
  return encoder.close(postApplyChecksum)
}

/**
 * The files after the first only claim what they lead to. A snapshot must have every page, and sum up to that claim.
 */
class SnapshotCheck {
  readonly #order: PageOrder | undefined
  readonly #sum = new ChecksumAccumulator()

  constructor(header: LtxHeader) {
    this.#order = isSnapshot(header) ? new PageOrder(header) : undefined
  }

  page(pgno: number, data: Uint8Array): void {
    if (this.#order === undefined) return
    this.#failWith(this.#order.next(pgno))
    this.#sum.togglePage(pgno, data)
  }

  end(expected: Checksum): void {
    if (this.#order === undefined) return
    this.#failWith(this.#order.end())
    if (this.#sum.checksum === expected) return
    const [is, should] = [formatChecksum(this.#sum.checksum), formatChecksum(expected)]
    throw mismatch(`all pages together have checksum ${is}, expected ${should}`)
  }

  #failWith(problem: string | undefined): void {
    if (problem !== undefined) throw mismatch(problem)
  }
}

function checkHeaders(headers: readonly LtxHeader[]): void {
  for (const [i, header] of headers.entries()) {
    const before = headers[i - 1]
    if (before === undefined) continue
    if (header.minTxid !== before.maxTxid + 1n) {
      const [is, should] = [formatTxid(header.minTxid), formatTxid(before.maxTxid + 1n)]
      throw mismatch(`a file starts at TXID ${is}, expected ${should}`)
    }
    if (header.pageSize !== before.pageSize) {
      throw mismatch(`their page sizes are ${before.pageSize} and ${header.pageSize}`)
    }
  }
}

/** Runs after the pages: only then the trailers are known. */
function checkChecksums(readers: readonly LtxReader[]): void {
  for (const [i, reader] of readers.entries()) {
    const before = readers[i - 1]
    if (before === undefined) continue
    const expected = trailerOf(before).postApplyChecksum
    const { minTxid, preApplyChecksum } = reader.header
    if (preApplyChecksum === expected) continue
    const [is, should] = [formatChecksum(preApplyChecksum), formatChecksum(expected)]
    throw mismatch(`TXID ${formatTxid(minTxid)} starts at checksum ${is}, expected ${should}`)
  }
}

function compactedHeader(headers: readonly LtxHeader[], compress: boolean): LtxHeader {
  const first = must(headers[0], "first file")
  const last = must(headers.at(-1), "last file")
  return {
    ...last,
    flags: compress ? LTX_FLAG_COMPRESSED : 0,
    minTxid: first.minTxid,
    preApplyChecksum: first.preApplyChecksum,
    // A merged file is not the image of one stretch of a WAL, nor of one node.
    ...NO_WAL,
    nodeId: 0n,
  }
}

function* inputsOf(readers: readonly LtxReader[]): Generator<undefined, Input[]> {
  const inputs: Input[] = []
  let leastCommit = Number.POSITIVE_INFINITY
  for (const reader of readers.toReversed()) {
    leastCommit = Math.min(leastCommit, reader.header.commit)
    inputs.unshift({ reader, leastCommit, page: reader.next() })
    yield
  }
  return inputs
}

function* mergePages(
  inputs: readonly Input[],
  add: (pgno: number, data: Uint8Array) => void,
): Generator<undefined, void> {
  for (;;) {
    const pgno = lowestPgno(inputs)
    if (pgno === undefined) return
    let newest: Input | undefined
    let data: Uint8Array | undefined
    for (const input of inputs) {
      if (input.page?.pgno !== pgno) continue
      newest = input
      data = input.page.data
      input.page = input.reader.next()
    }
    if (newest === undefined || data === undefined) return
    if (pgno <= newest.leastCommit) add(pgno, data)
    yield
  }
}

function lowestPgno(inputs: readonly Input[]): number | undefined {
  let lowest: number | undefined
  for (const { page } of inputs) {
    if (page !== undefined && (lowest === undefined || page.pgno < lowest)) lowest = page.pgno
  }
  return lowest
}

function trailerOf(reader: LtxReader): LtxTrailer {
  return must(reader.trailer, "LTX trailer")
}

function mismatch(problem: string): RangeError {
  return new RangeError(`Cannot compact LTX files: ${problem}`)
}
