import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs"
import { basename, join } from "node:path"
import { writeKeptDatabase } from "../../diverged/kept-database.ts"
import type { KeptHistory } from "../../diverged/kept-history.ts"
import { LitefsError } from "../../lib/errors.ts"
import { formatPos } from "../../ltx/pos.ts"
import { LtxDirectory } from "../../store/ltx/ltx-directory.ts"
import { copyFile } from "../../sys/file.ts"
import type { CliIo } from "../terminal/io.ts"
import { makeNewFile } from "../terminal/new-file.ts"
import { counted } from "../terminal/table.ts"
import { keptIn } from "./diverged-list.ts"

export interface ExportDivergedOptions {
  readonly dataDir: string
  readonly name: string
  readonly output: string
  readonly asLtx: boolean
}

export function exportDiverged(
  { dataDir, name, output, asLtx }: ExportDivergedOptions,
  io: CliIo,
): number {
  const history = find(keptIn(dataDir).histories, name)
  const { database, pos, commit, pageSize } = history.facts
  const what = asLtx
    ? counted(copyLtx(history, output), "LTX file")
    : `${counted(commit, "page")} of ${pageSize} bytes`
  if (!asLtx) makeNewFile(output, (path) => writeKeptDatabase(history, path))
  io.stdout(`${output}  ${database} at ${formatPos(pos)}, ${what}\n`)
  return 0
}

function find(histories: readonly KeptHistory[], name: string): KeptHistory {
  const exact = histories.find((history) => history.name === name)
  if (exact !== undefined) return exact
  const [found, ...others] = histories.filter((history) => history.name.startsWith(name))
  if (found !== undefined && others.length === 0) return found
  const problem =
    found === undefined ? "no history of that name is kept" : "several names start with it"
  throw new LitefsError(
    "not-found",
    `Cannot export "${name}": ${problem}, see litefs diverged list`,
  )
}

/** The directory gets its name when all of them are in it. Returns their number. */
function copyLtx({ directory }: KeptHistory, output: string): number {
  if (existsSync(output)) {
    throw new LitefsError(
      "unavailable",
      `Cannot write "${output}": it exists, remove it or choose another name`,
    )
  }
  const part = `${output}.part-${process.pid}`
  const files = new LtxDirectory(join(directory, "ltx")).list()
  mkdirSync(part)
  try {
    for (const { path } of files) copyFile("diverged:copy", path, join(part, basename(path)))
    renameSync(part, output) // fails if a directory with files has appeared there
  } finally {
    rmSync(part, { recursive: true, force: true })
  }
  return files.length
}
