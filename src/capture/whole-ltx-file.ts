/** An LTX file of all pages of a database file. */
import { lockPgno, writePageChecksum } from "../ltx/checksum.ts"
import { LtxEncoder } from "../ltx/encoder.ts"
import type { LtxHeader } from "../ltx/header.ts"
import type { BackedFile } from "../store/backed-file.ts"
import { LtxFileWriter } from "../store/ltx/ltx-directory.ts"
import { allocate } from "../sys/memory.ts"
import { PageChecksums } from "./page-checksums.ts"

const READ_SIZE = 1024 * 1024
const buffer = allocate(READ_SIZE)

/** Returns the sums of the pages when the file is durable. When it throws, there is no file. */
export function writeWholeLtxFile(
  content: BackedFile,
  path: string,
  header: LtxHeader,
): PageChecksums {
  const { pageSize, commit } = header
  const sums = new PageChecksums(commit)
  const sum = new Uint32Array(2)
  const file = new LtxFileWriter(path)
  try {
    const encoder = new LtxEncoder(file.append)
    encoder.header(header)
    const perRead = READ_SIZE / pageSize
    for (let first = 1; first <= commit; first += perRead) {
      const count = Math.min(perRead, commit - first + 1)
      content.readPadded(buffer, count * pageSize, (first - 1) * pageSize)
      for (let pgno = first; pgno < first + count; pgno++) {
        if (pgno === lockPgno(pageSize)) continue
        const start = (pgno - first) * pageSize
        const page = buffer.bytes.subarray(start, start + pageSize)
        writePageChecksum(sum, pgno, page)
        sums.set(pgno, sum[0] as number, sum[1] as number)
        encoder.page(pgno, page)
      }
    }
    encoder.close(sums.total)
    file.commit()
    return sums
  } catch (error) {
    file.discard()
    throw error
  }
}
