/** Pages of the simulated databases: the first is that of a SQLite database, each other one says who has written it. */
import { DATABASE_MAGIC } from "../../src/sqlite/database-header.ts"

export const PAGE_SIZE = 512
export const PAGE_COUNT = 4

const encoder = new TextEncoder()

export function firstPage(write: number): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE)
  const view = new DataView(page.buffer)
  page.set(DATABASE_MAGIC)
  view.setUint16(16, PAGE_SIZE)
  page.set([1, 1, 0, 64, 32, 32], 18)
  view.setUint32(24, write)
  view.setUint32(28, PAGE_COUNT)
  view.setUint32(92, write)
  return page
}

export function valuePage(write: number): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE)
  encoder.encodeInto(`write ${write}`, page)
  return page
}
