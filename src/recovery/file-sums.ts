import { PageChecksums } from "../capture/page-checksums.ts"
import type { ByteSource } from "../lib/byte-source.ts"
import { lockPgno, writePageChecksum } from "../ltx/checksum.ts"
import type { LtxHeader } from "../ltx/header.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { allocate } from "../sys/memory.ts"

const CHUNK_SIZE = 1 << 20
const sum = new Uint32Array(2)
const buffer = allocate(CHUNK_SIZE)

/** The sums of the first `pageCount` pages of a database file; pages beyond its end count as zeros. */
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

/** The same for the pages after a transaction, for a caller that has the database open. */
export function sumsOfDatabase(
  database: BackedFile,
  { pageSize, commit }: Pick<LtxHeader, "pageSize" | "commit">,
): PageChecksums {
  const sums = new PageChecksums(commit)
  const lock = lockPgno(pageSize)
  const perRead = buffer.bytes.length / pageSize
  for (let first = 1; first <= commit; first += perRead) {
    const count = Math.min(perRead, commit - first + 1)
    database.readPadded(buffer, count * pageSize, (first - 1) * pageSize)
    for (let index = 0; index < count; index++) {
      const pgno = first + index
      if (pgno === lock) continue
      const start = index * pageSize
      writePageChecksum(sum, pgno, buffer.bytes, start, start + pageSize)
      sums.set(pgno, sum[0] as number, sum[1] as number)
    }
  }
  return sums
}
