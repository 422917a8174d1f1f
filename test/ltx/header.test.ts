import { describe, expect, test } from "bun:test"
import { AssertionError } from "../../src/lib/assert.ts"
import {
  decodeLtxHeader,
  encodeLtxHeader,
  isCompressed,
  isSnapshot,
  type LtxHeader,
} from "../../src/ltx/header.ts"
import { hex, unhex, withByte } from "../support/bytes.ts"
import { ltxHeader } from "../support/ltx-file.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

/** Of a transaction that a WAL was the source of. */
const GOLDEN =
  "4c54583100000001000010000000000200000000000000030000000000000003000001a205df385d" +
  "9502f69ef53b036900000000000020500000000000001018f116b7ce8d71b4e17734cedfa789f839" +
  "00".repeat(20)

const golden: LtxHeader = {
  flags: 1,
  pageSize: 4096,
  commit: 2,
  minTxid: 3n,
  maxTxid: 3n,
  timestampMs: 1795394844765,
  preApplyChecksum: 0x9502f69ef53b0369n,
  walOffset: 8272,
  walSize: 4120,
  walSalt1: 0xf116b7ce,
  walSalt2: 0x8d71b4e1,
  nodeId: 0x7734cedfa789f839n,
}

describe("encodeLtxHeader", () => {
  test("encodeLtxHeader writes what LiteFS writes", () => {
    expect(hex(encodeLtxHeader(golden))).toBe(GOLDEN)
  })

  test("encodeLtxHeader refuses what decodeLtxHeader would refuse", () => {
    expect(() => encodeLtxHeader(ltxHeader({ minTxid: 0n }))).toThrow(AssertionError)
  })
})

describe("decodeLtxHeader", () => {
  test("decodeLtxHeader reads what LiteFS writes", () => {
    expect(decodeLtxHeader(unhex(GOLDEN))).toEqual(golden)
  })

  test("decodeLtxHeader reads what encodeLtxHeader writes", () => {
    for (let i = 0; i < 200; i++) {
      const minTxid = BigInt(random.between(1, 3))
      const walOffset = random.pick([0, 32, 2 ** 40])
      const wal = { walSize: random.u32(), walSalt1: random.u32(), walSalt2: random.u32() }
      const header = ltxHeader({
        flags: random.below(2),
        pageSize: random.pick([512, 1024, 4096, 65536]),
        commit: random.u32(),
        minTxid,
        maxTxid: minTxid + BigInt(random.u32()),
        timestampMs: random.u32() - 1000,
        preApplyChecksum: minTxid === 1n ? 0n : random.u64() | (1n << 63n),
        walOffset,
        ...(walOffset > 0 ? wal : {}),
        nodeId: random.u64(),
      })
      expect(decodeLtxHeader(encodeLtxHeader(header))).toEqual(header)
    }
  })

  /** A valid header with the byte at an offset changed. */
  const damaged: [string, number, number, string][] = [
    ["another magic", 3, 0x32, 'it starts with 0x4c545832, not "LTX1"'],
    ["an unknown flag", 7, 0x02, "flags 0x00000002 has unknown bits"],
    ["a page size that is no power of two", 11, 0x01, "page size 4097 is not one SQLite has"],
    ["min TXID 0", 23, 0, "min TXID is 0"],
    ["max TXID below min TXID", 31, 2, "max TXID 2 is below min TXID 3"],
    ["a max TXID that leaves no next one", 24, 0xff, "max TXID 18374686479671623683 is above"],
    ["a time that is none", 33, 0x1f, "is not a time"],
    ["a WAL offset beyond 2^53", 49, 0xff, "is beyond what a number can hold"],
    ["a snapshot with a pre-apply checksum", 23, 1, "pre-apply checksum of a snapshot is not 0"],
    ["a pre-apply checksum without flag", 40, 0x15, "pre-apply checksum has no checksum flag"],
    ["reserved bytes that are set", 99, 1, "bytes 80 to 99 are not zero"],
  ]
  test.each(damaged)("decodeLtxHeader refuses %s", (_, offset, value, problem) => {
    expect(() => decodeLtxHeader(withByte(unhex(GOLDEN), offset, value))).toThrow(problem)
  })

  test("decodeLtxHeader refuses a WAL size or salt without a WAL offset", () => {
    const bytes = unhex(GOLDEN).fill(0, 48, 56)
    expect(() => decodeLtxHeader(bytes)).toThrow("WAL size is set and WAL offset is not")
    expect(() => decodeLtxHeader(bytes.fill(0, 56, 64))).toThrow(
      "WAL salt is set and WAL offset is not",
    )
  })

  test("decodeLtxHeader refuses a negative WAL offset or size", () => {
    const bytes = unhex(GOLDEN)
    expect(() => decodeLtxHeader(bytes.fill(0xff, 56, 64))).toThrow("WAL size -1 is negative")
    expect(() => decodeLtxHeader(bytes.fill(0xff, 48, 56))).toThrow("WAL offset -1 is negative")
  })

  test("decodeLtxHeader refuses a page size of 0", () => {
    expect(() => decodeLtxHeader(unhex(GOLDEN).fill(0, 8, 12))).toThrow("page size 0")
  })

  test("decodeLtxHeader refuses fewer or more than 100 bytes", () => {
    expect(() => decodeLtxHeader(unhex(GOLDEN).subarray(0, 99))).toThrow(RangeError)
    expect(() => decodeLtxHeader(unhex(`${GOLDEN}00`))).toThrow("1 bytes after its end")
  })
})

describe("isSnapshot", () => {
  test("isSnapshot is true from the first transaction on", () => {
    expect(isSnapshot({ minTxid: 1n })).toBe(true)
    expect(isSnapshot({ minTxid: 2n })).toBe(false)
  })
})

describe("isCompressed", () => {
  test("isCompressed looks at bit 0", () => {
    expect(isCompressed({ flags: 1 })).toBe(true)
    expect(isCompressed({ flags: 0 })).toBe(false)
  })
})
