import { describe, expect, test } from "bun:test"
import { LtxDecoder } from "../../src/ltx/decoder.ts"
import { concat, everySplit, unhex, withByte } from "../support/bytes.ts"
import { decodeLtxFile, ltxFile, ltxHeader, page, pageOf } from "../support/ltx-file.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

const UNCOMPRESSED = { flags: 0, minTxid: 2n }
const file = ltxFile({ header: UNCOMPRESSED, pages: [page(2, 1), page(5, 2)] })
const SECOND_PGNO_AT = 100 + 4 + 512
const END_PGNO_AT = SECOND_PGNO_AT + 4 + 512

describe("LtxDecoder", () => {
  test("LtxDecoder reads what LtxEncoder writes, of any shape, split anywhere", () => {
    for (let i = 0; i < 30; i++) {
      const pageSize = random.pick([512, 4096, 65536])
      const snapshot = random.below(2) === 0
      const all = Array.from({ length: random.below(20) }, (_, index) =>
        pageOf(index + 1, random.pick([random.compressible, random.bytes]).call(random, pageSize)),
      )
      const pages = snapshot ? all : all.filter(() => random.below(2) === 0)
      const given = {
        flags: random.below(2),
        pageSize,
        commit: all.length,
        minTxid: snapshot ? 1n : 7n,
      }
      const bytes = ltxFile({ header: given, pages })
      const decoded = decodeLtxFile(random.split(bytes))
      expect(decoded.header).toEqual(ltxHeader(given))
      expect(decoded.pages).toEqual(pages)
    }
  })

  test.each([0, 1])("LtxDecoder reads a file with flags %i split at every offset", (flags) => {
    const pages = [page(1, 1), { pgno: 2, data: random.bytes(512) }]
    for (const pieces of everySplit(ltxFile({ header: { flags }, pages }))) {
      expect(decodeLtxFile(pieces).pages).toEqual(pages)
    }
  })

  test("LtxDecoder reads a file without pages", () => {
    for (const flags of [0, 1]) {
      expect(decodeLtxFile(ltxFile({ header: { flags, minTxid: 3n } })).pages).toEqual([])
    }
  })

  test("LtxDecoder calls the trailer once the file is verified, and is done", () => {
    const calls: string[] = []
    const decoder = new LtxDecoder({
      header: () => void calls.push("header"),
      page: (pgno) => void calls.push(`page ${pgno}`),
      trailer: () => void calls.push("trailer"),
    })
    decoder.push(file.subarray(0, -1))
    expect(calls).toEqual(["header", "page 2", "page 5"])
    expect(decoder.done).toBe(false)
    decoder.push(file.subarray(-1))
    expect(calls).toEqual(["header", "page 2", "page 5", "trailer"])
    expect(decoder.done).toBe(true)
    decoder.end()
  })

  test("LtxDecoder.reset makes ready for another file, also in the midst of one", () => {
    const compressed = ltxFile({ pages: [page(1, 1)] })
    for (let cut = 0; cut <= compressed.length; cut++) {
      const decoder = new LtxDecoder({})
      decoder.push(compressed.subarray(0, cut))
      decoder.reset()
      decoder.push(file)
      decoder.end()
    }
  })

  test("LtxDecoder notices a change of any byte", () => {
    for (let at = 0; at < file.length; at++) {
      const damaged = withByte(file, at, (file[at] ?? 0) ^ (1 << random.below(8)))
      expect(() => decodeLtxFile(damaged)).toThrow(RangeError)
    }
  })

  test("LtxDecoder notices every change of a compressed file that changes its content", () => {
    const compressed = ltxFile({ pages: [page(1, 1), { pgno: 2, data: random.compressible(512) }] })
    const whole = decodeLtxFile(compressed)
    for (let at = 0; at < compressed.length; at++) {
      const damaged = withByte(compressed, at, random.u32())
      try {
        // A match may as well be copied from another place that has the same bytes.
        expect(decodeLtxFile(damaged)).toEqual(whole)
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError)
      }
    }
  })

  test.each([
    ["inside the header", 99, "it ends inside its header"],
    ["before the page block", 100, "it ends inside its pages"],
    ["inside a page", 300, "it ends inside its pages"],
    ["inside the trailer", file.length - 1, "it ends inside its trailer"],
  ])("LtxDecoder refuses a file that ends %s", (_, size, problem) => {
    expect(() => decodeLtxFile(file.subarray(0, size))).toThrow(
      `Cannot decode LTX file: ${problem}`,
    )
  })

  test.each([
    ["bytes after the trailer", concat(file, unhex("00")), "1 bytes after its trailer"],
    ["a page out of order", withByte(file, SECOND_PGNO_AT + 3, 1), "page 1 comes after page 2"],
    [
      "a page beyond commit",
      withByte(file, SECOND_PGNO_AT + 3, 6),
      "page 6 is beyond the database of 5 pages",
    ],
    ["damage", withByte(file, 200, 9), "its file checksum is"],
    ["a damaged file checksum", withByte(file, file.length - 1, 0), "its file checksum is"],
  ])("LtxDecoder refuses %s", (_, bytes, problem) => {
    expect(() => decodeLtxFile(bytes)).toThrow(`Cannot decode LTX file: ${problem}`)
  })

  test("LtxDecoder refuses the lock page", () => {
    const bytes = ltxFile({
      header: { ...UNCOMPRESSED, commit: 3_000_000 },
      pages: [page(2097152, 1)],
    })
    expect(() => decodeLtxFile(withByte(bytes, 103, 1).fill(0x20, 101, 102))).toThrow(
      "page 2097153 is the lock page",
    )
  })

  test.each([
    ["zeros", new Uint8Array(512), "is not that of a SQLite database"],
    [
      "of other pages",
      page(1, 1, 1024).data.slice(0, 512),
      "is of a database with pages of 1024 bytes",
    ],
  ])("LtxDecoder refuses a snapshot whose first page is %s", (_, data, problem) => {
    const pages = [{ pgno: 1, data }, page(2, 2)]
    expect(() => decodeLtxFile(ltxFile({ pages }))).toThrow(problem)
    const later = ltxFile({ header: { minTxid: 2n }, pages })
    expect(decodeLtxFile(later).pages).toHaveLength(2) // the rest of the history tells what it changes
  })

  test("LtxDecoder refuses a snapshot that lacks a page", () => {
    const snapshot = ltxFile({ header: { flags: 0 }, pages: [page(1, 1), page(2, 2), page(3, 3)] })
    expect(() => decodeLtxFile(withByte(snapshot, SECOND_PGNO_AT + 3, 3))).toThrow(
      "page 2 of a snapshot is missing",
    )
    expect(() => decodeLtxFile(withByte(snapshot, END_PGNO_AT + 3, 0))).toThrow(
      "page 3 of a snapshot is missing",
    )
  })

  test("LtxDecoder refuses a snapshot whose pages do not sum up to the post-apply checksum", () => {
    const bytes = ltxFile({ pages: [page(1, 1)], postApplyChecksum: 0x8000000000000001n })
    expect(() => decodeLtxFile(bytes)).toThrow("its post-apply checksum is")
  })

  test("LtxDecoder refuses an LZ4 frame that ends before the page block, or after it", () => {
    const decoded = (block: Uint8Array): void =>
      void decodeLtxFile(
        concat(ltxFile({ header: { minTxid: 2n, commit: 9 } }).subarray(0, 100), block),
      )
    const stored = (content: Uint8Array): Uint8Array => {
      const size = Uint8Array.of(content.length, content.length >>> 8, 0, 0x80)
      const hash = Bun.hash.xxHash32(content)
      return concat(
        unhex("04224d186440a7"),
        size,
        content,
        unhex("00000000"),
        Uint8Array.of(hash, hash >>> 8, hash >>> 16, hash >>> 24),
      )
    }
    expect(() => decoded(stored(unhex("000000")))).toThrow(
      "its LZ4 frame ends inside the page block",
    )
    expect(() => decoded(stored(unhex("0000000000")))).toThrow(
      "its LZ4 frame goes on after the page block",
    )
  })
})
