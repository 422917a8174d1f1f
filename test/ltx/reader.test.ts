import { describe, expect, test } from "bun:test"
import { LtxReader } from "../../src/ltx/reader.ts"
import { ltxFile, page, pageOf } from "../support/ltx-file.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()
const pages = Array.from({ length: 50 }, (_, i) => pageOf(i + 1, random.compressible(512)))

describe("LtxReader", () => {
  test.each([0, 1])("LtxReader gives header, pages and trailer in order, flags %i", (flags) => {
    const file = ltxFile({ header: { flags }, pages })
    for (const pieces of [[file], random.split(file), [file.subarray(0, 0), file]]) {
      const reader = new LtxReader(pieces)
      expect(reader.header).toMatchObject({ flags, commit: 50 })
      for (const expected of pages) expect(reader.next()).toEqual(expected)
      expect(reader.next()).toBeUndefined()
      expect(reader.trailer).toBeDefined()
      expect(reader.next()).toBeUndefined()
    }
  })

  test("LtxReader takes no more of its input than it needs", () => {
    let taken = 0
    const file = ltxFile({ header: { flags: 0 }, pages })
    const pieces = (function* () {
      for (let at = 0; at < file.length; at += 100) {
        taken++
        yield file.subarray(at, at + 100)
      }
    })()
    const reader = new LtxReader(pieces)
    expect(taken).toBe(1)
    reader.next()
    expect(taken).toBe(7)
  })

  test("LtxReader refuses a file that is cut off", () => {
    const file = ltxFile({ pages: [page(1, 1)] })
    expect(() => new LtxReader([file.subarray(0, 50)])).toThrow("it ends inside its header")
    const reader = new LtxReader([file.subarray(0, -1)])
    reader.next()
    expect(() => reader.next()).toThrow("it ends inside its trailer")
  })
})
