import { JOURNAL_MAGIC, journalChecksum } from "../../src/sqlite/journal.ts"
import { FIXTURE_PAGE_SIZE } from "./data-directory.ts"

/** A hot journal with these pages, of a database of `pageCount`. */
export function hotJournal(pageCount: number, pages: ReadonlyMap<number, Uint8Array>): Uint8Array {
  const nonce = 0x1234
  const header = new Uint8Array(512)
  header.set(JOURNAL_MAGIC)
  const view = new DataView(header.buffer)
  for (const [index, value] of [pages.size, nonce, pageCount, 512, FIXTURE_PAGE_SIZE].entries()) {
    view.setUint32(8 + index * 4, value)
  }
  const records = [...pages].map(([pgno, page]) => {
    const record = new Uint8Array(4 + FIXTURE_PAGE_SIZE + 4)
    record.set(page, 4)
    new DataView(record.buffer).setUint32(0, pgno)
    new DataView(record.buffer).setUint32(4 + FIXTURE_PAGE_SIZE, journalChecksum(nonce, page))
    return record
  })
  return Buffer.concat([header, ...records])
}
