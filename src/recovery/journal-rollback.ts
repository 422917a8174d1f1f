import type { ByteSource } from "../lib/byte-source.ts"
import { readJournal, readJournalHeader } from "../sqlite/journal.ts"
import { BackedFile } from "../store/backed-file.ts"
import { writeBytesAt } from "../sys/file.ts"
import { allocate } from "../sys/memory.ts"

const buffer = allocate(1 << 17)

/**
 * Puts back what an unfinished transaction has overwritten, and removes its journal. True when there was one.
 *
 * A super-journal is not asked for: a transaction whose journal is still there was not captured, so for us
 * it has not happened, whatever became of it in other databases. One that was captured just before the crash
 * is replayed from its LTX file afterwards.
 */
export function rollBack(journalPath: string, database: BackedFile): boolean {
  const journal = new BackedFile("journal", journalPath)
  if (!journal.open()) return false
  try {
    const source: ByteSource = {
      size: journal.size(),
      readAt(offset, target) {
        const size = Math.min(target.length, buffer.bytes.length)
        const n = journal.read(buffer.address, size, offset)
        target.set(buffer.bytes.subarray(0, n))
        return n
      },
    }
    const header = readJournalHeader(source)
    const isHot = header !== undefined && database.size() > 0
    if (isHot) {
      for (const { pgno, page } of readJournal(source)) {
        writeBytesAt("database:write", database.fd, page, (pgno - 1) * header.pageSize)
      }
      database.truncate(header.initialPageCount * header.pageSize)
      database.sync()
    }
    journal.remove().close()
    return isHot
  } finally {
    journal.close()
  }
}
