/** The LTX directory of one database: which files are whole, and what is wrong with the rest. */
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { isUnfinishedLtx } from "../diverged/takeover.ts"
import { parseLtxFileName } from "../ltx/file-name.ts"
import type { Checksum } from "../ltx/pos.ts"
import { readTrailer } from "../ltx/span.ts"
import { FileSource } from "../store/ltx/file-source.ts"
import {
  type DamagedLtxFile,
  type InspectedLtxFile,
  inspectLtxFile,
  type WholeLtxFile,
} from "../store/ltx/inspected-ltx-file.ts"
import { byTxid, isCovered, type LtxBreak, liveChain, ltxBreaks } from "../store/ltx/ltx-chain.ts"
import { setAside } from "../store/ltx/ltx-directory.ts"
import type { DatabasePaths } from "./database-paths.ts"
import { type Finding, moveAway, note, problem, type Repair } from "./finding.ts"
import { newerOptions, restoreOptions } from "./options.ts"

export interface Log {
  /** All sound files, ascending by TXID. */
  readonly files: readonly InspectedLtxFile[]
  /** The files that lead to the last whole one, oldest first. */
  readonly chain: readonly WholeLtxFile[]
  /** Damaged files after the last whole one. */
  readonly damagedEnd: readonly DamagedLtxFile[]
  /** Names in the directory that are not names of LTX files. */
  readonly otherNames: readonly string[]
}

export function readLog(paths: DatabasePaths): Log {
  const names = existsSync(paths.ltx) ? readdirSync(paths.ltx).sort() : []
  const files = names
    .filter((name) => parseLtxFileName(name) !== undefined)
    .map((name) => inspectLtxFile(join(paths.ltx, name)))
    .sort(byTxid)
  const end = files.findLastIndex(({ kind }) => kind === "whole") + 1
  return {
    files,
    chain: liveChain(files),
    damagedEnd: files.slice(end).filter((file) => file.kind === "damaged"),
    otherNames: names.filter((name) => parseLtxFileName(name) === undefined),
  }
}

/** The database's checksum after a damaged file, by its trailer, if that is readable. */
export function statedChecksum({ path }: DamagedLtxFile): Checksum | undefined {
  using file = FileSource.open(path)
  try {
    return file && readTrailer(file).postApplyChecksum
  } catch {
    return undefined
  }
}

/** Findings about everything but the damaged end. `isReached`: the database can be brought to the end of the chain. */
export function chainFindings(log: Log, paths: DatabasePaths, isReached: boolean): Finding[] {
  const sound = log.files.slice(0, log.files.length - log.damagedEnd.length)
  const outside = sound.filter((file) => !log.chain.includes(file as WholeLtxFile))
  const unreachable = outside.filter((file) => !isCovered(file, log.chain))
  const superseded = outside.filter((file) => !unreachable.includes(file))
  return [
    ...ltxBreaks(sound)
      .filter(({ file }) => !superseded.includes(file))
      .map((found) => breakFinding(found, unreachable, log.chain[0], paths, isReached)),
    ...superseded
      .filter((file) => file.kind === "damaged")
      .map((file) =>
        problem("ltx-damaged", file.path, `${file.problem}; another file has its transactions`, {
          repair: moveAllAway([file]),
        }),
      ),
  ]
}

function breakFinding(
  { file, code, problem: what }: LtxBreak,
  unreachable: readonly InspectedLtxFile[],
  first: WholeLtxFile | undefined,
  paths: DatabasePaths,
  isReached: boolean,
): Finding {
  const codes = { damaged: "ltx-damaged", gap: "ltx-gap", checksum: "ltx-checksum" } as const
  if (!isReached || first === undefined) {
    const meaning = "and the files after it are not enough to make the database"
    const options = restoreOptions(paths)
    return problem(codes[code], file.path, `${what}, ${meaning}`, { options })
  }
  const meaning = "the database is whole, but replicas that are behind it need a snapshot"
  if (unreachable.length === 0) return note(codes[code], file.path, `${what}; ${meaning}`)
  return problem(codes[code], file.path, `${what}; ${meaning}`, {
    repair: moveAllAway(unreachable),
  })
}

function moveAllAway(files: readonly InspectedLtxFile[]): Repair {
  const names = files.map(({ name }) => name)
  const what = names.length === 1 ? names[0] : `the ${names.length} files up to ${names.at(-1)}`
  return {
    does: `moves ${what} to damaged/`,
    run(damaged) {
      for (const { path, name } of files) damaged.move(path, join("ltx", name))
    },
  }
}

/** Only the last file is damaged, and the database has nothing of its transaction. */
export function tornFinding(file: DamagedLtxFile, nowMs: number): Finding {
  const what = `${file.name} is torn: ${file.problem}; a crash does this to a transaction that was not acknowledged`
  return problem("ltx-torn", file.path, what, {
    repair: {
      does: `sets it aside as ${file.name}.torn-${nowMs}`,
      run: () => void setAside(file.path, "torn", nowMs),
    },
  })
}

/** `withOptions`: unless findings about the database say what can be done. */
export function damagedEndFindings(
  files: readonly DamagedLtxFile[],
  paths: DatabasePaths,
  withOptions: boolean,
): Finding[] {
  const meaning = "its transaction was acknowledged, or others after it were"
  const help = withOptions ? { options: newerOptions(paths) } : {}
  return files.map((file) =>
    problem("ltx-damaged", file.path, `${file.name} is damaged: ${file.problem}; ${meaning}`, help),
  )
}

const ASIDE = /^[0-9a-f]{16}-[0-9a-f]{16}\.ltx\.(?<why>torn|damaged)-\d+$/

export function otherNameFindings(log: Log, paths: DatabasePaths): Finding[] {
  return log.otherNames.map((name) => {
    const path = join(paths.ltx, name)
    const why = ASIDE.exec(name)?.groups?.why
    if (why !== undefined) return note("ltx-aside", path, `a ${why} LTX file that was set aside`)
    if (isUnfinishedLtx(name)) {
      const what =
        "a part of an LTX file that was being received or made when LiteFS stopped; the next start of LiteFS removes it"
      return note("stray", path, what)
    }
    const repair = moveAway(path, join("ltx", name))
    return problem("stray", path, strayMeaning(name), { repair })
  })
}

function strayMeaning(name: string): string {
  if (name.endsWith(".tmp")) {
    return "a part of an LTX file, left by a LiteFS that stopped while it wrote it; nothing needs it"
  }
  return "not an LTX file by its name; LiteFS does not use it"
}
