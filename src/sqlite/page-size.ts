/** The page sizes a SQLite database can have: powers of two from 512 to 65536. */

export const MIN_PAGE_SIZE = 512
const MAX_PAGE_SIZE = 65536

export function isPageSize(size: number): boolean {
  return size >= MIN_PAGE_SIZE && size <= MAX_PAGE_SIZE && (size & (size - 1)) === 0
}
