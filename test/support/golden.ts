import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { join, resolve } from "node:path"

/** Bytes made by the original LiteFS and by SQLite; they are not part of this repository. */
const DIRECTORY = resolve(import.meta.dir, "../../../shared/golden")

export const hasGolden = existsSync(DIRECTORY)

export function readGolden(...path: string[]): Uint8Array {
  return new Uint8Array(readFileSync(join(DIRECTORY, ...path)))
}

export function readGoldenText(...path: string[]): string {
  return readFileSync(join(DIRECTORY, ...path), "utf8")
}

/** The file, or its gzip if that is what there is. */
export function readGoldenMaybeGzip(...path: string[]): Uint8Array {
  const last = path.pop()
  if (existsSync(join(DIRECTORY, ...path, `${last}.gz`))) {
    return Bun.gunzipSync(new Uint8Array(readFileSync(join(DIRECTORY, ...path, `${last}.gz`))))
  }
  return readGolden(...path, `${last}`)
}

/** Names in a golden directory, sorted; none if the folder is missing. */
export function listGolden(...path: string[]): string[] {
  const directory = join(DIRECTORY, ...path)
  const isDirectory = statSync(directory, { throwIfNoEntry: false })?.isDirectory() ?? false
  return isDirectory ? readdirSync(directory).sort() : []
}

/**
 * In place of scenarios if the folder is missing, so that tests of them are reported as skipped.
 */
const MISSING = "no golden folder"

/** Folders that hold the LTX files of one database. */
export function goldenScenarios(): string[] {
  if (!hasGolden) return [MISSING]
  return listGolden().filter((name) => listGolden(name).includes("ltx-list.txt"))
}

/** Images of a data directory with a WAL, in the midst of a scenario. */
export function goldenWalImages(): [scenario: string, image: string][] {
  if (!hasGolden) return [[MISSING, MISSING]]
  return goldenScenarios().flatMap((scenario) =>
    listGolden(scenario)
      .filter((name) => listGolden(scenario, name).some((file) => /^wal(\.gz)?$/.test(file)))
      .map((image): [string, string] => [scenario, image]),
  )
}

/** Where a golden file or directory is. */
export function goldenPath(...path: string[]): string {
  return join(DIRECTORY, ...path)
}
