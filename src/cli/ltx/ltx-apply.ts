/** `litefs ltx apply`: the database that LTX files make, in a new file. */
import { PageChecksums } from "../../capture/page-checksums.ts"
import { LitefsError } from "../../lib/errors.ts"
import { EMPTY_CHECKSUM } from "../../ltx/checksum.ts"
import { isSnapshot, type LtxHeader } from "../../ltx/header.ts"
import { formatChecksum, formatPos, formatTxid, type Pos, ZERO_POS } from "../../ltx/pos.ts"
import { posAfter, posBefore } from "../../ltx/span.ts"
import { ltxProblemOf } from "../../store/ltx/inspected-ltx-file.ts"
import { type LtxSummary, readLtxFile } from "../../store/ltx/ltx-file.ts"
import {
  closing,
  type Fd,
  O_CREAT,
  O_EXCL,
  O_RDWR,
  openFile,
  syncFile,
  truncateFile,
  writeBytesAt,
} from "../../sys/file.ts"
import type { CliIo } from "../terminal/io.ts"
import { makeNewFile } from "../terminal/new-file.ts"
import { counted } from "../terminal/table.ts"
import { chosenFiles } from "./ltx-choice.ts"
import { posOf } from "./ltx-json.ts"

export function applyLtx(
  paths: readonly string[],
  output: string,
  asJson: boolean,
  io: CliIo,
): number {
  const files = chosenFiles(paths, "apply LTX files")
  const last = makeNewFile(output, (path) => writeDatabase(files, path))
  const { pageSize, commit } = last.header
  const pos = posOf(last)
  const size = `${counted(commit, "page")} of ${pageSize} bytes`
  io.stdout(
    asJson
      ? `${JSON.stringify({ output, pos, pageSize, commit, fileCount: files.length })}\n`
      : `${output}  ${pos}  ${size}, from ${counted(files.length, "LTX file")}\n`,
  )
  return 0
}

function writeDatabase(files: readonly string[], path: string): LtxSummary {
  using output = closing(openFile("apply:open", path, O_RDWR | O_CREAT | O_EXCL))
  const database = new NewDatabase(output.fd)
  let last: LtxSummary | undefined
  for (const file of files) last = database.apply(file)
  syncFile("apply:fsync", output.fd)
  return last as LtxSummary // there is at least one file
}

/** A database file that grows by LTX files, each of which must follow on the position reached so far. */
class NewDatabase {
  readonly #fd: Fd
  readonly #sums = new PageChecksums()
  #pos: Pos = ZERO_POS
  #pageSize = 0

  constructor(fd: Fd) {
    this.#fd = fd
  }

  apply(path: string): LtxSummary {
    const summary = this.#read(path)
    const { header, trailer } = summary
    this.#resize(header)
    if (this.#sums.total !== trailer.postApplyChecksum) {
      const [is, should] = [this.#sums.total, trailer.postApplyChecksum].map(formatChecksum)
      throw refusal("damaged", path, `the database then sums to ${is}, ${should} is expected`)
    }
    this.#pos = posAfter(summary)
    return summary
  }

  #read(path: string): LtxSummary {
    try {
      return readLtxFile(path, {
        header: (header) => this.#begin(path, header),
        page: (pgno, data) => this.#page(pgno, data),
      })
    } catch (error) {
      if (error instanceof RangeError) throw refusal("damaged", path, ltxProblemOf(error))
      throw error
    }
  }

  #begin(path: string, header: LtxHeader): void {
    this.#checkFollowsOn(path, header)
    if (header.pageSize !== this.#pageSize) {
      this.#sums.clear()
      truncateFile("apply:truncate", this.#fd, 0)
    }
    this.#pageSize = header.pageSize
    if (header.commit > this.#sums.pageCount) this.#sums.resize(header.commit)
  }

  #checkFollowsOn(path: string, { minTxid, preApplyChecksum }: LtxHeader): void {
    if (this.#pos.txid === 0n) {
      // After a deletion a database starts from nothing, too.
      if (isSnapshot({ minTxid }) || preApplyChecksum === EMPTY_CHECKSUM) return
      const start = `it starts at TXID ${formatTxid(minTxid)}`
      const advice =
        "retention may have removed what was before, litefs export copies the database of a node that runs"
      const why = `${start}, the first file has to be a snapshot; ${advice}`
      throw refusal("position-mismatch", path, why)
    }
    if (minTxid === this.#pos.txid + 1n && preApplyChecksum === this.#pos.checksum) return
    const before = formatPos(posBefore({ minTxid, preApplyChecksum }))
    const is = formatPos(this.#pos)
    throw refusal("position-mismatch", path, `it follows on ${before}, the database is at ${is}`)
  }

  #page(pgno: number, data: Uint8Array): void {
    this.#sums.setPage(pgno, data)
    writeBytesAt("apply:write", this.#fd, data, (pgno - 1) * this.#pageSize)
  }

  #resize({ commit }: LtxHeader): void {
    this.#sums.resize(commit)
    truncateFile("apply:truncate", this.#fd, commit * this.#pageSize)
  }
}

function refusal(code: "damaged" | "position-mismatch", path: string, why: string): LitefsError {
  return new LitefsError(code, `Cannot apply "${path}": ${why}`)
}
