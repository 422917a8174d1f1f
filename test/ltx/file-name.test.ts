import { describe, expect, test } from "bun:test"
import { formatLtxFileName, parseLtxFileName } from "../../src/ltx/file-name.ts"

describe("formatLtxFileName", () => {
  test("formatLtxFileName writes both TXIDs in hexadecimal", () => {
    expect(formatLtxFileName(1n, 26n)).toBe("0000000000000001-000000000000001a.ltx")
  })
})

describe("parseLtxFileName", () => {
  test("parseLtxFileName reads what formatLtxFileName writes", () => {
    const range = { minTxid: 10n, maxTxid: (1n << 64n) - 1n }
    expect(parseLtxFileName(formatLtxFileName(range.minTxid, range.maxTxid))).toEqual(range)
  })

  test.each([
    "",
    "0000000000000001-0000000000000001.ltx.tmp",
    "0000000000000001-000000000000000A.ltx",
    "000000000000001-0000000000000001.ltx",
    "0000000000000001.ltx",
    "0000000000000002-0000000000000001.ltx",
    "0000000000000000-0000000000000001.ltx",
  ])("parseLtxFileName refuses %j", (name) => {
    expect(parseLtxFileName(name)).toBeUndefined()
  })
})
