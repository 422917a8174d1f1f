/** `litefs ltx verify`: every file by itself, and those of a directory as a history. */
import { inspectLtxFile } from "../../store/ltx/inspected-ltx-file.ts"
import { type LtxBreak, ltxBreaks } from "../../store/ltx/ltx-chain.ts"
import type { CliIo } from "../terminal/io.ts"
import { counted, onLines } from "../terminal/table.ts"
import { posOf } from "./ltx-json.ts"
import { NO_DATABASES, titleOf } from "./ltx-list.ts"
import { type LtxGroup, ltxGroups } from "./ltx-paths.ts"

interface Verified {
  readonly group: LtxGroup
  readonly breaks: readonly LtxBreak[]
  /** The position after the last file; undefined when that is damaged or missing, or the files are no history. */
  readonly pos: string | undefined
}

export function verifyLtx(paths: readonly string[], asJson: boolean, io: CliIo): number {
  const results = ltxGroups(paths).map(verified)
  const isWhole = results.every(({ breaks }) => breaks.length === 0)
  if (asJson) io.stdout(`${JSON.stringify({ ok: isWhole, groups: results.map(json) })}\n`)
  else if (results.length === 0) io.stdout(NO_DATABASES)
  else for (const result of results) io.stdout(onLines(text(result)))
  return isWhole ? 0 : 1
}

function verified(group: LtxGroup): Verified {
  const files = group.files.map(inspectLtxFile)
  if (group.directory === undefined) {
    const breaks = files.flatMap((file) => ltxBreaks([file]))
    return { group, breaks, pos: undefined }
  }
  const last = files.at(-1)
  const pos = last?.kind === "whole" ? posOf(last) : undefined
  return { group, breaks: ltxBreaks(files), pos }
}

function text({ group, breaks, pos }: Verified): string {
  const title = titleOf(group) ?? (group.files.length === 1 ? group.files[0] : undefined)
  const count = counted(group.files.length, "file")
  const state = breaks.length === 0 ? "whole" : counted(breaks.length, "problem")
  const head = [title, pos, count].filter((part) => part !== undefined).join("  ")
  return [`${head}: ${state}`, ...breaks.map(({ problem }) => `  ${problem}`), ""].join("\n")
}

function json({ group, breaks, pos }: Verified): object {
  return {
    database: group.database ?? null,
    directory: group.directory ?? null,
    fileCount: group.files.length,
    pos: pos ?? null,
    problems: breaks.map(({ file, code, problem }) => ({ file: file.path, code, problem })),
  }
}
