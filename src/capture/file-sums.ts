import type { ByteSource } from "../lib/byte-source.ts"
import { lockPgno } from "../ltx/checksum.ts"
import { PageChecksums } from "./page-checksums.ts"

const CHUNK_SIZE = 1 << 20

/** The sums of the first `pageCount` pages of a database file; pages beyond its end count as zeros. */
export function sumsOfFile(
  file: Pick<ByteSource, "readAt"> | undefined,
  pageSize: number,
  pageCount: number,
): PageChecksums {
  const sums = new PageChecksums(pageCount)
  const lock = lockPgno(pageSize)
  const chunk = new Uint8Array(Math.min(CHUNK_SIZE, pageCount * pageSize))
  const perChunk = CHUNK_SIZE / pageSize
  for (let first = 1; first <= pageCount; first += perChunk) {
    const count = Math.min(perChunk, pageCount - first + 1)
    const pages = chunk.subarray(0, count * pageSize)
    pages.fill(0, file?.readAt((first - 1) * pageSize, pages) ?? 0)
    for (let index = 0; index < count; index++) {
      const pgno = first + index
      if (pgno !== lock) sums.setPage(pgno, pages, index * pageSize, (index + 1) * pageSize)
    }
  }
  return sums
}
