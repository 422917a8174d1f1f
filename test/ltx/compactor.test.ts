import { describe, expect, test } from "bun:test"
import { ChecksumAccumulator } from "../../src/ltx/checksum.ts"
import { compactLtxFiles } from "../../src/ltx/compactor.ts"
import { LtxEncoder } from "../../src/ltx/encoder.ts"
import { Collected } from "../support/bytes.ts"
import {
  type DecodedLtxFile,
  decodeLtxFile,
  type LtxPage,
  ltxFile,
  page,
  pageOf,
} from "../support/ltx-file.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

function compact(files: readonly Uint8Array[], compress?: boolean): DecodedLtxFile {
  const output = new Collected()
  const options = compress === undefined ? {} : { compress }
  compactLtxFiles(
    files.map((file) => random.split(file)),
    new LtxEncoder(output.sink),
    options,
  )
  return decodeLtxFile(output.bytes)
}

/** A database that makes LTX files of what is done to it. */
class Model {
  pages = new Map<number, Uint8Array>()
  txid = 0n
  checksum = 0n

  apply(changed: readonly LtxPage[], commit: number): Uint8Array {
    for (const { pgno, data } of changed) this.pages.set(pgno, data)
    for (const pgno of [...this.pages.keys()]) if (pgno > commit) this.pages.delete(pgno)
    const sum = new ChecksumAccumulator()
    for (const [pgno, data] of this.pages) sum.togglePage(pgno, data)
    const file = ltxFile({
      header: {
        flags: random.below(2),
        commit,
        minTxid: ++this.txid,
        preApplyChecksum: this.checksum,
        walOffset: 32,
        walSize: 8,
      },
      pages: changed,
      postApplyChecksum: sum.checksum,
    })
    this.checksum = sum.checksum
    return file
  }

  /** A transaction that writes every page it adds, as SQLite does. */
  randomTransaction(): Uint8Array {
    const before = this.pages.size
    const commit = random.pick([
      before,
      before,
      before + random.below(10),
      random.below(before + 1),
    ])
    const changed: LtxPage[] = []
    for (let pgno = 1; pgno <= commit; pgno++) {
      if (pgno > before || random.below(4) === 0) changed.push(pageOf(pgno, random.bytes(512)))
    }
    return this.apply(changed, commit)
  }
}

function applied(files: readonly Uint8Array[]): Map<number, Uint8Array> {
  const pages = new Map<number, Uint8Array>()
  for (const file of files) {
    const { header, pages: changed } = decodeLtxFile(file)
    for (const { pgno, data } of changed) pages.set(pgno, data)
    for (const pgno of [...pages.keys()]) if (pgno > header.commit) pages.delete(pgno)
  }
  return pages
}

describe("compactLtxFiles", () => {
  test("compactLtxFiles takes the last version of each page", () => {
    const model = new Model()
    const files = [
      model.apply([page(1, 1), page(2, 1), page(3, 1)], 3),
      model.apply([page(2, 2)], 3),
      model.apply([page(1, 3), page(2, 3), page(4, 3)], 4),
    ]
    expect(compact(files).pages).toEqual([page(1, 3), page(2, 3), page(3, 1), page(4, 3)])
    expect(compact(files.slice(1)).pages).toEqual([page(1, 3), page(2, 3), page(4, 3)])
  })

  test("compactLtxFiles joins the headers and keeps the last post-apply checksum", () => {
    const model = new Model()
    const files = [
      model.apply([page(1, 1)], 1),
      model.apply([page(1, 2)], 1),
      model.apply([page(1, 3)], 1),
    ]
    const decoded = files.map(decodeLtxFile)
    const { header, trailer } = compact(files.slice(1))
    expect(header).toMatchObject({
      flags: 1,
      minTxid: 2n,
      maxTxid: 3n,
      preApplyChecksum: decoded[1]?.header.preApplyChecksum,
      walOffset: 0,
      walSize: 0,
      nodeId: 0n,
    })
    expect(trailer.postApplyChecksum).toBe(model.checksum)
    expect(compact(files, false).header).toMatchObject({
      flags: 0,
      minTxid: 1n,
      preApplyChecksum: 0n,
    })
  })

  test("compactLtxFiles leaves out pages beyond the last commit, or that were cut off in between", () => {
    const model = new Model()
    const first = model.apply([page(1, 1), page(2, 1), page(3, 1)], 3)
    const shrunk = [first, model.apply([page(1, 2)], 1)]
    expect(compact(shrunk).pages).toEqual([page(1, 2)])
    const grown = [...shrunk, model.apply([page(2, 3)], 2), model.apply([page(1, 4)], 3)]
    expect(compact(grown.slice(1)).pages).toEqual([page(1, 4), page(2, 3)])
  })

  test("compactLtxFiles makes a file that does what the files do", () => {
    for (let i = 0; i < 40; i++) {
      const model = new Model()
      const files = Array.from({ length: random.between(1, 8) }, () => model.randomTransaction())
      const cut = random.below(files.length)
      const output = new Collected()
      compactLtxFiles(
        files.slice(cut).map((file) => [file]),
        new LtxEncoder(output.sink),
      )
      expect(applied([...files.slice(0, cut), output.bytes])).toEqual(model.pages)
    }
  })

  const model = new Model()
  const [one, two, three] = [1, 2, 3].map((fill) => model.apply([page(1, fill)], 1)) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ]
  const other = new Model()
  other.apply([page(1, 9)], 1)

  test.each([
    ["a gap", [one, three], "a file starts at TXID 0000000000000003, expected 0000000000000002"],
    [
      "files out of order",
      [two, one],
      "a file starts at TXID 0000000000000001, expected 0000000000000003",
    ],
    [
      "a file of another history",
      [one, other.apply([page(1, 2)], 1)],
      "TXID 0000000000000002 starts at checksum",
    ],
    [
      "another page size",
      [one, ltxFile({ header: { minTxid: 2n }, pages: [page(1, 1, 1024)] })],
      "their page sizes are 512 and 1024",
    ],
    ["a damaged file", [one, two.with(two.length - 1, 0)], "its file checksum is"],
  ])("compactLtxFiles refuses %s", (_, files, problem) => {
    expect(() => compact(files)).toThrow(RangeError)
    expect(() => compact(files)).toThrow(problem)
  })

  /** The second file claims a checksum that the two do not lead to. */
  const claiming = ltxFile({
    header: { minTxid: 2n, preApplyChecksum: decodeLtxFile(one).trailer.postApplyChecksum },
    pages: [page(1, 2)],
    postApplyChecksum: 1n << 63n,
  })
  /** The second file makes the database larger, and leaves out a page. */
  const gapped = ltxFile({
    header: { minTxid: 2n, preApplyChecksum: decodeLtxFile(one).trailer.postApplyChecksum },
    pages: [page(3, 2)],
  })

  test.each([
    [claiming, "all pages together have checksum"],
    [gapped, "page 2 of a snapshot is missing"],
  ])("compactLtxFiles makes no snapshot that is none", (file, problem) => {
    expect(() => compact([one, file])).toThrow(RangeError)
    expect(() => compact([one, file])).toThrow(problem)
  })

  test("compactLtxFiles needs a file", () => {
    expect(() => compact([])).toThrow("there are none")
  })
})
