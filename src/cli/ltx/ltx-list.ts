/** `litefs ltx list`: one line for each file. */
import { formatTxid } from "../../ltx/pos.ts"
import { type InspectedLtxFile, inspectLtxFile } from "../../store/ltx/inspected-ltx-file.ts"
import type { CliIo } from "../terminal/io.ts"
import { formatSize, formatTime, onOneLine, table } from "../terminal/table.ts"
import { fileJson, posOf } from "./ltx-json.ts"
import { type LtxGroup, ltxGroups } from "./ltx-paths.ts"

const TITLES = ["FROM TXID", "POSITION AFTER", "PAGES ", "COMMIT ", "PAGE SIZE ", "SIZE ", "TIME"]

export const NO_DATABASES = "no databases\n"

export function listLtx(paths: readonly string[], asJson: boolean, io: CliIo): number {
  const groups = ltxGroups(paths)
  let code = 0
  const inspected = (group: LtxGroup) => {
    const files = group.files.map(inspectLtxFile)
    if (files.some(({ kind }) => kind === "damaged")) code = 1
    return files
  }
  if (asJson) {
    const list = groups.map((group) => ({
      database: group.database ?? null,
      directory: group.directory ?? null,
      files: inspected(group).map(fileJson),
    }))
    io.stdout(`${JSON.stringify({ groups: list })}\n`)
    return code
  }
  if (groups.length === 0) io.stdout(NO_DATABASES)
  for (const [index, group] of groups.entries()) {
    if (index > 0) io.stdout("\n")
    const title = titleOf(group)
    if (title !== undefined) io.stdout(`${onOneLine(title)}\n`)
    const files = inspected(group)
    io.stdout(files.length === 0 ? "no LTX files\n" : table(TITLES, files.map(row)))
  }
  return code
}

/** `app.db in /var/lib/litefs/dbs/app.db/ltx` */
export function titleOf({ database, directory }: LtxGroup): string | undefined {
  if (directory === undefined) return undefined
  return database === undefined ? directory : `${database} in ${directory}`
}

function row(file: InspectedLtxFile): string[] {
  if (file.kind === "damaged") {
    const txids = [file.minTxid, file.maxTxid].map(formatTxid)
    return [
      txids[0] ?? "",
      txids[1] ?? "",
      "",
      "",
      "",
      formatSize(file.size),
      `DAMAGED: ${file.problem}`,
    ]
  }
  const { header } = file
  return [
    formatTxid(header.minTxid),
    posOf(file),
    String(file.pageCount),
    String(header.commit),
    String(header.pageSize),
    formatSize(file.size),
    formatTime(header.timestampMs),
  ]
}
