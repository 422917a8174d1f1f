import { describe, expect, test } from "bun:test"
import { AssertionError } from "../../src/lib/assert.ts"
import { EMPTY_CHECKSUM } from "../../src/ltx/checksum.ts"
import { LtxEncoder } from "../../src/ltx/encoder.ts"
import { Collected, hex } from "../support/bytes.ts"
import { decodeLtxFile, ltxFile, ltxHeader, page } from "../support/ltx-file.ts"

const transaction = ltxHeader({ minTxid: 2n, commit: 9 })

function encoderAtPages(header = transaction): LtxEncoder {
  const encoder = new LtxEncoder(() => {})
  encoder.header(header)
  return encoder
}

describe("LtxEncoder", () => {
  test("LtxEncoder makes the file of a deletion that LiteFS makes", () => {
    const header = ltxHeader({
      flags: 1,
      pageSize: 4096,
      commit: 0,
      minTxid: 2n,
      timestampMs: 1795394845370,
      preApplyChecksum: 0xc3f6e9fc0b594bb8n,
    })
    const file = ltxFile({ header, postApplyChecksum: EMPTY_CHECKSUM })
    expect(file.length).toBe(139)
    expect(hex(file.subarray(100, 123))).toBe("04224d186440a7040000800000000000000000" + "69d9d608")
  })

  test("LtxEncoder writes pages as they are without compression", () => {
    const file = ltxFile({ header: { flags: 0, minTxid: 2n }, pages: [page(3, 0xaa)] })
    expect(file.length).toBe(100 + 4 + 512 + 4 + 16)
    expect(hex(file.subarray(100, 106))).toBe("00000003" + "aaaa")
  })

  test("LtxEncoder.close returns the trailer that it writes", () => {
    const file = new Collected()
    const encoder = new LtxEncoder(file.sink)
    encoder.header(transaction)
    encoder.page(4, page(4, 1).data)
    expect(encoder.close(EMPTY_CHECKSUM)).toEqual(decodeLtxFile(file.bytes).trailer)
  })

  test("LtxEncoder.reset makes ready for another file, also in the midst of one", () => {
    const file = new Collected()
    const encoder = new LtxEncoder(file.sink)
    encoder.header(transaction)
    encoder.page(1, page(1, 1).data)
    encoder.reset()
    file.chunks.length = 0
    for (let i = 0; i < 2; i++) {
      encoder.header(ltxHeader({ flags: i, minTxid: 2n, commit: 3 }))
      encoder.page(3, page(3, 7).data)
      encoder.close(EMPTY_CHECKSUM)
      expect(decodeLtxFile(file.bytes).pages).toEqual([page(3, 7)])
      file.chunks.length = 0
      encoder.reset()
    }
  })

  test.each<[string, () => void, string]>([
    [
      "a page before the header",
      () => new LtxEncoder(() => {}).page(1, page(1, 0).data),
      "Cannot encode LTX page: state is header",
    ],
    [
      "a second header",
      () => encoderAtPages().header(transaction),
      "Cannot encode LTX header: state is pages",
    ],
    [
      "close before the header",
      () => new LtxEncoder(() => {}).close(EMPTY_CHECKSUM),
      "Cannot close LTX file: state is header",
    ],
    [
      "a page of another size",
      () => encoderAtPages().page(1, new Uint8Array(511)),
      "it has 511 bytes, page size is 512",
    ],
    [
      "a page beyond commit",
      () => encoderAtPages().page(10, page(10, 0).data),
      "page 10 is beyond the database of 9 pages",
    ],
    [
      "a snapshot with a gap",
      () => encoderAtPages(ltxHeader({ commit: 2 })).close(EMPTY_CHECKSUM),
      "page 1 of a snapshot is missing",
    ],
    [
      "a checksum without flag",
      () => encoderAtPages().close(1n),
      "post-apply checksum has no checksum flag",
    ],
  ])("LtxEncoder refuses %s", (_, misuse, problem) => {
    expect(misuse).toThrow(AssertionError)
    expect(misuse).toThrow(problem)
  })

  test("LtxEncoder refuses pages after close", () => {
    const encoder = encoderAtPages()
    encoder.close(EMPTY_CHECKSUM)
    expect(() => encoder.page(1, page(1, 0).data)).toThrow("state is closed")
  })
})
