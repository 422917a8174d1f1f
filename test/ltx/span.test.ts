import { describe, expect, test } from "bun:test"
import { CHECKSUM_FLAG } from "../../src/ltx/checksum.ts"
import { headerIfAny, posAfter, posBefore, readSpan, spanOf } from "../../src/ltx/span.ts"
import { bytesSource } from "../support/bytes-source.ts"
import { ltxFile, page } from "../support/ltx-file.ts"

const FILE = ltxFile({
  header: { minTxid: 5n, maxTxid: 7n, preApplyChecksum: CHECKSUM_FLAG | 4n },
  pages: [page(1, 0xaa)],
  postApplyChecksum: CHECKSUM_FLAG | 7n,
})

describe("spanOf()", () => {
  test("says from which position an LTX file leads to which", () => {
    const span = spanOf(FILE)
    expect(posBefore(span.header)).toEqual({ txid: 4n, checksum: CHECKSUM_FLAG | 4n })
    expect(posAfter(span)).toEqual({ txid: 7n, checksum: CHECKSUM_FLAG | 7n })
  })

  test.each([0, 15, 99, 115, FILE.length - 1])("throws for the first %p bytes", (size) => {
    expect(() => spanOf(FILE.subarray(0, size))).toThrow(RangeError)
    expect(() => readSpan(bytesSource(FILE.subarray(0, size)))).toThrow(RangeError)
  })
})

test("readSpan() reads nothing but the ends of a file", () => {
  const source = bytesSource(FILE)
  let readSize = 0
  const span = readSpan({
    size: source.size,
    readAt(offset, target) {
      readSize += target.length
      return source.readAt(offset, target)
    },
  })
  expect(span).toEqual(spanOf(FILE))
  expect(readSize).toBe(116)
})

test("headerIfAny() tells what is no LTX file, or not enough of one", () => {
  expect(headerIfAny(FILE)).toEqual(spanOf(FILE).header)
  expect(headerIfAny(FILE.subarray(0, 99))).toBeUndefined()
  expect(headerIfAny(new Uint8Array(200))).toBeUndefined()
})
