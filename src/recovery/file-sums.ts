import { PageChecksums } from "../capture/page-checksums.ts"
import type { ByteSource } from "../lib/byte-source.ts"
import { lockPgno, writePageChecksum } from "../ltx/checksum.ts"

const CHUNK_SIZE = 1 << 20
const sum = new Uint32Array(2)

/** The sums of the first `pageCount` pages of a database file; what lies beyond its end counts as zeros. */
export function sumsOfFile(
  file: ByteSource | undefined,
  pageSize: number,
  pageCount: number,
): PageChecksums {
  const sums = new PageChecksums(pageCount)
  const chunk = new Uint8Array(CHUNK_SIZE)
  const lock = lockPgno(pageSize)
  for (let first = 1; first <= pageCount; first += CHUNK_SIZE / pageSize) {
    const read = file?.readAt((first - 1) * pageSize, chunk) ?? 0
    chunk.fill(0, read)
    const last = Math.min(pageCount, first + CHUNK_SIZE / pageSize - 1)
    for (let pgno = first; pgno <= last; pgno++) {
      if (pgno === lock) continue
      const start = (pgno - first) * pageSize
      writePageChecksum(sum, pgno, chunk, start, start + pageSize)
      sums.set(pgno, sum[0] as number, sum[1] as number)
    }
  }
  return sums
}
