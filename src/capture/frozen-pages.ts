/**
 * Which pages of a frozen database have been saved, in memory that the fs thread and the peer thread share.
 *
 *   word 0        1 when the WAL no longer holds what it held, 2 when pages could not be saved
 *   word 1        the next page the reader will read: pages before it need not be saved
 *   word 1+pgno   0, or 1 + the slot of the page in the side file
 *
 * The writer saves a page, then marks it, then overwrites it. The reader reads a page, then looks at the mark:
 * a page that was not marked after it was read was read whole.
 */
export class FrozenPages {
  readonly memory: SharedArrayBuffer
  readonly #words: Int32Array

  static create(pageCount: number): FrozenPages {
    return new FrozenPages(new SharedArrayBuffer((2 + pageCount) * 4))
  }

  constructor(memory: SharedArrayBuffer) {
    this.memory = memory
    this.#words = new Int32Array(memory)
  }

  get isWalGone(): boolean {
    return Atomics.load(this.#words, 0) !== 0
  }

  loseWal(): void {
    Atomics.compareExchange(this.#words, 0, 0, 1)
  }

  /** Whether pages were overwritten without being saved: everything read is worthless then. */
  get isBroken(): boolean {
    return Atomics.load(this.#words, 0) === 2
  }

  break(): void {
    Atomics.store(this.#words, 0, 2)
  }

  get nextToRead(): number {
    return Atomics.load(this.#words, 1)
  }

  set nextToRead(pgno: number) {
    Atomics.store(this.#words, 1, pgno)
  }

  /** The slot that a page was saved to; undefined when it was not saved. */
  slot(pgno: number): number | undefined {
    const word = Atomics.load(this.#words, 1 + pgno)
    return word === 0 ? undefined : word - 1
  }

  save(pgno: number, slot: number): void {
    Atomics.store(this.#words, 1 + pgno, slot + 1)
  }
}
