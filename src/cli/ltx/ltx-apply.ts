/** `litefs ltx apply`: the database that LTX files make, in a new file, from nothing or from an exported database. */
import { chmodSync } from "node:fs"
import { sumsOfFile } from "../../capture/file-sums.ts"
import { PageChecksums } from "../../capture/page-checksums.ts"
import { LitefsError } from "../../lib/errors.ts"
import { EMPTY_CHECKSUM } from "../../ltx/checksum.ts"
import { isSnapshot, type LtxHeader } from "../../ltx/header.ts"
import { formatChecksum, formatPos, formatTxid, type Pos, ZERO_POS } from "../../ltx/pos.ts"
import { posAfter, posBefore } from "../../ltx/span.ts"
import { readDatabaseHeader } from "../../sqlite/database-header.ts"
import { FileSource } from "../../store/ltx/file-source.ts"
import { ltxProblemOf } from "../../store/ltx/inspected-ltx-file.ts"
import { type LtxSummary, readLtxFile } from "../../store/ltx/ltx-file.ts"
import { readLtxHeader } from "../../store/ltx/ltx-header.ts"
import {
  closing,
  copyFile,
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
import type { Until } from "./ltx-until.ts"

export interface ApplyOptions {
  readonly output: string
  /** The database file to begin with; undefined: from nothing. */
  readonly onto: string | undefined
  /** Where to stop; undefined: with the last file. */
  readonly until: Until | undefined
  readonly asJson: boolean
}

export function applyLtx(
  paths: readonly string[],
  { output, onto, until, asJson }: ApplyOptions,
  io: CliIo,
): number {
  const base = onto === undefined ? undefined : readBase(onto)
  const chosen = chosenFiles(paths, "apply LTX files", until)
  const files = base === undefined ? chosen : filesAfter(base, chosen)
  const last = makeNewFile(output, (path) => writeDatabase(files, path, base))
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

/** A database file that LTX files follow on. */
interface Base {
  readonly path: string
  readonly pageSize: number
  readonly sums: PageChecksums
}

function readBase(path: string): Base {
  using file = FileSource.open(path)
  if (file === undefined) {
    throw new LitefsError("not-found", `Cannot read "${path}": there is no such file`)
  }
  const header = readDatabaseHeader(file)
  if (header === undefined) {
    throw new LitefsError("damaged", `Cannot apply onto "${path}": it is no database`)
  }
  const { pageSize } = header
  return { path, pageSize, sums: sumsOfFile(file, pageSize, Math.ceil(file.size / pageSize)) }
}

/** Those from where the database is. What it contains says that: the checksum of a position is that of all pages. */
function filesAfter({ path, sums }: Base, files: readonly string[]): string[] {
  const start = files.findLastIndex((file) => readLtxHeader(file).preApplyChecksum === sums.total)
  if (start >= 0) return files.slice(start)
  const why =
    `none of the LTX files follows on it, its pages sum to ${formatChecksum(sums.total)}: ` +
    "it has to be an unchanged export, not newer than the files, and every file after it is needed"
  throw new LitefsError("position-mismatch", `Cannot apply onto "${path}": ${why}`)
}

function writeDatabase(files: readonly string[], path: string, base?: Base): LtxSummary {
  if (base !== undefined) {
    copyFile("apply:copy", base.path, path)
    chmodSync(path, 0o600) // a backup may be read-only
  }
  const flags = base === undefined ? O_RDWR | O_CREAT | O_EXCL : O_RDWR
  using output = closing(openFile("apply:open", path, flags))
  const database = new NewDatabase(output.fd, base)
  let last: LtxSummary | undefined
  for (const file of files) last = database.apply(file)
  syncFile("apply:fsync", output.fd)
  return last as LtxSummary // there is at least one file
}

/** A database file that grows by LTX files, each of which must follow on the position reached so far. */
class NewDatabase {
  readonly #fd: Fd
  readonly #sums: PageChecksums
  #pos: Pos | undefined // of an export only the checksum is known
  #pageSize: number

  constructor(fd: Fd, base: Base | undefined) {
    this.#fd = fd
    this.#sums = base?.sums ?? new PageChecksums()
    this.#pageSize = base?.pageSize ?? 0
    this.#pos = base === undefined ? ZERO_POS : undefined
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
    if (this.#pos === undefined) return // filesAfter() has looked
    if (this.#pos.txid === 0n) {
      // After a deletion a database starts from nothing, too.
      if (isSnapshot({ minTxid }) || preApplyChecksum === EMPTY_CHECKSUM) return
      const start = `it starts at TXID ${formatTxid(minTxid)}`
      const advice =
        "retention may have removed what was before, --onto FILE begins with an exported database"
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
