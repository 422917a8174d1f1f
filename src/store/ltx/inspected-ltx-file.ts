/** An LTX file that was read to its end, damaged or not, and what the reading has shown. */
import { statSync } from "node:fs"
import { basename } from "node:path"
import { messageOf } from "../../lib/errors.ts"
import { parseLtxFileName } from "../../ltx/file-name.ts"
import { formatTxid, type Txid } from "../../ltx/pos.ts"
import { type LtxSummary, readLtxFile } from "./ltx-file.ts"

interface LtxFileFacts {
  readonly path: string
  readonly name: string
  readonly size: number // bytes
  /** As in its name, or as in its header when it has another name and is whole. */
  readonly minTxid: Txid
  readonly maxTxid: Txid
}

export interface WholeLtxFile extends LtxFileFacts, LtxSummary {
  readonly kind: "whole"
  readonly pageCount: number // of the pages in it
}

export interface DamagedLtxFile extends LtxFileFacts {
  readonly kind: "damaged"
  /** Without a subject: "it ends inside its pages". */
  readonly problem: string
}

export type InspectedLtxFile = WholeLtxFile | DamagedLtxFile

export function inspectLtxFile(path: string): InspectedLtxFile {
  const name = basename(path)
  const range = parseLtxFileName(name)
  const { minTxid = 0n, maxTxid = 0n } = range ?? {}
  const facts = { path, name, size: statSync(path).size, minTxid, maxTxid }
  let pageCount = 0
  try {
    const summary = readLtxFile(path, { page: () => void pageCount++ })
    const { header } = summary
    if (range !== undefined && (header.minTxid !== minTxid || header.maxTxid !== maxTxid)) {
      const [min, max] = [formatTxid(header.minTxid), formatTxid(header.maxTxid)]
      return { ...facts, kind: "damaged", problem: `its header is that of ${min}-${max}.ltx` }
    }
    const { minTxid: min, maxTxid: max } = header
    return { ...facts, kind: "whole", ...summary, minTxid: min, maxTxid: max, pageCount }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    return { ...facts, kind: "damaged", problem: ltxProblemOf(error) }
  }
}

/** Why a file is not a whole LTX file, without a subject: "it ends inside its pages". */
export function ltxProblemOf(error: RangeError): string {
  const message = messageOf(error)
  const { what = "", problem = message } =
    /^Cannot \w+ (?<what>[^:]+): (?<problem>.*)$/s.exec(message)?.groups ?? {}
  return what.startsWith("LTX") ? problem : `its ${what} is damaged: ${problem}`
}
