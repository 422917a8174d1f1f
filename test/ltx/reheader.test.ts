import { expect, test } from "bun:test"
import { EMPTY_CHECKSUM, lockPgno } from "../../src/ltx/checksum.ts"
import { LtxEncoder } from "../../src/ltx/encoder.ts"
import { LTX_HEADER_SIZE } from "../../src/ltx/header.ts"
import { trailerWithHeader } from "../../src/ltx/reheader.ts"
import { decodeLtxTrailer, LTX_TRAILER_SIZE, type LtxTrailer } from "../../src/ltx/trailer.ts"
import { ltxFile, ltxHeader } from "../support/ltx-file.ts"
import { testRandom } from "../support/random.ts"

const random = testRandom()

function trailerOf(file: Uint8Array) {
  return decodeLtxTrailer(file.subarray(-LTX_TRAILER_SIZE))
}

test.each([
  [512, 1],
  [512, 5],
  [4096, 33],
  [65536, 3],
])(
  "trailerWithHeader() gives the trailer of the same pages of %d bytes, %d of them, under another header",
  (pageSize, commit) => {
    for (let round = 0; round < 20; round++) {
      const pages = Array.from({ length: commit }, (_, index) => {
        return { pgno: index + 1, data: random.compressible(pageSize) }
      })
      const postApplyChecksum = random.u64() | EMPTY_CHECKSUM
      const before = ltxHeader({ pageSize, commit })
      const txid = BigInt(random.between(2, 1_000_000))
      const after = ltxHeader({
        pageSize,
        commit,
        minTxid: txid,
        maxTxid: txid,
        timestampMs: random.u32(),
        preApplyChecksum: random.u64() | EMPTY_CHECKSUM,
        nodeId: random.u64(),
      })
      const [first, second] = [before, after].map((header) =>
        ltxFile({ header, pages, postApplyChecksum }),
      ) as [Uint8Array, Uint8Array]
      expect(trailerWithHeader(trailerOf(first), before, after)).toEqual(trailerOf(second))
      expect(trailerWithHeader(trailerOf(second), after, before)).toEqual(trailerOf(first))
      const [a, b] = [first, second].map((file) =>
        file.subarray(LTX_HEADER_SIZE, -LTX_TRAILER_SIZE),
      )
      expect(Buffer.compare(a as Uint8Array, b as Uint8Array)).toBe(0)
    }
  },
)

test("trailerWithHeader() knows that the lock page is not in the file", () => {
  const pageSize = 65536
  const commit = lockPgno(pageSize) + 2
  const [before, after] = [
    ltxHeader({ pageSize, commit }),
    ltxHeader({ pageSize, commit, timestampMs: 77 }),
  ]
  const zero = new Uint8Array(pageSize)
  function* pages() {
    for (let pgno = 1; pgno <= commit; pgno++) if (pgno !== lockPgno(pageSize)) yield pgno
  }
  const trailers = [before, after].map((header) => {
    let last = new Uint8Array(0)
    const encoder = new LtxEncoder((bytes) => {
      last = bytes.slice()
    })
    encoder.header(header)
    for (const pgno of pages()) encoder.page(pgno, zero)
    encoder.close(EMPTY_CHECKSUM)
    return decodeLtxTrailer(last)
  })
  expect(trailerWithHeader(trailers[0] as LtxTrailer, before, after)).toEqual(
    trailers[1] as LtxTrailer,
  )
}, 60_000)
