/** Transactions that take pages from SQLite's free list, whose old content its journal does not have. */
import { cpSync, existsSync } from "node:fs"
import { join } from "node:path"
import { hotJournal } from "./hot-journal.ts"
import { imagesAfter, type RollbackClient } from "./rollback-client.ts"

const PAGE_SIZE = 512

/** Before: many pages are free, with rows that were deleted. After: the transaction has taken some, and new ones. */
export function freePageImages(): [before: Uint8Array, after: Uint8Array] {
  const [, , before, after] = imagesAfter(
    ["page_size=512"],
    "CREATE TABLE t(id INTEGER PRIMARY KEY, a)",
    insertion(40, 400),
    "DELETE FROM t WHERE id > 3",
    insertion(60, 300),
  ) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array]
  return [before, after]
}

function insertion(count: number, size: number): string {
  const numbers = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})`
  return `${numbers} INSERT INTO t(a) SELECT randomblob(${size}) FROM n`
}

/** Pages of the free list that are no trunk of it: SQLite does not save them. */
export function freeLeaves(image: Uint8Array): Set<number> {
  const view = new DataView(image.buffer, image.byteOffset, image.length)
  const leaves = new Set<number>()
  for (let trunk = view.getUint32(32); trunk !== 0; ) {
    const at = (trunk - 1) * PAGE_SIZE
    const count = view.getUint32(at + 4)
    for (let i = 0; i < count; i++) leaves.add(view.getUint32(at + 8 + i * 4))
    trunk = view.getUint32(at)
  }
  return leaves
}

export function pageOf(image: Uint8Array, pgno: number): Uint8Array {
  return image.subarray((pgno - 1) * PAGE_SIZE, pgno * PAGE_SIZE)
}

/** The pages that differ, and that there are in `before`. */
export function changedPages(before: Uint8Array, after: Uint8Array): number[] {
  const pgnos: number[] = []
  for (let pgno = 1; pgno * PAGE_SIZE <= before.length; pgno++) {
    if (Buffer.compare(pageOf(before, pgno), pageOf(after, pgno)) !== 0) pgnos.push(pgno)
  }
  return pgnos
}

/** A journal as SQLite writes it before it changes `before` into `after`. */
export function beginAsSqlite(
  client: RollbackClient,
  before: Uint8Array,
  after: Uint8Array,
): Map<number, Uint8Array> {
  const free = freeLeaves(before)
  const saved = changedPages(before, after).filter((pgno) => !free.has(pgno))
  const pages = new Map(saved.map((pgno) => [pgno, pageOf(before, pgno)]))
  client.db.journal.create()
  client.writeJournal(0, hotJournal(before.length / PAGE_SIZE, pages))
  return pages
}

/** Copies the files of a captured database, which is at `root`, as a kill leaves them now. */
export function copyAsKilled(root: string, directory: string): void {
  for (const name of ["database", "journal", "undo", "ltx"]) {
    const path = join(root, name)
    if (existsSync(path)) cpSync(path, join(directory, name), { recursive: true })
  }
}
