import { describe, expect, test } from "bun:test"
import {
  formatPos,
  formatTxid,
  parsePos,
  parseTxid,
  posEquals,
  ZERO_POS,
} from "../../src/ltx/pos.ts"

describe("formatPos", () => {
  test("formatPos writes sixteen lower-case digits each", () => {
    expect(formatPos({ txid: 26n, checksum: 0xf630f5ae3060002cn })).toBe(
      "000000000000001a/f630f5ae3060002c",
    )
    expect(formatPos(ZERO_POS)).toBe("0000000000000000/0000000000000000")
  })
})

describe("parsePos", () => {
  test("parsePos reads what formatPos writes, and upper case", () => {
    const pos = { txid: (1n << 64n) - 1n, checksum: 0x8000000000000000n }
    expect(parsePos(formatPos(pos))).toEqual(pos)
    expect(parsePos(formatPos(pos).toUpperCase())).toEqual(pos)
  })

  test.each([
    "",
    "1/2",
    "0000000000000000-0000000000000000",
    "0000000000000000/000000000000000g",
    "0000000000000000/0000000000000000\n",
    "00000000000000000/0000000000000000",
  ])("parsePos refuses %j", (text) => {
    expect(parsePos(text)).toBeUndefined()
  })
})

describe("parseTxid", () => {
  test("parseTxid reads what formatTxid writes and nothing else", () => {
    expect(parseTxid(formatTxid(255n))).toBe(255n)
    expect(parseTxid("ff")).toBeUndefined()
  })
})

describe("posEquals", () => {
  test("posEquals compares both parts", () => {
    const pos = { txid: 1n, checksum: 2n }
    expect(posEquals(pos, { ...pos })).toBe(true)
    expect(posEquals(pos, { ...pos, txid: 2n })).toBe(false)
    expect(posEquals(pos, { ...pos, checksum: 1n })).toBe(false)
  })
})
