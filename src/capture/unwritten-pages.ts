/**
 * Pages whose newest content is in the WAL and not yet in the database file, each with the transaction that first
 * changed it.
 *
 * The database file has every transaction before the earliest of these: that is how far an fsync of it would make the
 * database durable without its log.
 */
import type { Txid } from "../ltx/pos.ts"

export class UnwrittenPages {
  readonly #since = new Map<number, Txid>()

  get count(): number {
    return this.#since.size
  }

  pgnos(): Iterable<number> {
    return this.#since.keys()
  }

  /** Pages, each with the transaction that first made it so. */
  entries(): Iterable<[pgno: number, since: Txid]> {
    return this.#since
  }

  has(pgno: number): boolean {
    return this.#since.has(pgno)
  }

  add(pgno: number, txid: Txid): void {
    if (!this.#since.has(pgno)) this.#since.set(pgno, txid)
  }

  delete(pgno: number): void {
    this.#since.delete(pgno)
  }

  /** The database ends with page `commit`. */
  truncate(commit: number): void {
    for (const pgno of this.#since.keys()) {
      if (pgno > commit) this.#since.delete(pgno)
    }
  }

  clear(): void {
    this.#since.clear()
  }

  /** The last transaction that is completely in the database file, when `current` is the newest. */
  writtenTxid(current: Txid): Txid {
    let written = current
    for (const txid of this.#since.values()) {
      if (txid - 1n < written) written = txid - 1n
    }
    return written
  }
}
