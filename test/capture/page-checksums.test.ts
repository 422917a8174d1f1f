import { describe, expect, test } from "bun:test"
import { PageChecksums } from "../../src/capture/page-checksums.ts"
import { EMPTY_CHECKSUM } from "../../src/ltx/checksum.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

/** The XOR of the sums, with the top bit set. */
function totalOf(model: readonly bigint[]): bigint {
  return model.reduce((total, sum) => total ^ sum, 0n) | EMPTY_CHECKSUM
}

describe("PageChecksums", () => {
  test("PageChecksums of no pages has the checksum of an empty database", () => {
    expect(new PageChecksums().total).toBe(EMPTY_CHECKSUM)
  })

  test("PageChecksums gives zero for pages beyond the last", () => {
    const sums = new PageChecksums(2)
    sums.set(2, 7, 8)
    expect([sums.hi(2), sums.lo(2), sums.hi(3), sums.lo(3)]).toEqual([7, 8, 0, 0])
  })

  test("PageChecksums.total is the XOR of all sums, whatever is set and resized", () => {
    for (let round = 0; round < 10; round++) {
      const model: bigint[] = []
      const sums = new PageChecksums()
      for (let step = 0; step < 40; step++) {
        if (random.below(3) === 0) {
          const count = random.pick([0, 1, 5, 900, 1100, 3000, model.length])
          sums.resize(count)
          while (model.length < count) model.push(0n)
          model.length = count
        }
        for (let i = 0; i < 10 && model.length > 0; i++) {
          const pgno = random.between(1, model.length)
          const sum = random.u64()
          sums.set(pgno, Number(sum >> 32n), Number(sum & 0xffffffffn))
          model[pgno - 1] = sum
          expect([sums.hi(pgno), sums.lo(pgno)]).toEqual([
            Number(sum >> 32n),
            Number(sum & 0xffffffffn),
          ])
        }
        expect(sums.pageCount).toBe(model.length)
        expect(sums.total).toBe(totalOf(model))
      }
      const bytes = new Uint8Array(model.length * 8)
      sums.copyTo(bytes)
      const copy = PageChecksums.from(bytes)
      expect(copy.pageCount).toBe(model.length)
      expect(copy.total).toBe(sums.total)
      sums.clear()
      expect(sums.total).toBe(EMPTY_CHECKSUM)
      expect(copy.total).toBe(totalOf(model)) // it is a copy
    }
  })
})
