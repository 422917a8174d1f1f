import { describe, expect, test } from "bun:test"
import { AssertionError } from "../../src/lib/assert.ts"
import { decodeLtxTrailer, encodeLtxTrailer } from "../../src/ltx/trailer.ts"
import { hex, unhex, withByte } from "../support/bytes.ts"

const GOLDEN = "8000000000000000d75eb99443b6f37f"
const golden = { postApplyChecksum: 0x8000000000000000n, fileChecksum: 0xd75eb99443b6f37fn }

describe("encodeLtxTrailer", () => {
  test("encodeLtxTrailer writes what LiteFS writes", () => {
    expect(hex(encodeLtxTrailer(golden))).toBe(GOLDEN)
  })

  test("encodeLtxTrailer refuses a checksum without flag", () => {
    expect(() => encodeLtxTrailer({ ...golden, fileChecksum: 1n })).toThrow(AssertionError)
  })
})

describe("decodeLtxTrailer", () => {
  test("decodeLtxTrailer reads what LiteFS writes", () => {
    expect(decodeLtxTrailer(unhex(GOLDEN))).toEqual(golden)
  })

  test.each([
    [0, "post-apply checksum has no checksum flag"],
    [8, "file checksum has no checksum flag"],
  ])("decodeLtxTrailer refuses a checksum without flag at %i", (offset, problem) => {
    expect(() => decodeLtxTrailer(withByte(unhex(GOLDEN), offset, 0))).toThrow(problem)
  })

  test("decodeLtxTrailer refuses fewer than 16 bytes", () => {
    expect(() => decodeLtxTrailer(unhex(GOLDEN).subarray(1))).toThrow(RangeError)
  })
})
