/** `litefs ltx dump`: everything in a file except the content of its pages. Printed as it is read. */
import { statSync } from "node:fs"
import { pageChecksum } from "../../ltx/checksum.ts"
import { hex8, isCompressed, isSnapshot, type LtxHeader } from "../../ltx/header.ts"
import { formatChecksum, formatTxid } from "../../ltx/pos.ts"
import type { LtxTrailer } from "../../ltx/trailer.ts"
import { ltxProblemOf } from "../../store/ltx/inspected-ltx-file.ts"
import { readLtxFile } from "../../store/ltx/ltx-file.ts"
import type { CliIo } from "../terminal/io.ts"
import { counted, formatSize, formatTime, onOneLine } from "../terminal/table.ts"
import { headerJson, posOf, trailerJson } from "./ltx-json.ts"
import { ltxGroups } from "./ltx-paths.ts"

export interface DumpOptions {
  readonly json: boolean
  readonly pages: boolean
}

export function dumpLtx(paths: readonly string[], options: DumpOptions, io: CliIo): number {
  const files = ltxGroups(paths).flatMap((group) => group.files)
  let code = 0
  if (options.json) io.stdout('{"files":[')
  for (const [index, path] of files.entries()) {
    if (index > 0) io.stdout(options.json ? "," : "\n")
    const dump = options.json ? dumpJson : dumpText
    if (!dump(path, options, io)) code = 1
  }
  if (options.json) io.stdout("]}\n")
  return code
}

function dumpText(path: string, { pages }: DumpOptions, io: CliIo): boolean {
  const ranges = new PageRanges((text) => io.stdout(text))
  io.stdout(`${onOneLine(path)}  ${formatSize(statSync(path).size)}\n`)
  try {
    const { header, trailer } = readLtxFile(path, {
      header: (found) => io.stdout(headerText(found)),
      page(pgno, data) {
        if (pages) io.stdout(`  page ${pgno}  ${formatChecksum(pageChecksum(pgno, data))}\n`)
        ranges.add(pgno, !pages)
      },
    })
    if (!pages) ranges.end()
    io.stdout(trailerText(header, trailer, ranges.count))
    return true
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    if (!pages) ranges.end()
    io.stdout(`  DAMAGED: ${ltxProblemOf(error)}\n`)
    return false
  }
}

function headerText(header: LtxHeader): string {
  const { minTxid, maxTxid, pageSize, commit } = header
  const txids =
    minTxid === maxTxid ? formatTxid(minTxid) : `${formatTxid(minTxid)} to ${formatTxid(maxTxid)}`
  const kind = isSnapshot(header) ? ", a snapshot" : ""
  const wal =
    header.walOffset === 0
      ? "none"
      : `${header.walSize} bytes at ${header.walOffset}, salts ${hex8(header.walSalt1)} ${hex8(header.walSalt2)}`
  return [
    `  TXID         ${txids}${kind}`,
    `  time         ${formatTime(header.timestampMs)}`,
    `  page size    ${pageSize}${isCompressed(header) ? ", compressed" : ""}`,
    `  commit       ${commit === 0 ? "0, the database is deleted" : counted(commit, "page")}`,
    `  checksum     ${formatChecksum(header.preApplyChecksum)} before`,
    `  WAL          ${wal}`,
    `  node         ${formatTxid(header.nodeId)}`,
    "",
  ].join("\n")
}

function trailerText(header: LtxHeader, trailer: LtxTrailer, pageCount: number): string {
  return [
    `  page count   ${pageCount}`,
    `  position     ${posOf({ header, trailer })} after`,
    `  file sum     ${formatChecksum(trailer.fileChecksum)}`,
    "",
  ].join("\n")
}

/** `pages 1 3-9 12`, printed while the numbers come in: ascending. */
class PageRanges {
  readonly #print: (text: string) => void
  #first = 0
  #last = 0
  count = 0

  constructor(print: (text: string) => void) {
    this.#print = print
  }

  add(pgno: number, prints: boolean): void {
    this.count++
    if (!prints) return
    if (this.count === 1) this.#print("  pages       ")
    else if (pgno === this.#last + 1) {
      this.#last = pgno
      return
    } else this.#flush()
    this.#first = pgno
    this.#last = pgno
  }

  end(): void {
    if (this.count === 0) this.#print("  pages        none\n")
    else {
      this.#flush()
      this.#print("\n")
    }
  }

  #flush(): void {
    this.#print(this.#first === this.#last ? ` ${this.#first}` : ` ${this.#first}-${this.#last}`)
  }
}

function dumpJson(path: string, { pages }: DumpOptions, io: CliIo): boolean {
  let pageCount = 0
  const size = statSync(path).size
  io.stdout(`{${members({ path, size })}`)
  let problem: string | undefined
  let trailer: LtxTrailer | undefined
  let header: LtxHeader | undefined
  try {
    readLtxFile(path, {
      header(found) {
        header = found
        io.stdout(`,${members(headerJson(found))}${pages ? ',"pages":[' : ""}`)
      },
      page(pgno, data) {
        const checksum = formatChecksum(pageChecksum(pgno, data))
        if (pages) io.stdout(`${pageCount > 0 ? "," : ""}${JSON.stringify({ pgno, checksum })}`)
        pageCount++
      },
      trailer(found) {
        trailer = found
      },
    })
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    problem = ltxProblemOf(error)
  }
  if (header !== undefined) io.stdout(`${pages ? "]" : ""},${members({ pageCount })}`)
  if (header !== undefined && trailer !== undefined) {
    io.stdout(`,${members({ ...trailerJson(trailer), pos: posOf({ header, trailer }) })}`)
  }
  if (problem !== undefined) io.stdout(`,${members({ problem })}`)
  io.stdout("}")
  return problem === undefined
}

/** The text between the braces of an object. */
function members(value: object): string {
  return JSON.stringify(value).slice(1, -1)
}
