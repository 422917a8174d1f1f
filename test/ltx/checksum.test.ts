import { describe, expect, test } from "bun:test"
import {
  CHECKSUM_FLAG,
  ChecksumAccumulator,
  EMPTY_CHECKSUM,
  lockPgno,
  pageChecksum,
  writePageChecksum,
} from "../../src/ltx/checksum.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

describe("pageChecksum", () => {
  test("pageChecksum depends on the page number, and has the flag", () => {
    const page = random.bytes(4096)
    expect(pageChecksum(1, page)).not.toBe(pageChecksum(2, page))
    expect(pageChecksum(1, page) & CHECKSUM_FLAG).toBe(CHECKSUM_FLAG)
  })

  test("writePageChecksum gives the halves of pageChecksum", () => {
    const bytes = random.bytes(10_000)
    const sum = new Uint32Array(2)
    for (const pageSize of [512, 4096]) {
      const pgno = random.u32()
      writePageChecksum(sum, pgno, bytes, 100, 100 + pageSize)
      const expected = pageChecksum(pgno, bytes.subarray(100, 100 + pageSize))
      expect((BigInt(sum[0] ?? 0) << 32n) | BigInt(sum[1] ?? 0)).toBe(expected)
    }
  })
})

describe("lockPgno", () => {
  test.each([
    [512, 2097153],
    [4096, 262145],
    [65536, 16385],
  ])("lockPgno of pages of %i bytes is %i", (pageSize, pgno) => {
    expect(lockPgno(pageSize)).toBe(pgno)
  })
})

describe("ChecksumAccumulator", () => {
  test("ChecksumAccumulator starts with an empty database", () => {
    expect(new ChecksumAccumulator().checksum).toBe(EMPTY_CHECKSUM)
  })

  test("ChecksumAccumulator follows a database through changes of its pages", () => {
    const pages = Array.from({ length: 10 }, () => random.bytes(512))
    const rolling = new ChecksumAccumulator()
    for (const [i, page] of pages.entries()) rolling.togglePage(i + 1, page)
    for (let change = 0; change < 100; change++) {
      const i = random.below(pages.length)
      rolling.togglePage(i + 1, pages[i] ?? random.bytes(0))
      pages[i] = random.bytes(512)
      rolling.togglePage(i + 1, pages[i])
    }
    const full = new ChecksumAccumulator()
    for (const [i, page] of pages.entries()) full.togglePage(i + 1, page)
    expect(rolling.checksum).toBe(full.checksum)
  })

  test("ChecksumAccumulator.reset goes on from a checksum", () => {
    const page = random.bytes(512)
    const sum = new ChecksumAccumulator().togglePage(1, page)
    const resumed = new ChecksumAccumulator().reset(sum.checksum)
    expect(resumed.checksum).toBe(sum.checksum)
    expect(resumed.togglePage(1, page).checksum).toBe(EMPTY_CHECKSUM)
    expect(resumed.togglePage(1, page).reset().checksum).toBe(EMPTY_CHECKSUM)
  })
})
