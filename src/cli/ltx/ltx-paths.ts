/** What the paths on the command line of `litefs ltx` stand for. */
import { readdirSync, statSync } from "node:fs"
import { basename, dirname, join, resolve } from "node:path"
import { LitefsError } from "../../lib/errors.ts"
import { parseLtxFileName } from "../../ltx/file-name.ts"
import { DataDir } from "../../store/data-dir.ts"
import { byTxid } from "../../store/ltx/ltx-chain.ts"
import { systemText } from "../../sys/errno.ts"

export interface LtxGroup {
  /** The database that they belong to, if the directories say so. */
  readonly database: string | undefined
  /** The directory that they make up together; undefined for files that were named one by one. */
  readonly directory: string | undefined
  /** Paths; those of a directory are ascending by TXID. */
  readonly files: readonly string[]
}

/**
 * A path is an LTX file, a directory of them, the directory of a database (`dbs/<name>`), or a data directory with any
 * number of databases. Files that are named one by one make one group.
 */
export function ltxGroups(paths: readonly string[]): LtxGroup[] {
  const files: string[] = []
  const groups: LtxGroup[] = []
  for (const path of paths) {
    if (!isDirectory(path)) files.push(path)
    else groups.push(...groupsOf(path))
  }
  return files.length === 0
    ? groups
    : [{ database: undefined, directory: undefined, files }, ...groups]
}

/** The files of one history, for commands that make one thing of it. */
export function oneHistory(paths: readonly string[], doing: string): string[] {
  const [group, ...others] = ltxGroups(paths)
  if (group === undefined || group.files.length === 0) {
    throw new LitefsError("not-found", `Cannot ${doing}: there are no LTX files in "${paths[0]}"`)
  }
  const second = others[0]
  if (second !== undefined) {
    throw new LitefsError(
      "usage",
      `Cannot ${doing}: files of several histories are given, ` +
        `"${dirname(group.files[0] ?? "")}" and "${second.directory}", give those of one database`,
    )
  }
  return [...group.files]
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT"
    const problem = isMissing ? "there is no such file or directory" : systemText(error)
    throw new LitefsError("not-found", `Cannot read "${path}": ${problem}`, { cause: error })
  }
}

function groupsOf(path: string): LtxGroup[] {
  const names = readdirSync(path)
  if (names.some((name) => parseLtxFileName(name) !== undefined)) return [groupOf(path)]
  if (names.includes("dbs")) {
    const dataDir = new DataDir(path)
    const databases = dataDir.databaseNames().filter((name) => hasLtx(dataDir.ltxDir(name)))
    return databases.map((name) => groupOf(dataDir.ltxDir(name)))
  }
  if (names.includes("ltx")) return [groupOf(join(path, "ltx"))]
  if (basename(resolve(path)) === "ltx") return [groupOf(path)]
  throw new LitefsError(
    "not-found",
    `Cannot read "${path}": it has neither LTX files nor "ltx" nor "dbs", ` +
      "give an LTX file, the directory of a database or a data directory",
  )
}

function hasLtx(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}

function groupOf(directory: string): LtxGroup {
  const ranges = readdirSync(directory).flatMap((name) => {
    const range = parseLtxFileName(name)
    return range === undefined ? [] : [{ ...range, path: join(directory, name) }]
  })
  const absolute = resolve(directory)
  const isOfDatabase = basename(absolute) === "ltx"
  return {
    database: isOfDatabase ? basename(dirname(absolute)) : undefined,
    directory,
    files: ranges.sort(byTxid).map(({ path }) => path),
  }
}
