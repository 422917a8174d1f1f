/**
 * The pages that were written since the database file was last known to be durable, as the log has them: what a crash
 * may have kept from the file.
 *
 * The checksum of the database alone does not tell whether they are there. It is the XOR of sums of pages, and the sum of
 * a page is linear: it is the same when pages have changed places, as by a VACUUM whose last pages a crash has cut off.
 * So each is looked at for itself.
 */
import type { PageChecksums } from "../capture/page-checksums.ts"
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

  constructor(name: string, chain: readonly LtxFileInfo[], summary: LtxSummary) {
    this.#name = name
    this.#chain = chain
    this.#summary = summary
  }

  /** Whether `sums` has each of them as it was written last. */
  are(sums: PageChecksums): boolean {
    for (const [pgno, [hi, lo]] of this.#read()) {
      if (sums.hi(pgno) !== hi || sums.lo(pgno) !== lo) return false
    }
    return true
  }

  /** Makes `sums` what they are when the files are replayed. */
  putInto(sums: PageChecksums): void {
    for (const [pgno, [hi, lo]] of this.#read()) sums.set(pgno, hi, lo)
  }

  /** Read when they are first asked for: one that is damaged is none of a start that does not need it. */
  #read(): ReadonlyMap<number, readonly [hi: number, lo: number]> {
    if (this.#sums !== undefined) return this.#sums
    const { pageSize, commit } = this.#summary.header
    const sums = new Map<number, readonly [hi: number, lo: number]>()
    for (const file of this.#chain) {
      let isSameSize = true
      readChainFile(this.#name, file, {
        header: (header) => {
          isSameSize = header.pageSize === pageSize // else a later file holds every page
        },
        page: (pgno, data) => {
          if (!isSameSize || pgno > commit) return
          writePageChecksum(sum, pgno, data)
          sums.set(pgno, [sum[0] as number, sum[1] as number])
        },
      })
    }
    this.#sums = sums
    return sums
  }
}
