/** The pages of a database in a log: their newest content, and every content that they have had. */
import { pageSum, type Sum } from "../../ltx/checksum.ts"
import { LtxDecoder, type LtxHandler } from "../../ltx/decoder.ts"

export class LoggedPages {
  readonly newest = new Map<number, Sum>()
  readonly #pageSize: number
  readonly #known = new Set<string>()

  /** Files of another page size are ignored: a later one holds every page. */
  constructor(pageSize: number) {
    this.#pageSize = pageSize
  }

  /** Reads files into this: older files first. */
  handler(): LtxHandler {
    let isSameSize = true
    return {
      header: (header) => {
        isSameSize = header.pageSize === this.#pageSize
      },
      page: (pgno, data) => {
        if (isSameSize) this.add(pgno, data)
      },
      trailer() {},
    }
  }

  addFile(ltx: Uint8Array): void {
    const decoder = new LtxDecoder({ header() {}, trailer() {}, ...this.handler() })
    decoder.push(ltx)
    decoder.end()
  }

  add(pgno: number, data: Uint8Array): void {
    this.newest.set(pgno, this.learn(pgno, data))
  }

  /** Records one content of a page. */
  learn(pgno: number, data: Uint8Array): Sum {
    const sum = pageSum(pgno, data)
    this.#known.add(`${pgno} ${sum[0]} ${sum[1]}`)
    return sum
  }

  /** Whether a page has had this content. */
  knows(pgno: number, [hi, lo]: Sum): boolean {
    return this.#known.has(`${pgno} ${hi} ${lo}`)
  }
}
