/** `litefs ltx compact`: one LTX file that does what several do. */
import { unlinkSync } from "node:fs"
import { LitefsError, messageOf } from "../../lib/errors.ts"
import { compactLtxFiles } from "../../ltx/compactor.ts"
import { LtxEncoder } from "../../ltx/encoder.ts"
import { filePieces } from "../../store/ltx/file-source.ts"
import { inspectLtxFile, type WholeLtxFile } from "../../store/ltx/inspected-ltx-file.ts"
import { LtxFileWriter } from "../../store/ltx/ltx-directory.ts"
import type { CliIo } from "../terminal/io.ts"
import { makeNewFile } from "../terminal/new-file.ts"
import { counted, formatSize } from "../terminal/table.ts"
import { chosenFiles } from "./ltx-choice.ts"
import { fileJson, posOf } from "./ltx-json.ts"

/** Files to merge at a time: each takes memory for a piece of it and for the unpacked piece. */
const WIDTH = 64

export function compactLtx(
  paths: readonly string[],
  output: string,
  asJson: boolean,
  io: CliIo,
): number {
  const files = chosenFiles(paths, "compact LTX files")
  const made = makeNewFile(output, (path) => {
    compactInRounds(files, path)
    return verifiedOutput(path)
  })
  const { pageCount, size } = made
  io.stdout(
    asJson
      ? `${JSON.stringify({ output, ...fileJson({ ...made, path: output }), fileCount: files.length })}\n`
      : `${output}  ${posOf(made)}  ${counted(pageCount, "page")}, ${formatSize(size)}, ` +
          `from ${counted(files.length, "LTX file")}\n`,
  )
  return 0
}

/** Compacts many files to fewer, and those in turn. */
function compactInRounds(files: readonly string[], output: string): void {
  if (files.length <= WIDTH) return compactInto(files, output)
  const parts: string[] = []
  try {
    for (let start = 0; start < files.length; start += WIDTH) {
      const part = `${output}-${parts.length}`
      parts.push(part)
      compactInto(files.slice(start, start + WIDTH), part)
    }
    compactInRounds(parts, output)
  } finally {
    for (const part of parts) removeIfThere(part)
  }
}

function compactInto(files: readonly string[], output: string): void {
  const writer = new LtxFileWriter(output)
  try {
    compactLtxFiles(
      files.map((file) => filePieces(file)),
      new LtxEncoder(writer.append),
    )
    writer.commit()
  } catch (error) {
    writer.discard()
    if (!(error instanceof RangeError)) throw error
    throw new LitefsError("damaged", messageOf(error), { cause: error })
  }
}

function verifiedOutput(path: string): WholeLtxFile {
  const file = inspectLtxFile(path)
  if (file.kind === "whole") return file
  throw new LitefsError(
    "damaged",
    `Cannot compact LTX files: in the file that was written, ${file.problem}`,
  )
}

function removeIfThere(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error
  }
}
