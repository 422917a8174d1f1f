/** The checksums of the pages of one LTX file, ascending: 12 bytes a page, however many there are. */
export class PageSums {
  #words = new Uint32Array(96)
  #count = 0

  get count(): number {
    return this.#count
  }

  add(pgno: number, hi: number, lo: number): void {
    const at = this.#count * 3
    if (at === this.#words.length) {
      const grown = new Uint32Array(this.#words.length * 2)
      grown.set(this.#words)
      this.#words = grown
    }
    this.#words[at] = pgno
    this.#words[at + 1] = hi
    this.#words[at + 2] = lo
    this.#count += 1
  }

  countBeyond(pgno: number): number {
    let count = 0
    this.each((each) => {
      if (each > pgno) count += 1
    })
    return count
  }

  each(visit: (pgno: number, hi: number, lo: number) => void): void {
    const words = this.#words
    for (let at = 0; at < this.#count * 3; at += 3) {
      visit(words[at] as number, words[at + 1] as number, words[at + 2] as number)
    }
  }

  pgnos(): number[] {
    const pgnos: number[] = []
    this.each((pgno) => void pgnos.push(pgno))
    return pgnos
  }
}
