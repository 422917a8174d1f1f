/**
 * The pages that were written since the database file was last known to be durable, as the log has them: what a crash
 * may have kept from the file.
 *
 * The checksum of the database alone does not tell whether they are there. It is the XOR of sums of pages, and the sum of
 * a page is linear: it is the same when pages have changed places, as by a VACUUM whose last pages a crash has cut off.
 * So each is looked at for itself.
 */
import type { PageChecksums } from "../capture/page-checksums.ts"
import { LitefsError } from "../lib/errors.ts"
import { writePageChecksum } from "../ltx/checksum.ts"
import type { LtxFileInfo } from "../store/ltx-directory.ts"
import type { LtxSummary } from "../store/ltx-file.ts"
import { readChainFile } from "./log-chain.ts"

const sum = new Uint32Array(2)

export class WrittenPages {
  readonly #name: string
  readonly #chain: readonly LtxFileInfo[]
  readonly #summary: LtxSummary // of the last file
  #sums: Map<number, readonly [hi: number, lo: number]> | undefined
  #damage: LitefsError | undefined

  constructor(name: string, chain: readonly LtxFileInfo[], summary: LtxSummary) {
    this.#name = name
    this.#chain = chain
    this.#summary = summary
  }

  /** Whether `sums` has each of them as it was written last. Of those before a damaged file nothing is known. */
  are(sums: PageChecksums): boolean {
    for (const [pgno, [hi, lo]] of this.#read()) {
      if (sums.hi(pgno) !== hi || sums.lo(pgno) !== lo) return false
    }
    return true
  }

  /** Makes `sums` what they are when the files are replayed. Throws when one is damaged. */
  putInto(sums: PageChecksums): void {
    const written = this.#read()
    if (this.#damage !== undefined) throw this.#damage
    for (const [pgno, [hi, lo]] of written) sums.set(pgno, hi, lo)
  }

  /** From the last file back: of a page, the first that is found counts. */
  #read(): ReadonlyMap<number, readonly [hi: number, lo: number]> {
    if (this.#sums !== undefined) return this.#sums
    const sums = new Map<number, readonly [hi: number, lo: number]>()
    this.#sums = sums
    for (const file of this.#chain.toReversed()) {
      try {
        this.#readFile(file, sums)
      } catch (error) {
        if (!(error instanceof LitefsError && error.code === "damaged")) throw error
        this.#damage = error
        break
      }
    }
    return sums
  }

  #readFile(file: LtxFileInfo, sums: Map<number, readonly [hi: number, lo: number]>): void {
    const { pageSize, commit } = this.#summary.header
    const found = new Map<number, readonly [hi: number, lo: number]>()
    let isSameSize = true
    readChainFile(this.#name, file, {
      header: (header) => {
        isSameSize = header.pageSize === pageSize // else a later file holds every page
      },
      page: (pgno, data) => {
        if (!isSameSize || pgno > commit || sums.has(pgno)) return
        writePageChecksum(sum, pgno, data)
        found.set(pgno, [sum[0] as number, sum[1] as number])
      },
    })
    for (const [pgno, pageSum] of found) sums.set(pgno, pageSum)
  }
}
